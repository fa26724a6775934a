#pragma once

#include <weft/detail/descriptor.hpp>
#include <weft/detail/export.hpp>

namespace weft::io {

namespace detail {
struct DescriptorOf;
}

/// What all sockets have in common. There is none by itself: see TcpStream,
/// TcpListener, UnixStream, UnixListener, UdpSocket.
///
/// Blocking calls suspend the calling fiber, on a plain thread the thread. Each
/// is a cancellation point and takes a Deadline; a time-out throws
/// std::system_error(errc::timed_out). What had already arrived or been
/// accepted when the time-out or the cancellation came wins over it. SIGPIPE is
/// never raised.
///
/// Options never block; each throws std::system_error that names it.
///
/// Thread safety: close() from any fiber or thread: it ends what is in flight
/// with EBADF. Options and names from any too.
/// Lifetime: the destructor closes. It and a move must not race with other
/// calls, but for those that a close() has ended.
class WEFT_API Socket {
public:
    /// Closes. What other fibers have in flight here ends with EBADF first.
    ///
    /// Blocks only for that, but see TcpStream::linger(); not a cancellation point. Idempotent.
    /// Never throws.
    void close() noexcept { descriptor_.close(); }

    bool is_open() const noexcept { return descriptor_.get() >= 0; }
    /// -1 when it is not open.
    int fd() const noexcept { return descriptor_.get(); }
    /// Gives the descriptor up. Requires: nothing in flight.
    int release() noexcept { return descriptor_.release(); }

    /// How much the kernel buffers, within the system's limits. It reserves twice
    /// what is asked for, for its own needs, and that is what it reports.
    void receive_buffer(int bytes);
    int receive_buffer() const;
    void send_buffer(int bytes);
    int send_buffer() const;

protected:
    Socket() noexcept = default;
    /// Takes over a descriptor, or -1.
    explicit Socket(int fd) noexcept : descriptor_{fd} {}
    Socket(Socket&&) noexcept = default;
    Socket& operator=(Socket&&) noexcept = default;
    ~Socket() = default;

    weft::detail::Descriptor& descriptor() const noexcept { return descriptor_; }

private:
    friend struct detail::DescriptorOf;
    mutable weft::detail::Descriptor descriptor_;
};

}  // namespace weft::io
