// TCP. Layer: os. Uses: io, park, sched.
#include <weft/io/tcp.hpp>

#include "os/socket_call.hpp"
#include "os/tcp_options.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>

namespace weft::io {

namespace detail {

void set_options(TcpStream& stream, const TcpConnectOptions& options) {
    if (options.receive_buffer != 0) stream.receive_buffer(options.receive_buffer);
    if (options.send_buffer != 0) stream.send_buffer(options.send_buffer);
    if (options.no_delay) stream.no_delay(true);
    if (options.keep_alive) stream.keep_alive(true, *options.keep_alive);
}

int bind_local(int fd, const Address& local, const Address& peer) noexcept {
    if (local.is_v6() != peer.is_v6()) return -EAFNOSUPPORT;
    const int on = 1;
    const socklen_t size = sizeof on;
    // Else an earlier connection in TIME_WAIT bars the port, as do others with other peers.
    system_call<::setsockopt>(fd, SOL_SOCKET, SO_REUSEADDR, &on, size);
    if (local.port() == 0) {
        system_call<::setsockopt>(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, size);
    }
    return static_cast<int>(
        system_call<::bind>(fd, local.data(), static_cast<socklen_t>(local.size())));
}

}  // namespace detail

using detail::check;
using detail::get_option;
using detail::name_of;
using detail::set_option;

// --- TcpStream ---

TcpStream::TcpStream(int fd) noexcept : StreamSocket{fd} {
    if (fd >= 0 && weft::detail::lingers(fd)) {
        descriptor().set_close_waits(Descriptor::CloseWaits::for_peer);
    }
}

TcpStream TcpStream::connect(const Address& peer, Deadline deadline) {
    return connect(peer, TcpConnectOptions{}, deadline);
}

TcpStream TcpStream::connect(const Address& peer, const TcpConnectOptions& options,
                             Deadline deadline) {
    TcpStream stream{Own{detail::open_socket(SOCK_STREAM, "connect to", peer)}};
    detail::set_options(stream, options);
    if (const auto& local = options.local) {
        check(detail::bind_local(stream.fd(), *local, peer), "connect from", *local);
    }
    Operation operation{Request{.code = Request::Code::connect,
                                .fd = stream.fd(),
                                .buffer = peer.data(),
                                .length = static_cast<std::uint32_t>(peer.size())}};
    const int result = perform(operation, deadline, Cancellable::yes, "connect a TCP stream");
    check(result, "connect to", peer);
    return stream;
}

void TcpStream::no_delay(bool on) {
    set_option(descriptor(), IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0, "TCP_NODELAY");
}

bool TcpStream::no_delay() const {
    return get_option<int>(descriptor(), IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY") != 0;
}

void TcpStream::keep_alive(bool on) {
    set_option(descriptor(), SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0, "SO_KEEPALIVE");
}

bool TcpStream::keep_alive() const {
    return get_option<int>(descriptor(), SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE") != 0;
}

void TcpStream::keep_alive(bool on, const KeepAlive& when) {
    const auto set = [this](int option, std::int64_t value, const char* what) {
        set_option(descriptor(), IPPROTO_TCP, option, detail::to_int(value, what), what);
    };
    set(TCP_KEEPIDLE, when.idle.count(), "TCP_KEEPIDLE");
    set(TCP_KEEPINTVL, when.interval.count(), "TCP_KEEPINTVL");
    set(TCP_KEEPCNT, when.count, "TCP_KEEPCNT");
    keep_alive(on);
}

void TcpStream::user_timeout(std::chrono::milliseconds time) {
    const int value = detail::to_int(time.count(), "TCP_USER_TIMEOUT");
    set_option(descriptor(), IPPROTO_TCP, TCP_USER_TIMEOUT, value, "TCP_USER_TIMEOUT");
}

std::chrono::milliseconds TcpStream::user_timeout() const {
    return std::chrono::milliseconds{
        get_option<int>(descriptor(), IPPROTO_TCP, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT")};
}

void TcpStream::not_sent_low_water(int bytes) {
    set_option(descriptor(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes, "TCP_NOTSENT_LOWAT");
}

int TcpStream::not_sent_low_water() const {
    return get_option<int>(descriptor(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT");
}

void TcpStream::quick_ack(bool on) {
    set_option(descriptor(), IPPROTO_TCP, TCP_QUICKACK, on ? 1 : 0, "TCP_QUICKACK");
}

bool TcpStream::quick_ack() const {
    return get_option<int>(descriptor(), IPPROTO_TCP, TCP_QUICKACK, "TCP_QUICKACK") != 0;
}

void TcpStream::type_of_service(int value) {
    set_option(descriptor(), detail::type_of_service, value);
}

int TcpStream::type_of_service() const { return get_option(descriptor(), detail::type_of_service); }

void TcpStream::time_to_live(int hops) { set_option(descriptor(), detail::time_to_live, hops); }

int TcpStream::time_to_live() const { return get_option(descriptor(), detail::time_to_live); }

void TcpStream::linger(int seconds) {
    const ::linger value{.l_onoff = seconds >= 0 ? 1 : 0, .l_linger = std::max(0, seconds)};
    set_option(descriptor(), SOL_SOCKET, SO_LINGER, value, "SO_LINGER");
    using Waits = Descriptor::CloseWaits;
    descriptor().set_close_waits(seconds > 0 ? Waits::for_peer : Waits::not_at_all);
}

Address TcpStream::local_address() const {
    return name_of<::getsockname, Address>(descriptor(), "local address of a TCP stream");
}

Address TcpStream::peer_address() const {
    return name_of<::getpeername, Address>(descriptor(), "peer address of a TCP stream");
}

// --- TcpListener ---

TcpListener::TcpListener(const Address& local, const ListenOptions& options)
    : ListenerSocket{detail::open_socket(SOCK_STREAM, "listen on", local)} {
    // Connections of an earlier process in TIME_WAIT do not bar the port.
    set_option(descriptor(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
    if (options.reuse_port) set_option(descriptor(), SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
    if (local.is_v6()) {
        set_option(descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0, "IPV6_V6ONLY");
    }
    if (const auto time = options.defer_accept.count(); time != 0) {
        const int seconds = detail::to_int(time, "TCP_DEFER_ACCEPT");
        set_option(descriptor(), IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds, "TCP_DEFER_ACCEPT");
    }
    if (options.fast_open != 0) {
        set_option(descriptor(), IPPROTO_TCP, TCP_FASTOPEN, options.fast_open, "TCP_FASTOPEN");
    }
    detail::bind_to(fd(), "listen on", local);
    check(system_call<::listen>(fd(), options.backlog), "listen on", local);
}

TcpListener::TcpListener(int fd)
    : ListenerSocket{detail::listening(fd, {AF_INET, AF_INET6}, "a TCP listener")} {}

Address TcpListener::local_address() const {
    return name_of<::getsockname, Address>(descriptor(), "local address of a TCP listener");
}

}  // namespace weft::io
