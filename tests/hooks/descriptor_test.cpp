// What others do to a descriptor that is waited for: shut it down, close it, give its number away.
#include "hooks/conform.hpp"
#include "support/fd.hpp"
#include "support/hooked.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/fiber_ref.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::test;

namespace {

/// A fiber in a fiber, a thread on a thread, that is in a wait once this is made.
class Blocked {
public:
    explicit Blocked(std::function<void()> body) {
        if (weft::this_fiber::is_fiber()) {
            fiber_.emplace(weft::spawn(std::move(body)));
            const weft::FiberRef fiber{*fiber_};
            while (!fiber.done() && fiber.doing() == "runs") weft::this_fiber::yield();
            weft::this_fiber::sleep_for(1ms);  // its worker hands on to the kernel what it began
            return;
        }
        std::atomic<pid_t> tid{0};
        thread_ = std::thread{[&tid, body = std::move(body)] {
            tid.store(::gettid());
            body();
        }};
        while (tid.load() == 0 || state_of(tid.load()) == 'R') ::sched_yield();
    }
    Blocked(const Blocked&) = delete;
    Blocked& operator=(const Blocked&) = delete;
    ~Blocked() { join(); }
    void join() {
        if (fiber_) fiber_->join();
        if (thread_.joinable()) thread_.join();
    }
    bool done() const { return fiber_ && fiber_->done(); }

private:
    static char state_of(pid_t tid) {
        std::string line;
        std::getline(std::ifstream{"/proc/self/task/" + std::to_string(tid) + "/stat"}, line);
        const std::size_t name_end = line.rfind(')');
        return name_end == line.npos ? 'X' : line.at(name_end + 2);  // X: it has ended
    }

    std::optional<weft::Fiber<>> fiber_;
    std::thread thread_;
};

/// A listener and a pair of connected sockets: TCP's, or Unix ones.
struct Sockets {
    explicit Sockets(int family, int backlog = 8) : listener{::socket(family, SOCK_STREAM, 0)} {
        address.ss_family = static_cast<sa_family_t>(family);
        socklen_t size = sizeof(sa_family_t);  // a Unix name of the kernel's choice
        if (family == AF_INET) {
            auto& in = reinterpret_cast<sockaddr_in&>(address);
            in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            size = sizeof in;
        }
        REQUIRE(::bind(listener, where(), size) == 0);
        REQUIRE(::listen(listener, backlog) == 0);
        length = sizeof address;
        REQUIRE(::getsockname(listener, where(), &length) == 0);
        pair.a = connecting();
        REQUIRE(::connect(pair.a, where(), length) == 0);
        pair.b = Fd{::accept(listener, nullptr, nullptr)};
    }
    sockaddr* where() { return reinterpret_cast<sockaddr*>(&address); }
    Fd connecting() const { return Fd{::socket(address.ss_family, SOCK_STREAM, 0)}; }

    Fd listener;
    sockaddr_storage address{};
    socklen_t length = 0;
    Pair pair;
};

template <class Body>
void conforms_for_each_family(Body&& body) {
    conforms([&](Seen& seen) {
        for (const int family : {AF_INET, AF_UNIX}) {
            seen.note("family", family);
            Sockets sockets{family};
            body(seen, sockets);
        }
    });
}

}  // namespace

TEST_CASE("descriptors: shutdown() ends what reads and polls", "[hooks][socket]") {
    using Call = std::function<long(Seen&, int)>;
    const std::vector<std::pair<std::string, Call>> calls{
        {"read",
         [](Seen&, int fd) {
             char data[8];
             return ::read(fd, data, 8);
         }},
        {"recv",
         [](Seen&, int fd) {
             char data[8];
             return ::recv(fd, data, 8, 0);
         }},
        {"recv all",
         [](Seen&, int fd) {
             char data[8];
             return ::recv(fd, data, 8, MSG_WAITALL);
         }},
        {"poll",
         [](Seen& seen, int fd) {
             pollfd one{fd, POLLIN | POLLRDHUP, 0};
             const int count = ::poll(&one, 1, -1);
             seen.note("events", one.revents);
             return long{count};
         }},
    };
    conforms([&](Seen& seen) {
        for (const int family : {AF_INET, AF_UNIX}) {
            for (const int how : {SHUT_RD, SHUT_RDWR}) {
                for (const auto& [name, call] : calls) {
                    const Sockets sockets{family};
                    const int fd = sockets.pair.a;
                    Blocked reader{[&, &name = name, &call = call] {
                        seen.of(name, [&] { return call(seen, fd); });
                    }};
                    const int shut_down = ::shutdown(fd, how);
                    reader.join();
                    seen.note("shutdown", shut_down);
                    char data[8];
                    if (how == SHUT_RDWR) seen.note("peer", ::read(sockets.pair.b, data, 8));
                }
            }
        }
    });
}

// TCP's: of a Unix socket no readiness tells, and on epoll the fiber writes on when there is room.
TEST_CASE("descriptors: shutdown() ends what writes", "[hooks][socket]") {
    conforms([](Seen& seen) {
        const Sockets sockets{AF_INET};
        const int fd = sockets.pair.a;
        const std::string much(std::size_t{8} << 20, 'x');
        // How much of it goes before the end is nobody's to say.
        Blocked writer{[&] {
            const long sent = ::send(fd, much.data(), much.size(), MSG_NOSIGNAL);
            seen.note("in part", sent > 0 && sent < static_cast<long>(much.size()));
        }};
        ::shutdown(fd, SHUT_WR);
        writer.join();
        seen.of("again", [&] { return ::send(fd, "x", 1, MSG_NOSIGNAL); });
    });
}

TEST_CASE("descriptors: shutdown() of a listener ends what accepts", "[hooks][socket]") {
    conforms_for_each_family([](Seen& seen, Sockets& sockets) {
        Blocked acceptor{[&] {
            seen.of("accept", [&] { return ::accept(sockets.listener, nullptr, nullptr); });
        }};
        const int shut_down = ::shutdown(sockets.listener, SHUT_RD);
        acceptor.join();
        seen.note("shutdown", shut_down);
        seen.of("again", [&] { return ::accept(sockets.listener, nullptr, nullptr); });
    });
}

// Method: the listener's queue is full, so that the kernel answers nobody.
TEST_CASE("descriptors: shutdown() ends a connect", "[hooks][socket]") {
    conforms([](Seen& seen) {
        Sockets sockets{AF_INET, 0};
        std::vector<Fd> filling;
        for (int i = 0; i < 4; ++i) {
            filling.push_back(sockets.connecting());
            ::fcntl(filling.back(), F_SETFL, O_NONBLOCK);
            ::connect(filling.back(), sockets.where(), sockets.length);
        }
        for (const bool begun_before : {false, true}) {
            const Fd fd = sockets.connecting();
            const auto connect = [&] { return ::connect(fd, sockets.where(), sockets.length); };
            if (begun_before) {
                ::fcntl(fd, F_SETFL, O_NONBLOCK);
                connect();
                ::fcntl(fd, F_SETFL, 0);
            }
            Blocked connector{[&] { seen.of("connect", connect); }};
            const int shut_down = ::shutdown(fd, SHUT_RDWR);
            connector.join();
            seen.note("shutdown", shut_down);
        }
    });
}

TEST_CASE("descriptors: what a peer closes ends", "[hooks][socket]") {
    conforms_for_each_family([](Seen& seen, Sockets& sockets) {
        char data[8];
        Blocked reader{[&] { seen.of("read", [&] { return ::read(sockets.pair.a, data, 8); }); }};
        sockets.pair.b.reset();
        reader.join();
        Pair pipe = pipe_ends();
        Blocked piped{[&] { seen.of("pipe", [&] { return ::read(pipe.a, data, 8); }); }};
        pipe.b.reset();
        piped.join();
    });
}

TEST_CASE("descriptors: closing one number leaves another of the same file alone",
          "[hooks][socket]") {
    conforms_for_each_family([](Seen& seen, Sockets& sockets) {
        char data[8];
        pollfd polled[2] = {{-1, POLLIN, 0}, {sockets.listener, POLLIN, 0}};
        Fd closed{::dup(sockets.pair.a)};
        Fd closed_listener{::dup(sockets.listener)};
        Blocked reader{[&] { seen.of("read", [&] { return ::read(sockets.pair.a, data, 8); }); }};
        Blocked acceptor{[&] {
            const Fd accepted{::accept(sockets.listener, nullptr, nullptr)};
            seen.note("accepted", accepted >= 0 ? 1 : 0);
        }};
        closed.reset();
        closed_listener.reset();
        CHECK_FALSE(reader.done());
        put(sockets.pair.b, "abc");
        reader.join();
        const Fd client = sockets.connecting();
        REQUIRE(::connect(client, sockets.where(), sockets.length) == 0);
        acceptor.join();

        polled[0].fd = sockets.pair.a;
        Fd another{::dup(sockets.pair.a)};
        Blocked poller{[&] { seen.of("poll", [&] { return ::poll(polled, 2, -1); }); }};
        another.reset();
        CHECK_FALSE(poller.done());
        put(sockets.pair.b, "abc");
        poller.join();
        seen.note("events", polled[0].revents);
    });
}

TEST_CASE("descriptors: so does one that ends what waits on it", "[hooks][socket]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        Pair pair = sockets();
        const Fd twin{::dup(pair.a)};
        const int number = pair.a;
        int error = 0;
        long got[2] = {0, 0};
        char bytes[2];
        Blocked doomed{[&] { error = ::read(number, bytes, 1) < 0 ? errno : 0; }};
        Blocked reader{[&] { got[0] = ::read(twin, bytes + 1, 1); }};
        Blocked poller{[&] {
            pollfd ends[2] = {{twin, POLLIN, 0}, {twin, POLLPRI, 0}};
            got[1] = ::poll(ends, 2, -1);
        }};
        pair.a.reset();
        doomed.join();
        CHECK(error == EBADF);
        CHECK_FALSE(reader.done());
        CHECK_FALSE(poller.done());
        put(pair.b, "xy");
        reader.join();
        poller.join();
        CHECK(got[0] == 1);
        CHECK(got[1] == 1);
    });
}

// In libc those wait on, for a file that has no number any more.
TEST_CASE("descriptors: close() and dup2() in another fiber end what waits with EBADF",
          "[hooks][socket]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        for (const bool by_dup : {false, true}) {
            Sockets sockets{AF_INET, 0};
            std::vector<Fd> filling;
            for (int i = 0; i < 4; ++i) {
                filling.push_back(sockets.connecting());
                ::fcntl(filling.back(), F_SETFL, O_NONBLOCK);
                ::connect(filling.back(), sockets.where(), sockets.length);
            }
            const Fd quiet{::socket(AF_INET, SOCK_STREAM, 0)};
            Sockets idle{AF_INET};
            Fd connecting = sockets.connecting();
            Pair messages = weft::test::sockets(SOCK_DGRAM);
            while (::send(messages.a, "x", 1, MSG_DONTWAIT) > 0) {
            }
            std::array<int, 4> errors{};
            const auto note = [&errors](std::size_t which, long result) {
                errors.at(which) = result < 0 ? errno : 0;
            };
            char data[8];
            Blocked receiver{[&, fd = int{idle.pair.a}] { note(0, ::recv(fd, data, 8, 0)); }};
            Blocked acceptor{
                [&, fd = int{idle.listener}] { note(1, ::accept(fd, nullptr, nullptr)); }};
            Blocked connector{[&, fd = int{connecting}] {
                note(2, ::connect(fd, sockets.where(), sockets.length));
            }};
            Blocked sender{[&, fd = int{messages.a}] { note(3, ::send(fd, "late", 4, 0)); }};
            for (Fd* each : {&idle.pair.a, &idle.listener, &connecting, &messages.a}) {
                if (by_dup) {
                    CHECK(::dup2(quiet, *each) == *each);
                } else {
                    each->reset();
                }
            }
            receiver.join();
            acceptor.join();
            connector.join();
            sender.join();
            CHECK(errors == std::array<int, 4>{EBADF, EBADF, EBADF, EBADF});
        }
    });
}

TEST_CASE("descriptors: a poll of many ends when one of them is closed", "[hooks][select]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        std::vector<Pair> pipes;
        std::vector<pollfd> polled;
        for (int i = 0; i < 20; ++i) {
            pipes.push_back(pipe_ends());
            polled.push_back({pipes.back().a, POLLIN, 0});
        }
        int count = 0;
        Blocked poller{[&] { count = ::poll(polled.data(), polled.size(), -1); }};
        CHECK(!poller.done());
        pipes[11].a.reset();
        poller.join();
        CHECK(count == 1);
        CHECK(polled[11].revents == POLLNVAL);
    });
}

// Their numbers are so high that nobody else is given one of them meanwhile.
TEST_CASE("descriptors: a poll of few ends when one of them is closed, begun or not",
          "[hooks][select]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        const Pair pipe = pipe_ends();
        for (unsigned round = 0; round < 200; ++round) {
            std::array<Fd, 4> ends;
            std::array<pollfd, 4> polled{};
            for (std::size_t i = 0; i < ends.size(); ++i) {
                ends[i] = Fd{::fcntl(pipe.a, F_DUPFD, 500)};
                REQUIRE(ends[i] >= 500);
                polled[i] = {ends[i], POLLIN, 0};
            }
            auto poller = weft::spawn([&] { return ::poll(polled.data(), polled.size(), -1); });
            auto closer = weft::spawn([&] {
                for (unsigned turn = 0; turn < round % 8; ++turn) weft::this_fiber::yield();
                ends[round % 4].reset();
            });
            CHECK(poller.get() == 1);
            CHECK(polled[round % 4].revents == POLLNVAL);
            closer.join();
        }
    });
}

TEST_CASE("descriptors: two close a number, and what waits for it has ended before",
          "[hooks][socket]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        const Pair pipe = pipe_ends();
        for (int round = 0; round < 50; ++round) {
            const int number = ::fcntl(pipe.a, F_DUPFD, 500);
            REQUIRE(number >= 500);
            const auto answer_of = [](long result) { return result < 0 ? errno : 0; };
            std::vector<weft::Fiber<int>> readers;
            for (int i = 0; i < 5; ++i) {
                readers.push_back(weft::spawn([&] {
                    char data[8];
                    return answer_of(::read(number, data, sizeof data));
                }));
            }
            for (const auto& each : readers) until_doing(weft::FiberRef{each}, "read");
            auto other = weft::spawn([&] { return answer_of(::close(number)); });
            const int mine = answer_of(::close(number));
            CHECK(mine + other.get() == EBADF);
            for (auto& each : readers) CHECK(each.get() == EBADF);
        }
    });
}

TEST_CASE("descriptors: a splice ends when either end is closed", "[hooks][file]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        for (const bool tees : {false, true}) {
            for (const bool closes_source : {false, true}) {
                Pair from = pipe_ends();
                Pair to = pipe_ends();
                long moved = 0;
                int error = 0;
                Blocked mover{[&, in = int{from.a}, out = int{to.b}] {
                    moved =
                        tees ? ::tee(in, out, 100, 0) : ::splice(in, nullptr, out, nullptr, 100, 0);
                    error = errno;
                }};
                (closes_source ? from.a : to.b).reset();
                mover.join();
                CHECK(moved == -1);
                CHECK(error == EBADF);
            }
        }
    });
}

// The number is somebody else's then.
TEST_CASE("descriptors: what a write has left goes nowhere once its number is closed",
          "[hooks][socket]") {
    weft::hooks::patch_all();
    using Call = ssize_t (*)(int, const std::string&);
    const std::vector<Call> calls{
        [](int fd, const std::string& all) { return ::write(fd, all.data(), all.size()); },
        [](int fd, const std::string& all) {
            return ::send(fd, all.data(), all.size(), MSG_NOSIGNAL);
        },
        [](int fd, const std::string& all) {
            std::vector<mmsghdr> messages(8);
            iovec piece{const_cast<char*>(all.data()), all.size() / 8};
            for (mmsghdr& each : messages)
                each.msg_hdr.msg_iov = &piece, each.msg_hdr.msg_iovlen = 1;
            return ssize_t{::sendmmsg(fd, messages.data(), 8, MSG_NOSIGNAL)};
        },
    };
    const std::string all(std::size_t{4} << 20, 'x');
    int given_again = 0;
    int cut_short = 0;
    on_workers_and_io([&] {
        for (unsigned round = 0; round < 60; ++round) {
            const bool by_pipe = round % 4 == 3;
            Pair pair = by_pipe ? pipe_ends() : sockets();
            if (by_pipe) std::swap(pair.a, pair.b);
            const int number = pair.a;
            auto writer = weft::spawn(
                [&] { return by_pipe ? calls[0](number, all) : calls[round % 4](number, all); });
            weft::Event begun;
            auto reader = weft::spawn([&] {
                std::vector<char> data(4096);
                while (::read(pair.b, data.data(), data.size()) > 0) begun.set();
            });
            begun.wait();
            for (unsigned turn = 0; turn < round; ++turn) weft::this_fiber::yield();
            pair.a.reset();
            const Pair others = sockets();
            given_again += others.a == number || others.b == number ? 1 : 0;
            cut_short += writer.get() < static_cast<ssize_t>(all.size()) ? 1 : 0;
            reader.join();
            char data[1];
            for (const Fd* each : {&others.a, &others.b}) {
                CHECK(::recv(*each, data, 1, MSG_DONTWAIT) == -1);
            }
        }
    });
    CHECK(given_again > 0);
    CHECK(cut_short > 0);
}
