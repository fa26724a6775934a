#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/descriptor.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/stream.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>

namespace weft::io {

namespace detail {
struct DescriptorOf;
}

/// The end of a pipe that is read; also of a FIFO or a terminal.
///
/// Blocking calls suspend the calling fiber, on a plain thread the thread. Each is a
/// cancellation point and takes a Deadline; a time-out throws
/// std::system_error(errc::timed_out). What had arrived when the time-out or the
/// cancellation came wins over it: no byte is lost.
///
/// Thread safety: one fiber reads at a time; close() from any fiber or thread, which ends
/// what is in flight with EBADF.
/// Lifetime: the destructor closes. It and a move must not race with other calls, but for
/// those that a close() has ended.
class WEFT_API PipeReader {
public:
    PipeReader() noexcept = default;
    /// Takes over a descriptor, blocking or not.
    explicit PipeReader(int fd) noexcept;
    PipeReader(PipeReader&&) noexcept = default;
    PipeReader& operator=(PipeReader&&) noexcept = default;

    /// Reads what is there, at least one byte, at most `buffer`.
    ///
    /// Blocks: until something is there. Cancellation point.
    /// Returns how many bytes, 0 when all writing ends are closed (or for an empty buffer).
    /// Throws std::system_error: timed_out, bad_file_descriptor, what a terminal reports; then
    /// nothing was read.
    std::size_t read(std::span<std::byte> buffer, Deadline deadline = Deadline::never());

    /// Reads until `buffer` is full. Blocks as read(), again and again. Cancellation point.
    ///
    /// Returns the number of bytes read, which is less than its size only at the pipe's end.
    /// Throws as read(); what was read by then is in the buffer's beginning, and nobody can
    /// tell how much.
    std::size_t read_exactly(std::span<std::byte> buffer, Deadline deadline = Deadline::never());

    /// Closes: who writes gets broken_pipe. What other fibers have in flight here ends with
    /// EBADF first; it blocks only for that. Not a cancellation point. Idempotent. Never throws.
    void close() noexcept { descriptor_.close(); }

    bool is_open() const noexcept { return descriptor_.get() >= 0; }
    int fd() const noexcept { return descriptor_.get(); }
    /// Gives the descriptor up. Requires: nothing in flight.
    int release() noexcept { return descriptor_.release(); }

    // --- Asio's SyncReadStream; see StreamSocket ---

    template <class Buffers>
    std::size_t read_some(const Buffers& buffers) {
        std::error_code error;
        const std::size_t count = read_some(buffers, error);
        if (error) throw std::system_error(error, "read");
        return count;
    }
    template <class Buffers, class ErrorCode>
    std::size_t read_some(const Buffers& buffers, ErrorCode& error) {
        const MutableBuffers<Buffers> pieces{buffers};
        const auto result = receive(pieces.span(), expiry_);
        return detail::report_read(result, pieces.span().empty(), error);
    }
    /// The moment at which read_some() gives up with timed_out.
    void expires_at(Deadline deadline) noexcept { expiry_ = deadline; }

private:
    friend struct detail::DescriptorOf;
    // >= 0 or -errno; throws Cancelled.
    std::int64_t receive(std::span<const MutableBuffer> buffers, Deadline deadline);

    mutable weft::detail::Descriptor descriptor_;
    bool blocks_ = false;
    Deadline expiry_ = Deadline::never();
};

/// The end of a pipe that is written; also of a FIFO or a terminal.
///
/// As PipeReader. SIGPIPE is never raised: to write what nobody will read throws
/// std::system_error(errc::broken_pipe).
///
/// Thread safety: one fiber writes at a time, lest what they write is mixed; close() from any.
class WEFT_API PipeWriter {
public:
    PipeWriter() noexcept = default;
    /// Takes over a descriptor, blocking or not.
    explicit PipeWriter(int fd) noexcept : descriptor_{fd} {}
    PipeWriter(PipeWriter&&) noexcept = default;
    PipeWriter& operator=(PipeWriter&&) noexcept = default;

    /// Writes some of it, at least one byte.
    ///
    /// Blocks: until the kernel took some. Cancellation point.
    /// Returns how many bytes, 0 only for no data.
    /// Throws std::system_error: broken_pipe, timed_out, bad_file_descriptor; then nothing was
    /// written.
    std::size_t write(std::span<const std::byte> data, Deadline deadline = Deadline::never());

    /// Writes all of it.
    ///
    /// Blocks: until the kernel took it. Cancellation point. Throws as write(); then, and when
    /// it was cancelled, a part may have been written.
    void write_all(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    void write_all(std::string_view text, Deadline deadline = Deadline::never()) {
        write_all(std::as_bytes(std::span{text.data(), text.size()}), deadline);
    }

    /// Closes: when the last writing end is, who reads comes to the end. Else as PipeReader's.
    void close() noexcept { descriptor_.close(); }

    bool is_open() const noexcept { return descriptor_.get() >= 0; }
    int fd() const noexcept { return descriptor_.get(); }
    /// Gives the descriptor up. Requires: nothing in flight.
    int release() noexcept { return descriptor_.release(); }

    // --- Asio's SyncWriteStream; see StreamSocket ---

    template <class Buffers>
    std::size_t write_some(const Buffers& buffers) {
        std::error_code error;
        const std::size_t count = write_some(buffers, error);
        if (error) throw std::system_error(error, "write");
        return count;
    }
    template <class Buffers, class ErrorCode>
    std::size_t write_some(const Buffers& buffers, ErrorCode& error) {
        const ConstBuffers<Buffers> pieces{buffers};
        return detail::report(send(pieces.span(), expiry_), error);
    }
    /// The moment at which write_some() gives up with timed_out.
    void expires_at(Deadline deadline) noexcept { expiry_ = deadline; }

private:
    friend struct detail::DescriptorOf;
    // >= 0 or -errno; throws Cancelled.
    std::int64_t send(std::span<const ConstBuffer> buffers, Deadline deadline);

    mutable weft::detail::Descriptor descriptor_;
    Deadline expiry_ = Deadline::never();
};

/// Both ends of a pipe. What is written at one is read at the other.
struct WEFT_API Pipe {
    PipeReader reader;
    PipeWriter writer;

    /// A new one; neither end is inherited by child processes. Never blocks.
    /// Throws std::system_error: too_many_files_open.
    static Pipe open();
};

}  // namespace weft::io
