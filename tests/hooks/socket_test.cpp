// Calls on sockets in fibers: results, errors and what is written, as libc has it.
#include "hooks/conform.hpp"
#include "support/fd.hpp"
#include "support/hooked.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <array>
#include <climits>
#include <cstring>
#include <string>
#include <vector>

using namespace weft::test;

namespace {

/// Fills the queue of `to`, sends two messages more by `from`, which wait, and notes which lengths
/// then come out.
void note_messages(Seen& seen, int from, int to) {
    std::array<char, 64> data{};
    while (::send(from, data.data(), 1, MSG_DONTWAIT) > 0) {
    }
    std::array<long, 64> count{};
    Beside reader{[&] {
        std::array<char, 64> piece{};
        while (count[7] == 0) {
            const auto n = ::recv(to, piece.data(), piece.size(), 0);
            if (n < 0) return;
            ++count[static_cast<std::size_t>(n)];
        }
    }};
    seen.of("send", [&] { return ::send(from, "five!", 5, 0); });
    iovec piece{data.data(), 7};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    seen.of("sendmsg", [&] { return ::sendmsg(from, &message, 0); });
    reader.join();
    for (const long each : count) seen.note("so many", each);
}

}  // namespace

TEST_CASE("sockets: a message waits for room in its peer's queue, and is sent once",
          "[hooks][socket]") {
    for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
        conforms([type](Seen& seen) {
            const Pair pair = sockets(type);
            note_messages(seen, pair.a, pair.b);
        });
    }
    // To a peer that has no peer the length of its queue counts.
    conforms([](Seen& seen) {
        const Fd listener{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        auto* const name = reinterpret_cast<sockaddr*>(&address);
        REQUIRE(::bind(listener, name, sizeof(sa_family_t)) == 0);
        socklen_t length = sizeof address;
        REQUIRE(::getsockname(listener, name, &length) == 0);
        const Fd sender{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        REQUIRE(::connect(sender, name, length) == 0);
        note_messages(seen, sender, listener);
    });
}

TEST_CASE("sockets: MSG_WAITALL takes one message", "[hooks][socket]") {
    for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
        conforms([type](Seen& seen) {
            const Pair pair = sockets(type);
            std::array<char, 64> data{};
            seen.of("send", [&] { return ::send(pair.a, "four", 4, 0); });
            seen.of("send", [&] { return ::send(pair.a, "three", 3, 0); });
            seen.of("recv", [&] { return ::recv(pair.b, data.data(), 64, MSG_WAITALL); });
            sockaddr_un from{};
            socklen_t length = sizeof from;
            seen.of("recvfrom", [&] {
                return ::recvfrom(pair.b, data.data(), 64, MSG_WAITALL,
                                  reinterpret_cast<sockaddr*>(&from), &length);
            });
            Beside writer{[&] { ::send(pair.a, "later", 5, 0); }};
            seen.of("recv", [&] { return ::recv(pair.b, data.data(), 64, MSG_WAITALL); });
        });
    }
}

TEST_CASE("sockets: to connect to a full Unix listener has SO_SNDTIMEO to do so",
          "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) == 0);
        socklen_t length = sizeof address;
        REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
        REQUIRE(::listen(listener, 1) == 0);
        const auto connect = [&](int fd) {
            return ::connect(fd, reinterpret_cast<sockaddr*>(&address), length);
        };
        std::vector<Fd> clients;
        do {
            clients.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        } while (connect(clients.back()) == 0);
        const Fd late{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const timeval soon{0, 2000};
        REQUIRE(::setsockopt(late, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon) == 0);
        seen.of("connect", [&] { return connect(late); });
    });
}

namespace {

void limit(int fd, int option, long microseconds) {
    const timeval time{0, microseconds};
    REQUIRE(::setsockopt(fd, SOL_SOCKET, option, &time, sizeof time) == 0);
}

sockaddr_in loopback(in_port_t port = 0) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = port;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

struct Listener {
    explicit Listener(int type = SOCK_STREAM) : fd{::socket(AF_INET, type, 0)} {
        address = loopback();
        socklen_t size = sizeof address;
        ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
        if (type == SOCK_STREAM) ::listen(fd, 8);
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    }
    const sockaddr* where() const { return reinterpret_cast<const sockaddr*>(&address); }
    Fd fd;
    sockaddr_in address;
};

bool has_nonblock(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }

/// Every call of the kind, on `fd`, which is none to receive from or send to.
void try_all(Seen& seen, const std::string& what, int fd) {
    char data[8] = {};
    iovec piece{data, sizeof data};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    mmsghdr several{message, 0};
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    const sockaddr_in target = loopback(htons(9));
    auto* const out = reinterpret_cast<sockaddr*>(&address);
    seen.of(what + " accept", [&] { return ::accept(fd, out, &length); });
    seen.of(what + " accept4", [&] { return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC); });
    seen.of(what + " accept4 flags", [&] { return ::accept4(fd, nullptr, nullptr, 1); });
    seen.of(what + " recv", [&] { return ::recv(fd, data, 8, 0); });
    seen.of(what + " recv all", [&] { return ::recv(fd, data, 8, MSG_WAITALL); });
    seen.of(what + " recvfrom", [&] { return ::recvfrom(fd, data, 8, 0, out, &length); });
    seen.of(what + " recvmsg", [&] { return ::recvmsg(fd, &message, 0); });
    seen.of(what + " recvmmsg", [&] { return ::recvmmsg(fd, &several, 1, 0, nullptr); });
    seen.of(what + " send", [&] { return ::send(fd, data, 8, MSG_NOSIGNAL); });
    seen.of(what + " sendto", [&] {
        return ::sendto(fd, data, 8, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&target),
                        sizeof target);
    });
    seen.of(what + " sendmsg", [&] { return ::sendmsg(fd, &message, MSG_NOSIGNAL); });
    seen.of(what + " sendmmsg", [&] { return ::sendmmsg(fd, &several, 1, MSG_NOSIGNAL); });
    seen.of(what + " connect",
            [&] { return ::connect(fd, reinterpret_cast<const sockaddr*>(&target), 3); });
}

TEST_CASE("sockets: a descriptor that is none is refused as by libc", "[hooks][socket]") {
    conforms([](Seen& seen) {
        try_all(seen, "-1", -1);
        try_all(seen, "closed", 987);
        const Fd null{::open("/dev/null", O_RDWR)};
        try_all(seen, "/dev/null", null);
        const Fd path{::open("/", O_PATH)};
        try_all(seen, "O_PATH", path);
        const Fd fresh{::socket(AF_INET, SOCK_STREAM, 0)};
        try_all(seen, "unconnected", fresh);
    });
}

TEST_CASE("sockets: bad pointers are EFAULT, and nothing worse", "[hooks][socket]") {
    if (!may_be_bad) return;
    conforms([](Seen& seen) {
        const HalfMapped memory;
        const Pair pair = sockets();
        put(pair.b, "hello");
        char data[8];
        seen.of("recv", [&] { return ::recv(pair.a, memory.bad(), 5, 0); });
        put(pair.b, "hello");
        seen.of("read", [&] { return ::read(pair.a, memory.bad(), 1); });
        seen.of("send", [&] { return ::send(pair.a, memory.bad(), 5, 0); });
        seen.of("write", [&] { return ::write(pair.a, memory.bad(), 5); });
        seen.of("recvmsg", [&] { return ::recvmsg(pair.a, memory.bad<msghdr>(), 0); });
        seen.of("sendmsg", [&] { return ::sendmsg(pair.a, memory.bad<msghdr>(), 0); });
        seen.of("recvmmsg", [&] {
            return ::recvmmsg(pair.a, memory.bad<mmsghdr>(), 2, MSG_DONTWAIT, nullptr);
        });
        seen.of("sendmmsg", [&] { return ::sendmmsg(pair.a, memory.bad<mmsghdr>(), 2, 0); });
        seen.of("recvmmsg time", [&] {
            mmsghdr one{};
            return ::recvmmsg(pair.a, &one, 1, 0, memory.bad<timespec>());
        });
        msghdr message{};
        message.msg_iov = memory.bad<iovec>();
        message.msg_iovlen = 1;
        seen.of("recvmsg pieces", [&] { return ::recvmsg(pair.a, &message, 0); });
        seen.of("sendmsg pieces", [&] { return ::sendmsg(pair.a, &message, 0); });
        seen.of("readv", [&] { return ::readv(pair.a, memory.bad<iovec>(), 2); });
        seen.of("writev", [&] { return ::writev(pair.a, memory.bad<iovec>(), 2); });
        seen.of("connect", [&] {
            const Fd fd{::socket(AF_INET, SOCK_STREAM, 0)};
            return ::connect(fd, memory.bad<sockaddr>(), 16);
        });

        Listener udp{SOCK_DGRAM};
        const Fd sender{::socket(AF_INET, SOCK_DGRAM, 0)};
        const auto tell = [&] { ::sendto(sender, "x", 1, 0, udp.where(), sizeof udp.address); };
        tell();
        seen.of("recvfrom length", [&] {
            sockaddr_storage address;
            return ::recvfrom(udp.fd, data, 8, 0, reinterpret_cast<sockaddr*>(&address),
                              memory.bad<socklen_t>());
        });
        seen.of("recvfrom length, waiting", [&] {
            Beside other{tell};
            sockaddr_storage address;
            return ::recvfrom(udp.fd, data, 8, 0, reinterpret_cast<sockaddr*>(&address),
                              memory.bad<socklen_t>());
        });
        seen.of("recvfrom address, waiting", [&] {
            Beside other{tell};
            socklen_t length = 16;
            return ::recvfrom(udp.fd, data, 8, 0, memory.bad<sockaddr>(), &length);
        });
    });
}

TEST_CASE("sockets: sizes of nothing, and of more than there is", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        char data[8];
        seen.of("send 0", [&] { return ::send(pair.a, data, 0, 0); });
        seen.of("write 0", [&] { return ::write(pair.a, data, 0); });
        seen.of("read 0", [&] { return ::read(pair.a, data, 0); });
        seen.of("recv 0", [&] { return ::recv(pair.a, data, 0, MSG_DONTWAIT); });
        put(pair.b, "hello");
        seen.of("recv 0 of some", [&] { return ::recv(pair.a, data, 0, 0); });
        seen.of("read huge", [&] { return ::read(pair.a, data, SIZE_MAX); });
        seen.of("write huge", [&] { return ::write(pair.a, data, SIZE_MAX); });
        seen.of("readv -1", [&] {
            iovec piece{data, 8};
            return ::readv(pair.a, &piece, -1);
        });
        seen.of("readv 1025", [&] {
            std::vector<iovec> pieces(1025, {data, 0});
            return ::readv(pair.a, pieces.data(), 1025);
        });
        seen.of("writev 0", [&] { return ::writev(pair.a, nullptr, 0); });
        const Pair messages = sockets(SOCK_DGRAM);
        seen.of("datagram of nothing", [&] { return ::send(messages.a, data, 0, 0); });
        seen.of("and its receipt", [&] { return ::recv(messages.b, data, 8, 0); });
        seen.of("too long", [&] {
            const std::vector<char> much(8 << 20);
            return ::send(messages.a, much.data(), much.size(), 0);
        });
        seen.of("recvmmsg of none", [&] { return ::recvmmsg(messages.a, nullptr, 0, 0, nullptr); });
        seen.of("sendmmsg of none", [&] { return ::sendmmsg(messages.a, nullptr, 0, 0); });
    });
}

TEST_CASE("sockets: who asks not to wait is told EAGAIN", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        const Listener listener;
        char data[8];
        seen.of("recv", [&] { return ::recv(pair.a, data, 8, MSG_DONTWAIT); });
        seen.of("recv all", [&] { return ::recv(pair.a, data, 8, MSG_DONTWAIT | MSG_WAITALL); });
        ::fcntl(pair.a, F_SETFL, O_NONBLOCK);
        ::fcntl(listener.fd, F_SETFL, O_NONBLOCK);
        seen.of("O_NONBLOCK recv", [&] { return ::recv(pair.a, data, 8, 0); });
        seen.of("O_NONBLOCK recv all", [&] { return ::recv(pair.a, data, 8, MSG_WAITALL); });
        seen.of("O_NONBLOCK read", [&] { return ::read(pair.a, data, 8); });
        seen.of("O_NONBLOCK readv", [&] {
            iovec piece{data, 8};
            return ::readv(pair.a, &piece, 1);
        });
        seen.of("O_NONBLOCK accept", [&] { return ::accept(listener.fd, nullptr, nullptr); });
        const std::vector<char> much(8 << 20);
        seen.of("O_NONBLOCK write", [&] { return ::write(pair.a, much.data(), much.size()); });
        seen.of("O_NONBLOCK write again", [&] { return ::write(pair.a, "x", 1); });
        seen.of("O_NONBLOCK send", [&] { return ::send(pair.a, "x", 1, 0); });
        mmsghdr one{};
        seen.of("O_NONBLOCK recvmmsg", [&] { return ::recvmmsg(pair.a, &one, 1, 0, nullptr); });
    });
}

TEST_CASE("sockets: queued errors and urgent data are there or not, and never waited for",
          "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Listener datagrams{SOCK_DGRAM};
        const Listener listener;
        const Fd stream{::socket(AF_INET, SOCK_STREAM, 0)};
        REQUIRE(::connect(stream, listener.where(), sizeof listener.address) == 0);
        char data[8];
        sockaddr_in address{};
        socklen_t size = sizeof address;
        msghdr message{};
        for (const int fd : {int{datagrams.fd}, int{stream}}) {
            seen.of("recv", [&] { return ::recv(fd, data, 8, MSG_ERRQUEUE); });
            seen.of("recv all", [&] { return ::recv(fd, data, 8, MSG_ERRQUEUE | MSG_WAITALL); });
            seen.of("recvfrom", [&] {
                return ::recvfrom(fd, data, 8, MSG_ERRQUEUE, reinterpret_cast<sockaddr*>(&address),
                                  &size);
            });
            seen.of("recvmsg", [&] { return ::recvmsg(fd, &message, MSG_ERRQUEUE); });
        }
        seen.of("urgent", [&] { return ::recv(stream, data, 8, MSG_OOB); });
    });
}

// Method: the system's close() sleeps until the peer has read what was sent; in a worker it
// would keep all fibers from running for 30 s.
TEST_CASE("sockets: closing one that lingers keeps no worker", "[hooks][socket]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        const Listener listener;
        const int client = ::socket(AF_INET, SOCK_STREAM, 0);
        REQUIRE(::connect(client, listener.where(), sizeof listener.address) == 0);
        const Fd server{::accept(listener.fd, nullptr, nullptr)};
        const std::vector<char> much(1 << 20);
        ssize_t sent = 0;
        for (ssize_t some = 0; some >= 0; sent += some > 0 ? some : 0) {
            some = ::send(client, much.data(), much.size(), MSG_DONTWAIT);
        }
        const linger how{.l_onoff = 1, .l_linger = 30};
        REQUIRE(::setsockopt(client, SOL_SOCKET, SO_LINGER, &how, sizeof how) == 0);
        auto closer = weft::spawn([client] { return ::close(client); });
        for (int tick = 0; tick < 10; ++tick) {
            ::usleep(1000);
            REQUIRE_FALSE(closer.done());
        }
        std::vector<char> got(1 << 20);
        while (sent > 0) sent -= ::read(server, got.data(), got.size());
        REQUIRE(closer.get() == 0);
    });
}

TEST_CASE("sockets: peeked, cut off, taken whole", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        std::array<char, 16> data{};
        const auto text = [&](long size) {
            return std::string{data.data(), static_cast<std::size_t>(std::max(size, 0L))};
        };
        const auto receive = [&](const char* what, int fd, std::size_t size, int flags) {
            const long got = seen.of(what, [&] { return ::recv(fd, data.data(), size, flags); });
            seen.note("which is", text(std::min<long>(got, static_cast<long>(size))));
        };
        {
            Beside other{[&] { put(pair.b, "abc"); }};
            receive("peek", pair.a, 16, MSG_PEEK);
        }
        receive("then all", pair.a, 16, 0);
        {
            Beside other{[&] {
                put(pair.b, "ab");
                put(pair.b, "cd");
                put(pair.b, "ef");
            }};
            receive("whole", pair.a, 6, MSG_WAITALL);
        }
        put(pair.b, "ab");
        put(pair.b, "cd");
        receive("whole, peeked", pair.a, 4, MSG_WAITALL | MSG_PEEK);
        receive("and taken", pair.a, 4, MSG_WAITALL);
        {
            Beside other{[&] {
                put(pair.b, "gh");
                put(pair.b, "ij");
            }};
            iovec pieces[2] = {{data.data(), 1}, {data.data() + 1, 3}};
            msghdr message{};
            message.msg_iov = pieces;
            message.msg_iovlen = 2;
            seen.of("recvmsg whole", [&] { return ::recvmsg(pair.a, &message, MSG_WAITALL); });
            seen.note("flags", message.msg_flags);
            seen.note("which is", text(4));
        }
        {
            Beside other{[&] {
                put(pair.b, "abc");
                ::shutdown(pair.b, SHUT_WR);
            }};
            receive("whole, but it ends", pair.a, 6, MSG_WAITALL);
        }
        const Pair messages = sockets(SOCK_DGRAM);
        put(messages.b, "abcdef");
        put(messages.b, "ghi");
        receive("cut off", messages.a, 2, MSG_TRUNC);
        receive("whole datagram", messages.a, 16, MSG_WAITALL);
    });
}

TEST_CASE("sockets: SO_RCVTIMEO and SO_SNDTIMEO end a call", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        const Listener listener;
        limit(pair.a, SO_RCVTIMEO, 2000);
        limit(pair.a, SO_SNDTIMEO, 2000);
        limit(listener.fd, SO_RCVTIMEO, 2000);
        char data[8];
        iovec piece{data, 8};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        mmsghdr several[2] = {{message, 0}, {message, 0}};
        sockaddr_storage from;
        socklen_t length = sizeof from;
        seen.of("recv", [&] { return ::recv(pair.a, data, 8, 0); });
        seen.of("read", [&] { return ::read(pair.a, data, 8); });
        seen.of("readv", [&] { return ::readv(pair.a, &piece, 1); });
        seen.of("recvfrom", [&] {
            return ::recvfrom(pair.a, data, 8, 0, reinterpret_cast<sockaddr*>(&from), &length);
        });
        seen.of("recvmsg", [&] { return ::recvmsg(pair.a, &message, 0); });
        seen.of("recvmmsg", [&] { return ::recvmmsg(pair.a, several, 2, 0, nullptr); });
        seen.of("accept", [&] { return ::accept(listener.fd, nullptr, nullptr); });
        put(pair.b, "abc");
        seen.of("what came of all", [&] { return ::recv(pair.a, data, 8, MSG_WAITALL); });
        put(pair.b, "abc");
        seen.of("one of two", [&] { return ::recvmmsg(pair.a, several, 2, 0, nullptr); });
        std::vector<char> much(8 << 20);
        const long most = ::send(pair.b, much.data(), much.size(), MSG_DONTWAIT);
        seen.note("a buffer was filled", most > 0);
        const long sent = ::write(pair.a, much.data(), much.size());
        seen.note("part of a write", sent > 0 && sent < static_cast<long>(much.size()));
        seen.of("write", [&] { return ::write(pair.a, much.data(), much.size()); });
        seen.of("send", [&] { return ::send(pair.a, much.data(), much.size(), 0); });
        seen.of("sendmsg", [&] { return ::sendmsg(pair.a, &message, 0); });
        seen.of("sendmmsg", [&] { return ::sendmmsg(pair.a, several, 2, 0); });
        seen.of("writev", [&] { return ::writev(pair.a, &piece, 1); });
        seen.note("O_NONBLOCK", has_nonblock(pair.a) || has_nonblock(listener.fd));
    });
}

// Method: who is connected elsewhere is deaf to what comes from here, and its port refuses it.
TEST_CASE("sockets: who receives waits though there is a queued error", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Listener peer{SOCK_DGRAM};
        const Listener deaf{SOCK_DGRAM};
        const Listener own{SOCK_DGRAM};
        REQUIRE(::connect(deaf.fd, peer.where(), sizeof peer.address) == 0);
        const int yes = 1;
        REQUIRE(::setsockopt(own.fd, IPPROTO_IP, IP_RECVERR, &yes, sizeof yes) == 0);
        REQUIRE(::sendto(own.fd, "x", 1, 0, deaf.where(), sizeof deaf.address) == 1);

        char data[8];
        iovec piece{data, 8};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        mmsghdr several[2] = {{message, 0}, {message, 0}};
        sockaddr_storage from;
        socklen_t length = sizeof from;
        const auto receive = [&] {
            return ::recvfrom(own.fd, data, 8, 0, reinterpret_cast<sockaddr*>(&from), &length);
        };
        seen.of("refused", receive);
        limit(own.fd, SO_RCVTIMEO, 2000);
        seen.of("recv", [&] { return ::recv(own.fd, data, 8, 0); });
        seen.of("recvfrom", receive);
        seen.of("recvmsg", [&] { return ::recvmsg(own.fd, &message, 0); });
        seen.of("recvmmsg", [&] { return ::recvmmsg(own.fd, several, 2, 0, nullptr); });

        limit(own.fd, SO_RCVTIMEO, 0);
        const auto while_it_comes = [&](const std::string& what, int count, auto&& call) {
            Beside sender{[&] {
                for (int i = 0; i < count; ++i) {
                    ::sendto(peer.fd, "abc", 3, 0, own.where(), sizeof own.address);
                }
            }};
            seen.of(what, call);
        };
        while_it_comes("recvfrom", 1, receive);
        while_it_comes("recvmsg", 1, [&] { return ::recvmsg(own.fd, &message, 0); });
        while_it_comes("recvmmsg", 2, [&] { return ::recvmmsg(own.fd, several, 2, 0, nullptr); });
        seen.of("the error", [&] { return ::recv(own.fd, data, 8, MSG_ERRQUEUE); });
    });
}

TEST_CASE("sockets: who receives beside a queued error is ended by a close, and by a cancellation",
          "[hooks][socket]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        for (const bool by_close : {true, false}) {
            const Listener peer{SOCK_DGRAM};
            const Listener deaf{SOCK_DGRAM};
            Listener own{SOCK_DGRAM};
            REQUIRE(::connect(deaf.fd, peer.where(), sizeof peer.address) == 0);
            const int yes = 1;
            REQUIRE(::setsockopt(own.fd, IPPROTO_IP, IP_RECVERR, &yes, sizeof yes) == 0);
            REQUIRE(::sendto(own.fd, "x", 1, 0, deaf.where(), sizeof deaf.address) == 1);
            char data[8];
            CHECK(::recv(own.fd, data, 8, 0) == -1);
            int error = 0;
            auto receiver = weft::spawn([&, fd = static_cast<int>(own.fd)] {
                msghdr message{};
                error = ::recvmsg(fd, &message, 0) < 0 ? errno : 0;
            });
            until_doing(receiver, "receive a message");
            if (by_close) own.fd.reset();
            if (!by_close) receiver.cancel();
            receiver.join();
            CHECK(error == (by_close ? EBADF : ECANCELED));
        }
    });
}

TEST_CASE("sockets: connect, refused, twice, and to nowhere", "[hooks][socket]") {
    conforms([](Seen& seen) {
        Listener listener;
        const Fd client{::socket(AF_INET, SOCK_STREAM, 0)};
        const auto connect = [&](int fd) {
            return ::connect(fd, listener.where(), sizeof listener.address);
        };
        seen.of("connect", [&] { return connect(client); });
        seen.of("again", [&] { return connect(client); });
        seen.note("O_NONBLOCK", has_nonblock(client));
        sockaddr_storage peer;
        socklen_t length = sizeof peer;
        const Fd accepted{
            ::accept4(listener.fd, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK)};
        seen.note("accept4 flags", has_nonblock(accepted));
        seen.note("address", length);
        seen.note("family", peer.ss_family);
        socklen_t negative = static_cast<socklen_t>(-1);
        const Fd second{::socket(AF_INET, SOCK_STREAM, 0)};
        connect(second);
        seen.of("negative length", [&] {
            const int fd = ::accept(listener.fd, reinterpret_cast<sockaddr*>(&peer), &negative);
            if (fd >= 0) ::close(fd);
            return fd >= 0 ? 0 : fd;
        });
        listener.fd.reset();
        const Fd refused{::socket(AF_INET, SOCK_STREAM, 0)};
        seen.of("refused", [&] { return connect(refused); });
        const Fd local{::socket(AF_UNIX, SOCK_STREAM, 0)};
        sockaddr_un nowhere{};
        nowhere.sun_family = AF_UNIX;
        std::strcpy(nowhere.sun_path, "/nonexistent/weft");
        seen.of("nowhere", [&] {
            return ::connect(local, reinterpret_cast<sockaddr*>(&nowhere), sizeof nowhere);
        });
        sockaddr_in other_family = loopback();
        other_family.sin_family = 77;
        seen.of("no such family", [&] {
            return ::connect(refused, reinterpret_cast<sockaddr*>(&other_family),
                             sizeof other_family);
        });
    });
}

// By who begins it anew after a signal, say.
TEST_CASE("sockets: a connect that is under way is waited for", "[hooks][socket]") {
    conforms([](Seen& seen) {
        Listener listener;
        ::listen(listener.fd, 0);  // one more
        const auto connect = [&](int fd) {
            return ::connect(fd, listener.where(), sizeof listener.address);
        };
        const auto begun = [&] {
            Fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
            seen.of("begun", [&] { return connect(fd); });
            ::fcntl(fd, F_SETFL, 0);
            return fd;
        };
        const Fd in_queue{::socket(AF_INET, SOCK_STREAM, 0)};
        connect(in_queue);
        const Fd late = begun();
        const timeval soon{0, 20'000};
        ::setsockopt(late, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
        seen.of("not in time", [&] { return connect(late); });
        const timeval whenever{0, 0};
        ::setsockopt(late, SOL_SOCKET, SO_SNDTIMEO, &whenever, sizeof whenever);
        const Fd accepted{::accept(listener.fd, nullptr, nullptr)};
        seen.of("in time", [&] { return connect(late); });
        seen.of("again", [&] { return connect(late); });
    });
}

TEST_CASE("sockets: several messages at once, and descriptors with them", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets(SOCK_DGRAM);
        std::array<std::array<char, 8>, 4> data{};
        std::array<iovec, 4> pieces;
        std::array<mmsghdr, 4> several{};
        for (std::size_t i = 0; i < 4; ++i) {
            pieces[i] = {data[i].data(), i + 1};
            several[i].msg_hdr.msg_iov = &pieces[i];
            several[i].msg_hdr.msg_iovlen = 1;
        }
        seen.of("sendmmsg", [&] { return ::sendmmsg(pair.a, several.data(), 4, 0); });
        for (const mmsghdr& each : several) seen.note("sent", each.msg_len);
        seen.of("for one",
                [&] { return ::recvmmsg(pair.b, several.data(), 3, MSG_WAITFORONE, nullptr); });
        seen.of("for one, of fewer",
                [&] { return ::recvmmsg(pair.b, several.data(), 3, MSG_WAITFORONE, nullptr); });
        {
            Beside other{[&] {
                for (int i = 0; i < 3; ++i) put(pair.a, "xy");
            }};
            timespec time{100, 0};
            seen.of("waited for", [&] { return ::recvmmsg(pair.b, several.data(), 3, 0, &time); });
            seen.note("time is left", time.tv_sec < 100 && time.tv_sec > 50);
        }
        timespec wrong{0, 2'000'000'000};
        seen.of("no time", [&] { return ::recvmmsg(pair.b, several.data(), 3, 0, &wrong); });

        const Pair carried = pipe_ends();
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        msghdr message{};
        message.msg_iov = pieces.data();
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        const int given = carried.b;
        std::memcpy(CMSG_DATA(header), &given, sizeof given);
        Beside sender{[&] { ::sendmsg(pair.a, &message, 0); }};
        alignas(cmsghdr) char received[CMSG_SPACE(sizeof(int))] = {};
        msghdr into{};
        into.msg_iov = &pieces[3];
        into.msg_iovlen = 1;
        into.msg_control = received;
        into.msg_controllen = sizeof received;
        seen.of("recvmsg", [&] { return ::recvmsg(pair.b, &into, MSG_CMSG_CLOEXEC); });
        sender.join();
        int taken = -1;
        std::memcpy(&taken, CMSG_DATA(CMSG_FIRSTHDR(&into)), sizeof taken);
        const Fd owned{taken};
        seen.of("through it", [&] { return ::write(owned, "z", 1); });
        seen.note("control", static_cast<long>(into.msg_controllen));
        seen.note("flags", into.msg_flags);
    });
}

TEST_CASE("sockets: credentials come to who waited for them", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        const int on = 1;
        REQUIRE(::setsockopt(pair.b, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
        Beside sender{[&] {
            // Through the ring, which then has tried what waits there.
            const Listener listener;
            const Fd client{::socket(AF_INET, SOCK_STREAM, 0)};
            ::connect(client, listener.where(), sizeof listener.address);
            put(pair.a, "x");
        }};
        char byte = 0;
        iovec piece{&byte, 1};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))] = {};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        seen.of("recvmsg", [&] { return ::recvmsg(pair.b, &message, 0); });
        seen.note("flags", message.msg_flags);
        seen.note("control", static_cast<long>(message.msg_controllen));
        ucred from{};
        std::memcpy(&from, CMSG_DATA(reinterpret_cast<cmsghdr*>(control)), sizeof from);
        seen.note("from here", from.pid == ::getpid());
    });
}

TEST_CASE("sockets: a blocking send is whole, and keeps its pieces in order", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        std::vector<char> first(700'000, 'a');
        std::vector<char> second(900'000, 'b');
        std::string got;
        {
            Beside reader{[&] {
                std::vector<char> some(65536);
                for (long n; (n = ::read(pair.b, some.data(), some.size())) > 0;) {
                    got.append(some.data(), static_cast<std::size_t>(n));
                }
            }};
            iovec pieces[3] = {
                {first.data(), first.size()}, {nullptr, 0}, {second.data(), second.size()}};
            msghdr message{};
            message.msg_iov = pieces;
            message.msg_iovlen = 3;
            mmsghdr several[2] = {{message, 0}, {message, 0}};
            seen.of("sendmsg", [&] { return ::sendmsg(pair.a, &message, 0); });
            seen.of("writev", [&] { return ::writev(pair.a, pieces, 3); });
            seen.of("send", [&] { return ::send(pair.a, second.data(), second.size(), 0); });
            seen.of("write", [&] { return ::write(pair.a, first.data(), first.size()); });
            seen.of("sendmmsg", [&] { return ::sendmmsg(pair.a, several, 2, 0); });
            seen.note("each", several[0].msg_len + several[1].msg_len);
            ::shutdown(pair.a, SHUT_WR);
        }
        const std::string one =
            std::string(first.begin(), first.end()) + std::string(second.begin(), second.end());
        const std::string all = one + one + std::string(second.begin(), second.end()) +
                                std::string(first.begin(), first.end()) + one + one;
        seen.note("received in order", got == all);
    });
}

}  // namespace
