#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/descriptor.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/address.hpp>
#include <weft/io/stream.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace weft::io {

/// One TCP connection.
///
/// Blocking calls suspend the calling fiber, on a plain thread the thread.
/// Each is a cancellation point and takes a Deadline; a time-out throws
/// std::system_error(errc::timed_out). What had already arrived or been
/// accepted when the time-out or the cancellation came wins over it: read() and
/// write() lose no byte. SIGPIPE is never raised.
///
/// Thread safety: one fiber may read while another writes; close() may be
/// called from any fiber or thread, and ends what is in flight with EBADF.
/// Lifetime: the destructor closes. It and a move must not race with other
/// calls, but for those that a close() has ended.
class WEFT_API TcpStream {
public:
    TcpStream() noexcept = default;
    /// Takes over a connected socket, blocking or not.
    explicit TcpStream(int fd) noexcept : descriptor_{fd} {}
    TcpStream(TcpStream&&) noexcept = default;
    TcpStream& operator=(TcpStream&&) noexcept = default;

    /// Connects. Blocks: until connected, refused or `deadline`.
    /// Throws std::system_error with the socket's error; then nothing is open.
    static TcpStream connect(const Address& peer, Deadline deadline = Deadline::never());

    /// Reads what is there, at least one byte, at most `buffer`.
    ///
    /// Blocks: until something is there. Cancellation point.
    /// Returns 0 at the end of the stream (or for an empty buffer).
    /// Throws std::system_error: connection_reset, timed_out, bad_file_descriptor.
    std::size_t read(std::span<std::byte> buffer, Deadline deadline = Deadline::never());

    /// The same into several buffers, filled in order: the first 16 that are not empty.
    std::size_t read(std::span<const MutableBuffer> buffers, Deadline deadline = Deadline::never());

    /// Reads until `buffer` is full. Blocks as read().
    ///
    /// Returns the number of bytes read, which is less than its size only if
    /// the stream ended before. Throws as read(); what was read by then is in
    /// the buffer's beginning.
    std::size_t read_exactly(std::span<std::byte> buffer, Deadline deadline = Deadline::never());

    /// Writes some of it, at least one byte.
    ///
    /// Blocks: until the kernel took some. Cancellation point. Returns how much.
    /// Throws std::system_error: broken_pipe, connection_reset, timed_out,
    /// bad_file_descriptor.
    std::size_t write(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    std::size_t write(std::span<const ConstBuffer> buffers, Deadline deadline = Deadline::never());

    /// Writes all of it. Blocks until the kernel took it. Throws as write(); a
    /// part may then have been sent.
    void write_all(std::span<const std::byte> data, Deadline deadline = Deadline::never());
    void write_all(std::span<const ConstBuffer> buffers, Deadline deadline = Deadline::never());
    void write_all(std::string_view text, Deadline deadline = Deadline::never()) {
        write_all(std::as_bytes(std::span{text.data(), text.size()}), deadline);
    }

    /// Ends one direction or both: the peer reads to the end and then gets 0.
    /// Never blocks. Throws std::system_error(not_connected).
    void shutdown(Shutdown what);

    /// Closes. What other fibers have in flight here ends with EBADF first.
    ///
    /// Blocks only for that, not a cancellation point. Idempotent. Never throws.
    void close() noexcept { descriptor_.close(); }

    bool is_open() const noexcept { return descriptor_.get() >= 0; }
    int fd() const noexcept { return descriptor_.get(); }
    /// Gives the descriptor up. Requires: nothing in flight.
    int release() noexcept { return descriptor_.release(); }

    // Options. Each throws std::system_error.

    /// Whether small writes go out at once instead of waiting to be joined.
    void no_delay(bool on);
    /// Whether the system asks a silent peer from time to time if it is there.
    void keep_alive(bool on);
    void receive_buffer(int bytes);
    void send_buffer(int bytes);
    /// With zero, close() resets the connection; negative restores the default.
    void linger(int seconds);
    Address local_address() const;
    Address peer_address() const;

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
        const auto result = receive(pieces.span(), expiry_);
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
    /// moment at which read_some() and write_some() give up with timed_out.
    void expires_at(Deadline deadline) noexcept { expiry_ = deadline; }

private:
    // >= 0 or -errno; throw Cancelled.
    std::int64_t receive(std::span<const MutableBuffer> buffers, Deadline deadline);
    std::int64_t send(std::span<const ConstBuffer> buffers, Deadline deadline);

    void set(int level, int option, const void* value, std::size_t size, const char* what);

    mutable weft::detail::Descriptor descriptor_;
    Deadline expiry_ = Deadline::never();
};

/// How a listener is made.
struct ListenOptions {
    int backlog = 4096;       ///< capped by the system (net.core.somaxconn)
    bool reuse_port = false;  ///< several listeners share one port
    bool v6_only = false;     ///< for an IPv6 address
};

/// Accepts TCP connections.
///
/// Thread safety: accept() from many fibers at once; close() from any.
/// Lifetime: as TcpStream's.
class WEFT_API TcpListener {
public:
    TcpListener() noexcept = default;
    /// Binds and listens. Port 0 picks a free one: see local_address().
    /// Never blocks. Throws std::system_error that names the address.
    explicit TcpListener(const Address& local, const ListenOptions& options = {});
    TcpListener(TcpListener&&) noexcept = default;
    TcpListener& operator=(TcpListener&&) noexcept = default;

    /// Takes the next connection.
    ///
    /// Blocks: until there is one. Cancellation point. When the process or the
    /// system is out of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM)
    /// it waits, 5 ms growing to 1 s, and goes on: connections queue up in the
    /// kernel meanwhile. Those that were reset while queued are skipped.
    /// Throws std::system_error: timed_out, bad_file_descriptor after close().
    TcpStream accept(Deadline deadline = Deadline::never());

    /// Ends every accept() with EBADF, then closes. Idempotent. Never throws.
    void close() noexcept { descriptor_.close(); }

    bool is_open() const noexcept { return descriptor_.get() >= 0; }
    int fd() const noexcept { return descriptor_.get(); }
    Address local_address() const;

private:
    mutable weft::detail::Descriptor descriptor_;
};

}  // namespace weft::io
