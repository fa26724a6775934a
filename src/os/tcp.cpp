// TCP. Layer: os. Uses: io, park, sched.
//
// Receives go straight into the driver; sends are tried first, for most of them
// succeed, and what the socket does not take goes to the driver (measured: a
// receive tried in vain costs more than it saves). Sockets made here are
// O_NONBLOCK for the sake of plain threads and of the epoll driver; io_uring
// waits on them all the same.
#include <weft/io/tcp.hpp>

#include "os/call.hpp"
#include "os/pieces.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>

namespace weft::io {

using detail::clamp_length;
using detail::perform_on;
using detail::Pieces;
using detail::value_or_throw;

namespace {

constexpr int socket_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

/// Throws std::system_error for a `result` below 0.
long check(long result, const std::string& what) {
    if (result >= 0) return result;
    throw std::system_error(static_cast<int>(-result), std::system_category(), what);
}

long set_option(int fd, int level, int option, int value) noexcept {
    return system_call<::setsockopt>(fd, level, option, &value, socklen_t{sizeof value});
}

template <auto get_name>
Address name_of(Descriptor& descriptor, const char* what) {
    const Use use{descriptor};
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    auto* address = reinterpret_cast<sockaddr*>(&storage);
    check(system_call<get_name>(use.fd(), address, &size), what);
    return Address::from(address, size);
}

/// One receive. `flags`: MSG_WAITALL to wait until all pieces are full.
std::int64_t receive_pieces(Use& use, Pieces& pieces, std::uint32_t flags, Deadline deadline) {
    if (pieces.single()) {
        const Request request{.code = Request::Code::recv,
                              .buffer = pieces.front().iov_base,
                              .length = clamp_length(pieces.front().iov_len),
                              .flags = flags};
        return perform_on(use, request, deadline, "read from a TCP stream");
    }
    msghdr message = pieces.message();
    const Request request{.code = Request::Code::recvmsg, .buffer = &message, .flags = flags};
    return perform_on(use, request, deadline, "read from a TCP stream, vectored");
}

/// One send that does not wait.
std::int64_t try_send(const Use& use, Pieces& pieces) {
    return detail::try_on(use, [&pieces](int fd) {
        constexpr int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
        const msghdr message = pieces.message();
        return pieces.single() ? system_call<::syscall>(SYS_sendto, fd, pieces.front().iov_base,
                                                        pieces.front().iov_len, flags, nullptr, 0L)
                               : system_call<::syscall>(SYS_sendmsg, fd, &message, flags);
    });
}

/// One send that waits. `flags`: MSG_WAITALL to wait until all is sent.
std::int64_t send_pieces(Use& use, Pieces& pieces, std::uint32_t flags, Deadline deadline) {
    flags |= MSG_NOSIGNAL;
    if (pieces.single()) {
        const Request request{.code = Request::Code::send,
                              .buffer = pieces.front().iov_base,
                              .length = clamp_length(pieces.front().iov_len),
                              .flags = flags};
        return perform_on(use, request, deadline, "write to a TCP stream");
    }
    msghdr message = pieces.message();
    const Request request{.code = Request::Code::sendmsg, .buffer = &message, .flags = flags};
    return perform_on(use, request, deadline, "write to a TCP stream, vectored");
}

/// What the socket does not take at once is waited for in one operation, so a
/// slow peer does not cost a wake-up for every segment.
std::int64_t send_all(Use& use, std::span<const ConstBuffer> buffers, Deadline deadline) {
    bool full = false;
    for (std::size_t sent = 0;;) {
        Pieces pieces{buffers, sent};
        if (pieces.empty()) return 0;
        if (sent > 0 && deadline.passed()) return -ETIMEDOUT;
        const std::int64_t result =
            full ? send_pieces(use, pieces, MSG_WAITALL, deadline) : try_send(use, pieces);
        if (result < 0 && result != -EAGAIN) return result;
        const std::size_t some = result > 0 ? static_cast<std::size_t>(result) : 0;
        full = !full && some < pieces.bytes();
        sent += some;
    }
}

}  // namespace

// --- TcpStream ---

TcpStream TcpStream::connect(const Address& peer, Deadline deadline) {
    const std::string what = "connect to " + peer.to_string();
    const int family = peer.data()->sa_family;
    TcpStream stream{static_cast<int>(
        check(system_call<::socket>(family, SOCK_STREAM | socket_flags, 0), what))};
    Operation operation{Request{.code = Request::Code::connect,
                                .fd = stream.fd(),
                                .buffer = peer.data(),
                                .length = static_cast<std::uint32_t>(peer.size())}};
    check(perform(operation, deadline, Cancellable::yes, "connect a TCP stream"), what);
    return stream;
}

std::int64_t TcpStream::receive(std::span<const MutableBuffer> buffers, Deadline deadline) {
    Pieces pieces{buffers};
    if (pieces.empty()) return 0;
    Use use{descriptor_};
    return receive_pieces(use, pieces, 0, deadline);
}

std::int64_t TcpStream::send(std::span<const ConstBuffer> buffers, Deadline deadline) {
    Pieces pieces{buffers};
    if (pieces.empty()) return 0;
    Use use{descriptor_};
    const std::int64_t sent = try_send(use, pieces);
    return sent == -EAGAIN ? send_pieces(use, pieces, 0, deadline) : sent;
}

std::size_t TcpStream::read(std::span<std::byte> buffer, Deadline deadline) {
    const MutableBuffer one[] = {{buffer.data(), buffer.size()}};
    return value_or_throw(receive(one, deadline), "read from a TCP stream");
}

std::size_t TcpStream::read(std::span<const MutableBuffer> buffers, Deadline deadline) {
    return value_or_throw(receive(buffers, deadline), "read from a TCP stream");
}

std::size_t TcpStream::read_exactly(std::span<std::byte> buffer, Deadline deadline) {
    Use use{descriptor_};
    std::size_t done = 0;
    while (done < buffer.size()) {
        const MutableBuffer rest[] = {{buffer.data() + done, buffer.size() - done}};
        Pieces pieces{std::span<const MutableBuffer>{rest}};
        const std::size_t some = value_or_throw(receive_pieces(use, pieces, MSG_WAITALL, deadline),
                                                "read from a TCP stream");
        if (some == 0) break;
        done += some;
    }
    return done;
}

std::size_t TcpStream::write(std::span<const std::byte> data, Deadline deadline) {
    const ConstBuffer one[] = {{data.data(), data.size()}};
    return value_or_throw(send(one, deadline), "write to a TCP stream");
}

std::size_t TcpStream::write(std::span<const ConstBuffer> buffers, Deadline deadline) {
    return value_or_throw(send(buffers, deadline), "write to a TCP stream");
}

void TcpStream::write_all(std::span<const std::byte> data, Deadline deadline) {
    const ConstBuffer one[] = {{data.data(), data.size()}};
    write_all(std::span<const ConstBuffer>{one}, deadline);
}

void TcpStream::write_all(std::span<const ConstBuffer> buffers, Deadline deadline) {
    Use use{descriptor_};
    value_or_throw(send_all(use, buffers, deadline), "write to a TCP stream");
}

void TcpStream::shutdown(Shutdown what) {
    const Use use{descriptor_};
    const int how = what == Shutdown::read    ? SHUT_RD
                    : what == Shutdown::write ? SHUT_WR
                                              : SHUT_RDWR;
    check(system_call<::shutdown>(use.fd(), how), "shutdown of a TCP stream");
}

void TcpStream::set(int level, int option, const void* value, std::size_t size, const char* what) {
    const Use use{descriptor_};
    check(system_call<::setsockopt>(use.fd(), level, option, value, static_cast<socklen_t>(size)),
          what);
}

void TcpStream::no_delay(bool on) {
    const int value = on ? 1 : 0;
    set(IPPROTO_TCP, TCP_NODELAY, &value, sizeof value, "TCP_NODELAY");
}

void TcpStream::keep_alive(bool on) {
    const int value = on ? 1 : 0;
    set(SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value, "SO_KEEPALIVE");
}

void TcpStream::receive_buffer(int bytes) {
    set(SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes, "SO_RCVBUF");
}

void TcpStream::send_buffer(int bytes) {
    set(SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes, "SO_SNDBUF");
}

void TcpStream::linger(int seconds) {
    const ::linger value{.l_onoff = seconds >= 0 ? 1 : 0, .l_linger = std::max(0, seconds)};
    set(SOL_SOCKET, SO_LINGER, &value, sizeof value, "SO_LINGER");
}

Address TcpStream::local_address() const {
    return name_of<::getsockname>(descriptor_, "local address of a TCP stream");
}

Address TcpStream::peer_address() const {
    return name_of<::getpeername>(descriptor_, "peer address of a TCP stream");
}

// --- TcpListener ---

namespace {

enum class AcceptFailure : std::uint8_t { connection, shortage, other };

AcceptFailure judge_accept(int error) noexcept {
    switch (error) {
        // The connection broke while it was queued: accept(2) tells its error.
        case ECONNABORTED:
        case EAGAIN:
        case EPROTO:
        case ENETDOWN:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EPERM: return AcceptFailure::connection;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM: return AcceptFailure::shortage;
        default: return AcceptFailure::other;
    }
}

}  // namespace

TcpListener::TcpListener(const Address& local, const ListenOptions& options) {
    const std::string what = "listen on " + local.to_string();
    const int family = local.data()->sa_family;
    const auto number = check(system_call<::socket>(family, SOCK_STREAM | socket_flags, 0), what);
    const int fd = static_cast<int>(number);
    Descriptor made{fd};
    // Connections of an earlier process in TIME_WAIT do not bar the port.
    check(set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1), what);
    if (options.reuse_port) check(set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1), what);
    if (local.is_v6()) {
        check(set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0), what);
    }
    check(system_call<::bind>(fd, local.data(), static_cast<socklen_t>(local.size())), what);
    check(system_call<::listen>(fd, options.backlog), what);
    descriptor_ = std::move(made);
}

TcpStream TcpListener::accept(Deadline deadline) {
    using namespace std::chrono_literals;
    const char* what = "accept a TCP connection";
    Use use{descriptor_};
    for (std::chrono::milliseconds pause = 5ms; use.fd() >= 0;) {
        const Request request{.code = Request::Code::accept, .flags = socket_flags};
        const int result = static_cast<int>(perform_on(use, request, deadline, what));
        if (result >= 0) return TcpStream{result};
        switch (judge_accept(-result)) {
            case AcceptFailure::connection: break;
            case AcceptFailure::shortage:
                if (deadline.passed()) value_or_throw(-ETIMEDOUT, what);
                use.sleep(std::min(deadline, Deadline{pause}), "out of descriptors for accept");
                pause = std::min<std::chrono::milliseconds>(2 * pause, 1s);
                break;
            case AcceptFailure::other: value_or_throw(result, what);
        }
    }
    throw std::system_error(EBADF, std::system_category(), what);
}

Address TcpListener::local_address() const {
    return name_of<::getsockname>(descriptor_, "local address of a TCP listener");
}

}  // namespace weft::io
