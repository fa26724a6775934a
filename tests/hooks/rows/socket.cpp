// The rows of calls on sockets.
#include "hooks/rows/rows.hpp"

#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

namespace weft::test {

namespace {

sockaddr_in loopback(in_port_t port = 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = port;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

struct Listener {
    explicit Listener(int type = SOCK_STREAM) : fd{::socket(AF_INET, type, 0)} {
        socklen_t size = sizeof address;
        REQUIRE(::bind(fd, where(), size) == 0);
        if (type == SOCK_STREAM) REQUIRE(::listen(fd, 8) == 0);
        ::getsockname(fd, where(), &size);
    }
    sockaddr* where() { return reinterpret_cast<sockaddr*>(&address); }

    sockaddr_in address = loopback();
    Fd fd;
};

/// As `call(fd, address, length)`.
template <class Call>
void accepts(Seen& seen, Call&& call) {
    const HalfMapped memory;
    sockaddr_storage peer{};
    auto* const to = reinterpret_cast<sockaddr*>(&peer);
    socklen_t length = sizeof peer;
    with_bad_fds(seen, [&](int fd) { return call(fd, to, &length); });
    Listener listener;
    const Fd unconnected{::socket(AF_INET, SOCK_STREAM, 0)};
    seen.of("no listener", [&] { return call(unconnected, to, &length); });
    std::array<Fd, 3> clients;
    for (Fd& each : clients) {
        each = Fd{::socket(AF_INET, SOCK_STREAM, 0)};
        REQUIRE(::connect(each, listener.where(), sizeof listener.address) == 0);
    }
    seen.of("one", [&] { return opened(call(listener.fd, to, &length)); });
    seen.note("of", peer.ss_family * 100 + static_cast<long>(length));
    length = 2;
    seen.of("with little room", [&] { return opened(call(listener.fd, to, &length)); });
    seen.note("of", static_cast<long>(length));
    if (may_be_bad) {
        seen.of("EFAULT", [&] { return call(listener.fd, to, memory.bad<socklen_t>()); });
    } else {
        seen.of("one more", [&] { return opened(call(listener.fd, nullptr, nullptr)); });
    }
    set_nonblocking(listener.fd);
    seen.of("none", [&] { return call(listener.fd, nullptr, nullptr); });
}

template <class Call>
void connects(Seen& seen, Call&& call) {
    const HalfMapped memory;
    with_bad_fds(seen, [&](int fd) {
        const sockaddr_in nowhere = loopback(htons(9));
        return call(fd, reinterpret_cast<const sockaddr*>(&nowhere), sizeof nowhere);
    });
    Listener listener;
    const Fd client{::socket(AF_INET, SOCK_STREAM, 0)};
    const auto size = static_cast<socklen_t>(sizeof listener.address);
    seen.of("too short", [&] { return call(client, listener.where(), 3); });
    seen.of("huge", [&] { return call(client, listener.where(), ~socklen_t{0}); });
    if (may_be_bad) seen.of("EFAULT", [&] { return call(client, memory.bad<sockaddr>(), size); });
    seen.of("there", [&] { return call(client, listener.where(), size); });
    seen.of("again", [&] { return call(client, listener.where(), size); });
    listener.fd.reset();
    const Fd refused{::socket(AF_INET, SOCK_STREAM, 0)};
    seen.of("nobody", [&] { return call(refused, listener.where(), size); });
    const Fd local{::socket(AF_UNIX, SOCK_STREAM, 0)};
    sockaddr_un nowhere{AF_UNIX, "/nonexistent/weft"};
    seen.of("nowhere", [&] {
        return call(local, reinterpret_cast<const sockaddr*>(&nowhere), sizeof nowhere);
    });
}

/// A message of one piece.
struct Message {
    Message(void* data, std::size_t size) : piece{data, size} {
        header.msg_iov = &piece;
        header.msg_iovlen = 1;
    }
    iovec piece;
    msghdr header{};
};

/// Several messages, as `call(fd, messages, count)`.
template <class Call>
void counts_messages(Seen& seen, Call&& call) {
    const Pair pair = sockets(SOCK_DGRAM);
    put(pair.b, "one");
    put(pair.b, "two");
    const HalfMapped memory;
    char data[8] = {};
    Message message{data, 3};
    auto* const two = reinterpret_cast<mmsghdr*>(memory.end(2 * sizeof(mmsghdr)));
    two[0] = two[1] = mmsghdr{message.header, 0};
    seen.of("no messages", [&] { return call(pair.a, nullptr, 0); });
    seen.of("two", [&] { return call(pair.a, two, 2); });
    seen.note("sizes", two[0].msg_len * 10 + two[1].msg_len);
    if (!may_be_bad) return;
    put(pair.b, "one");
    put(pair.b, "two");
    seen.of("more than there are", [&] { return call(pair.a, two, 1U << 31); });
    seen.of("EFAULT", [&] { return call(pair.a, memory.bad<mmsghdr>(), 1); });
}

}  // namespace

WEFT_ROW(accept) {
    accepts(seen, [](auto&&... arguments) { return row_accept(arguments...); });
}
WEFT_ROW(accept4) {
    accepts(seen, [](auto&&... arguments) { return row_accept4(arguments..., SOCK_CLOEXEC); });
    seen.of("flags", [] { return row_accept4(0, nullptr, nullptr, 1); });
}

WEFT_ROW(connect) {
    connects(seen, [](auto&&... arguments) { return row_connect(arguments...); });
}
WEFT_ROW(__connect) {
    connects(seen, [](auto&&... arguments) { return row___connect(arguments...); });
}

WEFT_ROW(recv) {
    receives(seen, [](auto&&... arguments) { return row_recv(arguments..., 0); });
    seen.of("flags", [] { return row_recv(-1, nullptr, 0, -1); });
}
WEFT_ROW(__recv) {
    receives(seen, [](auto&&... arguments) { return row___recv(arguments..., 0); });
}
WEFT_ROW(__recv_chk) {
    receives(seen, [](int fd, char* data, std::size_t size) {
        return row___recv_chk(fd, data, size, size, 0);
    });
}
WEFT_ROW(recvfrom) {
    receives(seen,
             [](auto&&... arguments) { return row_recvfrom(arguments..., 0, nullptr, nullptr); });
    Listener udp{SOCK_DGRAM};
    const Fd sender{::socket(AF_INET, SOCK_DGRAM, 0)};
    ::sendto(sender, "abc", 3, 0, udp.where(), sizeof udp.address);
    char data[8];
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    seen.of("cut off", [&] {
        return row_recvfrom(udp.fd, data, 2, MSG_TRUNC, reinterpret_cast<sockaddr*>(&from),
                            &length);
    });
    seen.note("from", from.ss_family * 100 + static_cast<long>(length));
}
WEFT_ROW(__recvfrom_chk) {
    receives(seen, [](int fd, char* data, std::size_t size) {
        return row___recvfrom_chk(fd, data, size, size, 0, nullptr, nullptr);
    });
}
WEFT_ROW(recvmsg) {
    receives(seen, [](int fd, char* data, std::size_t size) {
        Message message{data, size};
        return row_recvmsg(fd, &message.header, 0);
    });
}
WEFT_ROW(recvmmsg) {
    receives(seen, [](int fd, char* data, std::size_t size) {
        Message message{data, size};
        mmsghdr one{message.header, 0};
        const int count = row_recvmmsg(fd, &one, 1, 0, nullptr);
        return count < 0 ? count : static_cast<long>(one.msg_len);
    });
    counts_messages(seen, [](auto&&... arguments) {
        return row_recvmmsg(arguments..., MSG_DONTWAIT, nullptr);
    });
}

WEFT_ROW(send) {
    sends(seen, [](auto&&... arguments) { return row_send(arguments..., 0); });
}
WEFT_ROW(__send) {
    sends(seen, [](auto&&... arguments) { return row___send(arguments..., 0); });
}
WEFT_ROW(sendto) {
    sends(seen, [](auto&&... arguments) { return row_sendto(arguments..., 0, nullptr, 0); });
    Listener udp{SOCK_DGRAM};
    const Fd sender{::socket(AF_INET, SOCK_DGRAM, 0)};
    const auto send = [&](std::size_t size, socklen_t length) {
        const std::string much(size, 'x');
        return row_sendto(sender, much.data(), size, 0, udp.where(), length);
    };
    seen.of("datagram", [&] { return send(3, sizeof udp.address); });
    seen.of("too long", [&] { return send(70'000, sizeof udp.address); });
    seen.of("short address", [&] { return send(3, 3); });
}
WEFT_ROW(sendmsg) {
    sends(seen, [](int fd, char* data, std::size_t size) {
        const Message message{data, size};
        return row_sendmsg(fd, &message.header, 0);
    });
}
WEFT_ROW(sendmmsg) {
    sends(seen, [](int fd, char* data, std::size_t size) {
        const Message message{data, size};
        mmsghdr one{message.header, 0};
        const int count = row_sendmmsg(fd, &one, 1, 0);
        return count < 0 ? count : static_cast<long>(one.msg_len);
    });
    counts_messages(seen,
                    [](auto&&... arguments) { return row_sendmmsg(arguments..., MSG_DONTWAIT); });
}
WEFT_ROW(__sendmmsg) {
    counts_messages(seen,
                    [](auto&&... arguments) { return row___sendmmsg(arguments..., MSG_DONTWAIT); });
}

}  // namespace weft::test
