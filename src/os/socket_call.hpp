// What the files of sockets share: making them, their options, their names.
// Layer: os. Uses: io.
#pragma once

#include "os/call.hpp"

#include <weft/io/stream.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <initializer_list>
#include <string>
#include <utility>

namespace weft::io::detail {

/// Sockets made here are O_NONBLOCK for the sake of plain threads, of the epoll
/// driver and of calls that are tried first; io_uring waits on them all the same.
inline constexpr int socket_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

/// Throws std::system_error for a `result` below 0: "connect to 127.0.0.1:80". The
/// text is made only then.
template <class AnyAddress>
int check(long result, const char* what, const AnyAddress& where) {
    if (result < 0) throw_error(result, (std::string{what} + ' ' + where.to_string()).c_str());
    return static_cast<int>(result);
}

/// A new socket for `where`, which its caller owns.
template <class AnyAddress>
int open_socket(int type, const char* what, const AnyAddress& where) {
    const int family = where.data()->sa_family;
    return check(system_call<::socket>(family, type | socket_flags, 0), what, where);
}

template <class AnyAddress>
void bind_to(int fd, const char* what, const AnyAddress& where) {
    const auto size = static_cast<socklen_t>(where.size());
    check(system_call<::bind>(fd, where.data(), size), what, where);
}

/// `what` is the option's name.
template <class T>
void set_option(Descriptor& descriptor, int level, int option, const T& value, const char* what) {
    const Use use{descriptor};
    const socklen_t size = sizeof value;
    value_or_throw(system_call<::setsockopt>(use.fd(), level, option, &value, size), what);
}

template <class T>
T get_option(Descriptor& descriptor, int level, int option, const char* what) {
    const Use use{descriptor};
    T value{};
    socklen_t size = sizeof value;
    value_or_throw(system_call<::getsockopt>(use.fd(), level, option, &value, &size), what);
    return value;
}

/// `fd`, which never waits from now on. Throws std::system_error, and leaves it to the caller,
/// when it is no stream socket of one of these families or does not listen.
int listening(int fd, std::initializer_list<int> families, const char* what);

/// An option that has a name for each family.
struct IpOption {
    struct Name {
        int level;
        int option;
        const char* what;
    };
    Name v4;
    Name v6;
};
inline constexpr IpOption type_of_service{{IPPROTO_IP, IP_TOS, "IP_TOS"},
                                          {IPPROTO_IPV6, IPV6_TCLASS, "IPV6_TCLASS"}};
inline constexpr IpOption time_to_live{{IPPROTO_IP, IP_TTL, "IP_TTL"},
                                       {IPPROTO_IPV6, IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS"}};

inline bool is_v6(Descriptor& descriptor) {
    return get_option<int>(descriptor, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN") == AF_INET6;
}

/// An IPv6 socket gets both: what it sends to ::ffff:a.b.c.d are IPv4 packets.
inline void set_option(Descriptor& descriptor, const IpOption& option, int value) {
    const auto set = [&](const IpOption::Name& name) {
        set_option(descriptor, name.level, name.option, value, name.what);
    };
    if (is_v6(descriptor)) set(option.v6);
    set(option.v4);
}

/// The one of the socket's family.
inline int get_option(Descriptor& descriptor, const IpOption& option) {
    const IpOption::Name& name = is_v6(descriptor) ? option.v6 : option.v4;
    return get_option<int>(descriptor, name.level, name.option, name.what);
}

/// The value of an option, as wide as the kernel takes it.
template <class Rep>
int to_int(Rep value, const char* what) {
    if (!std::in_range<int>(value)) throw_error(-EINVAL, what);
    return static_cast<int>(value);
}

/// What getsockname or getpeername say.
template <auto get_name, class AnyAddress>
AnyAddress name_of(Descriptor& descriptor, const char* what) {
    const Use use{descriptor};
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    auto* address = reinterpret_cast<sockaddr*>(&storage);
    value_or_throw(system_call<get_name>(use.fd(), address, &size), what);
    return AnyAddress::from(address, size);
}

}  // namespace weft::io::detail
