#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/lent_bytes.hpp>
#include <weft/io/socket.hpp>
#include <weft/io/stream.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <system_error>

namespace weft::io {

/// A connection that carries bytes: what TcpStream and UnixStream have in common.
///
/// What had already arrived or been accepted when a time-out or a cancellation
/// came wins over it: read() and write() lose no byte.
///
/// Thread safety: one fiber may read while another writes; else as Socket.
class WEFT_API StreamSocket : public Socket {
public:
    /// Reads what is there, at least one byte, at most `buffer`.
    ///
    /// Blocks: until something is there. Cancellation point.
    /// Returns how many bytes, 0 at the end of the stream (or for an empty buffer).
    /// Throws std::system_error: connection_reset, timed_out, bad_file_descriptor; then
    /// nothing was read.
    std::size_t read(std::span<std::byte> buffer, Deadline deadline = Deadline::never());

    /// The same into several buffers, filled in order: the first 16 that are not empty.
    std::size_t read(std::span<const MutableBuffer> buffers, Deadline deadline = Deadline::never());

    /// Reads until `buffer` is full. Blocks as read(), again and again. Cancellation point.
    ///
    /// Returns the number of bytes read, which is less than its size only if
    /// the stream ended before. Throws as read(); what was read by then is in
    /// the buffer's beginning, and nobody can tell how much.
    std::size_t read_exactly(std::span<std::byte> buffer, Deadline deadline = Deadline::never());

    /// Reads what is there, at least one byte, at most 16 KiB, into memory that weft lends
    /// when it is there, so that a connection that waits has no buffer. (On a plain
    /// thread, where io_uring is refused a ring of buffers, and for one that found its ring
    /// empty, it is lent before the wait.)
    ///
    /// Blocks: until something is there. Cancellation point.
    /// Returns nothing at the end of the stream.
    /// Throws as read(), and std::system_error(not_enough_memory); nothing is lost then.
    /// Lifetime: what it returns may outlive the stream and the runtime.
    LentBytes receive(Deadline deadline = Deadline::never());

    /// Writes some of it, at least one byte.
    ///
    /// Blocks: until the kernel took some. Cancellation point.
    /// Returns how many bytes, 0 only for no data.
    /// Throws std::system_error: broken_pipe, connection_reset, timed_out,
    /// bad_file_descriptor; then nothing was sent.
    std::size_t write(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    /// The same from several buffers: of the first 16 that are not empty.
    std::size_t write(std::span<const ConstBuffer> buffers, Deadline deadline = Deadline::never());

    /// Writes all of it, of however many buffers.
    ///
    /// Blocks: until the kernel took it. Cancellation point. Throws as write(); then, and when
    /// it was cancelled, a part may have been sent, and nobody can tell how much.
    void write_all(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    void write_all(std::span<const ConstBuffer> buffers, Deadline deadline = Deadline::never());
    void write_all(std::string_view text, Deadline deadline = Deadline::never()) {
        write_all(std::as_bytes(std::span{text.data(), text.size()}), deadline);
    }

    /// Ends one direction or both: the peer reads to the end and then gets 0.
    /// What waits here for that direction ends: a read with 0, a write with broken_pipe.
    /// Never blocks. Throws std::system_error(not_connected). Any fiber or thread.
    void shutdown(Shutdown what);

    // --- Asio's SyncReadStream and SyncWriteStream ---

    /// read() and write() of Asio's buffer sequences. Without an `error` they
    /// throw std::system_error, at the end of the stream with
    /// StreamError::end_of_stream. With one, of std or of Boost, they report
    /// through it, the end as EndOfStream says, and throw only Cancelled.
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
        const auto result = receive_into(pieces.span(), expiry_);
        return detail::report_read(result, pieces.span().empty(), error);
    }
    template <class Buffers>
    std::size_t write_some(const Buffers& buffers) {
        const ConstBuffers<Buffers> pieces{buffers};
        return write(pieces.span(), expiry_);
    }
    template <class Buffers, class ErrorCode>
    std::size_t write_some(const Buffers& buffers, ErrorCode& error) {
        const ConstBuffers<Buffers> pieces{buffers};
        return detail::report(send(pieces.span(), expiry_), error);
    }

    /// For code that has no room for a Deadline in its calls (Beast, Asio): the
    /// moment at which read_some() and write_some() give up with timed_out. Counts for calls
    /// that begin after it. Thread safety: not while another fiber is in one of the two.
    void expires_at(Deadline deadline) noexcept { expiry_ = deadline; }

protected:
    StreamSocket() noexcept = default;
    explicit StreamSocket(int fd) noexcept : Socket{fd} {}
    StreamSocket(StreamSocket&&) noexcept = default;
    StreamSocket& operator=(StreamSocket&&) noexcept = default;
    ~StreamSocket() = default;

private:
    // >= 0 or -errno; throw Cancelled.
    std::int64_t receive_into(std::span<const MutableBuffer> buffers, Deadline deadline);
    std::int64_t send(std::span<const ConstBuffer> buffers, Deadline deadline);

    Deadline expiry_ = Deadline::never();
};

}  // namespace weft::io
