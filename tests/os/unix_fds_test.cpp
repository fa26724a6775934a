// Descriptors and credentials that travel over Unix streams: none is lost, none
// stays open that nobody asked for.
#include "support/catch.hpp"
#include "support/fd.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/unix.hpp>

#include <array>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Credentials;
using weft::io::OwnedFd;
using weft::io::UnixStream;

namespace {

/// Both ends of a pipe, and a way to ask if all copies of the end written are closed.
struct Passed {
    Pair pipe = pipe_ends(O_CLOEXEC | O_NONBLOCK);

    int fd() const { return pipe.b; }
    bool all_closed() {
        pipe.b.reset();
        char byte;
        return ::read(pipe.a, &byte, 1) == 0;
    }
};

std::size_t send(UnixStream& stream, std::span<const int> fds, std::string_view text = "x") {
    return stream.send_with_fds(bytes_of(text), fds);
}

}  // namespace

TEST_CASE("descriptors arrive with the bytes, as copies closed on exec", "[os][unix][fds]") {
    on_all_io([] {
        auto [left, right] = UnixStream::pair();
        Passed first;
        Passed second;
        REQUIRE(send(left, std::array{first.fd(), second.fd()}, "two") == 3);

        std::array<std::byte, 10> buffer;
        std::array<OwnedFd, 5> fds;
        const auto got = right.receive_with_fds(buffer, fds);
        REQUIRE(got.size == 3);
        REQUIRE(got.fds == 2);
        REQUIRE_FALSE(got.sender.has_value());
        REQUIRE_FALSE(fds[2].is_open());
        REQUIRE(fds[0].fd() != first.fd());
        REQUIRE((::fcntl(fds[0].fd(), F_GETFD) & FD_CLOEXEC) != 0);
        put(fds[1].fd(), "through the second");
        char text[18];
        REQUIRE(::read(second.pipe.a, text, sizeof text) == 18);

        REQUIRE_FALSE(first.all_closed());
        fds = {};
        REQUIRE(first.all_closed());
        REQUIRE(second.all_closed());
    });
}

TEST_CASE("a receiver waits for descriptors", "[os][unix][fds]") {
    on_all_io([] {
        auto [left, right] = UnixStream::pair();
        std::array<OwnedFd, 1> fds;
        auto receiving = waiting([&, &right = right] {
            std::array<std::byte, 10> buffer;
            return right.receive_with_fds(buffer, fds).fds;
        });
        Passed passed;
        send(left, std::array{passed.fd()});
        REQUIRE(receiving.get() == 1);
        REQUIRE(fds[0].is_open());
    });
}

TEST_CASE("a sender waits until there is room, and then sends them", "[os][unix][fds]") {
    on_all_io([] {
        auto [left, right] = UnixStream::pair();
        fill(left);
        Passed passed;
        auto sending = waiting([&, &left = left] { return send(left, std::array{passed.fd()}); });
        std::vector<std::byte> buffer(65536);
        std::array<OwnedFd, 1> fds;
        while (right.receive_with_fds(buffer, fds).fds == 0) {
        }
        REQUIRE(sending.get() == 1);
        fds[0].close();
        REQUIRE(passed.all_closed());
    });
}

TEST_CASE("each receive gets the descriptors of one send", "[os][unix][fds]") {
    on_all_io([] {
        auto [left, right] = UnixStream::pair();
        Passed first;
        Passed second;
        send(left, std::array{first.fd()}, "a");
        send(left, std::array{second.fd(), second.fd()}, "bc");
        left.write_all("plain");
        std::array<std::byte, 100> buffer;
        std::array<OwnedFd, 3> fds;
        REQUIRE(right.receive_with_fds(buffer, fds).fds == 1);
        const auto got = right.receive_with_fds(buffer, fds);  // closes the first
        REQUIRE(got.fds == 2);
        REQUIRE(got.size == 2);
        REQUIRE(first.all_closed());
        const auto rest = right.receive_with_fds(buffer, fds);
        REQUIRE(rest.fds == 0);
        REQUIRE(rest.size == 5);
        REQUIRE(second.all_closed());
        left.close();
        REQUIRE(right.receive_with_fds(buffer, fds).size == 0);
    });
}

TEST_CASE("as many are passed as the system passes, and no more", "[os][unix][fds]") {
    on_workers_and_io([] {
        auto [left, right] = UnixStream::pair();
        Passed passed;
        const std::vector<int> many(253, passed.fd());
        REQUIRE(send(left, many) == 1);
        std::vector<OwnedFd> fds(253);
        std::array<std::byte, 1> buffer;
        REQUIRE(right.receive_with_fds(buffer, fds).fds == 253);
        fds.clear();
        REQUIRE(passed.all_closed());

        const std::vector<int> too_many(254, 0);
        REQUIRE_THROWS_AS(send(left, too_many), std::invalid_argument);
        REQUIRE_THROWS_AS(send(left, std::array{0}, ""), std::invalid_argument);
        std::vector<OwnedFd> too_much_room(254);
        REQUIRE_THROWS_AS(right.receive_with_fds(buffer, too_much_room), std::invalid_argument);
        REQUIRE_THROWS_AS(right.receive_with_fds({}, fds), std::invalid_argument);
    });
}

TEST_CASE("when more descriptors come than there is room for, none stays open", "[os][unix][fds]") {
    on_all_io([] {
        const std::size_t before = open_fds();
        for (std::size_t room = 0; room < 5; ++room) {
            for (std::size_t sent = room + 1; sent < 12; ++sent) {
                auto [left, right] = UnixStream::pair();
                left.pass_credentials(room % 2 == 0);
                right.pass_credentials(sent % 2 == 0);
                Passed passed;
                send(left, std::vector<int>(sent, passed.fd()));
                std::vector<OwnedFd> fds(room);
                std::array<std::byte, 10> buffer;
                REQUIRE(is(error_of([&, &right = right] { right.receive_with_fds(buffer, fds); }),
                           std::errc::message_size));
                for (const auto& fd : fds) REQUIRE_FALSE(fd.is_open());
                REQUIRE(passed.all_closed());
            }
        }
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("when the process may open no more, what came is closed", "[os][unix][fds]") {
    on_workers_and_io([] {
        auto [left, right] = UnixStream::pair();
        Passed passed;
        send(left, std::vector<int>(10, passed.fd()));
        rlimit before{};
        ::getrlimit(RLIMIT_NOFILE, &before);
        const OwnedFd next{::dup(passed.fd())};  // the lowest number that is free, but for gaps
        rlimit low = before;
        low.rlim_cur = static_cast<rlim_t>(next.fd()) + 4;
        ::setrlimit(RLIMIT_NOFILE, &low);
        std::vector<OwnedFd> fds(10);
        std::array<std::byte, 1> buffer;
        const auto error = error_of([&, &right = right] { right.receive_with_fds(buffer, fds); });
        ::setrlimit(RLIMIT_NOFILE, &before);
        REQUIRE(is(error, std::errc::message_size));
        for (const auto& fd : fds) REQUIRE_FALSE(fd.is_open());
    });
}

TEST_CASE("descriptors that nobody receives are closed", "[os][unix][fds]") {
    on_workers_and_io([] {
        const std::size_t before = open_fds();
        {
            auto [left, right] = UnixStream::pair();
            Passed unread;
            Passed read_plainly;
            send(left, std::array{read_plainly.fd()}, "plain");
            REQUIRE(read_text(right) == "plain");
            REQUIRE(read_plainly.all_closed());
            send(left, std::array{unread.fd()});
            right.close();
            REQUIRE(unread.all_closed());
            Passed unsent;
            REQUIRE(is(error_of([&, &left = left] { send(left, std::array{unsent.fd()}); }),
                       std::errc::broken_pipe));
            REQUIRE(is(error_of([&, &left = left] { send(left, std::array{-1}); }),
                       std::errc::bad_file_descriptor));
        }
        REQUIRE(open_fds() == before);
    });
}

// A receiver cancelled or timed out at any moment loses no descriptor: either it
// throws and they come with the next receive, or it has them.
TEST_CASE("an interrupted receive loses no descriptor and leaks none", "[os][unix][fds][cancel]") {
    on_all_io([] {
        auto [left, right] = UnixStream::pair();
        const std::size_t before = open_fds();
        constexpr std::size_t count = 100;
        auto sender = weft::spawn([&left = left] {
            for (std::size_t i = 0; i < count; ++i) {
                Passed passed;
                send(left, std::array{passed.fd()});
                weft::this_fiber::yield();
            }
            left.close();
        });
        std::size_t received = 0;
        bool ended = false;
        for (std::uint32_t seed = 1; !ended; seed = seed * 1664525u + 1013904223u) {
            auto reader = weft::spawn([&, &right = right] {
                std::array<std::byte, 10> buffer;
                std::array<OwnedFd, 1> fds;
                const auto got = right.receive_with_fds(buffer, fds);
                ended = got.size == 0;
                received += fds[0].is_open() && got.fds == 1;
            });
            for (std::uint32_t i = seed >> 29; i > 0; --i) weft::this_fiber::yield();
            reader.cancel();
            reader.join();
        }
        sender.get();
        REQUIRE(received == count);
        REQUIRE(open_fds() == before - 1);
    });
}

TEST_CASE("a stream knows who is at its other end", "[os][unix][credentials]") {
    on_workers_and_io([] {
        const Credentials self{::getpid(), ::getuid(), ::getgid()};
        auto [left, right] = UnixStream::pair();
        REQUIRE(left.peer_credentials() == self);
        weft::io::UnixListener listener{weft::io::UnixAddress{}};
        auto client = UnixStream::connect(listener.local_address());
        REQUIRE(client.peer_credentials() == self);
        REQUIRE(listener.accept().peer_credentials() == self);
    });
}

TEST_CASE("credentials come with the bytes if asked for, beside descriptors",
          "[os][unix][credentials]") {
    on_all_io([] {
        const Credentials self{::getpid(), ::getuid(), ::getgid()};
        auto [left, right] = UnixStream::pair();
        right.pass_credentials(true);
        Passed passed;
        send(left, std::array{passed.fd()});
        std::array<std::byte, 10> buffer;
        std::array<OwnedFd, 1> fds;
        const auto got = right.receive_with_fds(buffer, fds);
        REQUIRE(got.fds == 1);
        REQUIRE(got.sender == self);
        left.write_all("bytes alone");
        REQUIRE(right.receive_with_fds(buffer, {}).sender == self);
    });
}

TEST_CASE("a receiver waits for credentials beside descriptors", "[os][unix][credentials]") {
    on_all_io([] {
        auto [left, right] = UnixStream::pair();
        right.pass_credentials(true);
        std::array<std::byte, 10> buffer;
        std::array<OwnedFd, 2> fds;
        auto receiver =
            waiting([&, &right = right] { return right.receive_with_fds(buffer, fds); });
        connection();  // by this worker's ring, which has tried by then what was begun before
        Passed passed;
        send(left, std::array{passed.fd(), passed.fd()});
        const auto got = receiver.get();
        REQUIRE(got.fds == 2);
        REQUIRE(got.sender == Credentials{::getpid(), ::getuid(), ::getgid()});
    });
}

TEST_CASE("credentials tell which process sent what comes", "[os][unix][credentials]") {
    on_workers_and_io([] {
        auto [left, right] = UnixStream::pair();
        right.pass_credentials(true);
        const pid_t child = ::fork();
        if (child == 0) _exit(::write(left.fd(), "child", 5) == 5 ? 0 : 1);
        std::array<std::byte, 10> buffer;
        const auto got = right.receive_with_fds(buffer, {});
        int status = -1;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(status == 0);
        REQUIRE(got.size == 5);
        REQUIRE(got.sender == Credentials{child, ::getuid(), ::getgid()});
        // Whose end it is was told when the pair was made: it stays this process's.
        REQUIRE(right.peer_credentials().process == ::getpid());
    });
}

TEST_CASE("plain threads pass descriptors too", "[os][unix][fds]") {
    auto [left, right] = UnixStream::pair();
    Passed passed;
    std::thread sender{[&, &left = left] { send(left, std::array{passed.fd()}); }};
    std::array<std::byte, 1> buffer;
    std::array<OwnedFd, 1> fds;
    REQUIRE(right.receive_with_fds(buffer, fds).fds == 1);
    sender.join();
    REQUIRE(fds[0].is_open());
}
