#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include "io/operation.hpp"

#include <weft/cancelled.hpp>

#include <atomic>
#include <cerrno>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::detail::Cancellable;
using weft::detail::close_descriptor;
using weft::detail::Operation;
using weft::detail::perform;
using weft::detail::Request;

namespace {

int carry(const Request& request, Deadline deadline = Deadline::never(),
          Cancellable cancellable = Cancellable::yes) {
    Operation operation{request};
    return perform(operation, deadline, cancellable, "a test");
}

Request receive(int fd, char& byte) {
    return {.code = Request::Code::recv, .fd = fd, .buffer = &byte, .length = 1};
}

Request poll_in(int fd) { return {.code = Request::Code::poll, .fd = fd, .flags = POLLIN}; }

struct Pair {
    int ends[2];
    Pair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0); }
    void send() { REQUIRE(::write(ends[1], "x", 1) == 1); }
};

}  // namespace

TEST_CASE("an operation's result is its own, good or bad", "[io][operation]") {
    on_workers_and_io([] {
        REQUIRE(carry({}) == 0);
        char byte = 0;
        REQUIRE(carry(receive(-1, byte)) == -EBADF);
        Pair pair;
        pair.send();
        REQUIRE(carry(poll_in(pair.ends[0])) == POLLIN);
        REQUIRE(carry(receive(pair.ends[0], byte)) == 1);
        REQUIRE(byte == 'x');
        REQUIRE(carry(receive(pair.ends[0], byte), 1ms) == -ETIMEDOUT);
        REQUIRE(carry(poll_in(pair.ends[0]), 1ms) == -ETIMEDOUT);
        ::close(pair.ends[1]);
        REQUIRE(carry(receive(pair.ends[0], byte)) == 0);
        REQUIRE(carry({.code = Request::Code::close, .fd = pair.ends[0]}) == 0);
        REQUIRE(::fcntl(pair.ends[0], F_GETFD) == -1);
    });
}

TEST_CASE("an operation that is not cancellable goes on under cancellation", "[io][operation]") {
    on_workers_and_io([] {
        Pair pair;
        std::atomic<int> result{0};
        auto fiber = weft::spawn([&] {
            char byte = 0;
            result = carry(receive(pair.ends[0], byte), Deadline::never(), Cancellable::no);
            weft::this_fiber::check_cancelled();
        });
        until_in_flight(1);
        fiber.cancel();
        for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
        REQUIRE_FALSE(fiber.done());
        pair.send();
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
        REQUIRE(result == 1);
        for (const int fd : pair.ends) ::close(fd);
    });
}

TEST_CASE("closing a foreign descriptor ends what all workers have in flight on it",
          "[io][operation]") {
    on_workers_and_io([] {
        for (int round = 0; round < 50; ++round) {
            Pair pair;
            std::vector<weft::Fiber<int>> waiting;
            for (int i = 0; i < 10; ++i) {
                waiting.push_back(weft::spawn([&] {
                    char byte = 0;
                    return carry(receive(pair.ends[0], byte));
                }));
            }
            until_in_flight(10);
            close_descriptor(pair.ends[0]);
            REQUIRE(::fcntl(pair.ends[0], F_GETFD) == -1);
            char byte = 0;
            REQUIRE(::read(pair.ends[1], &byte, 1) == 0);  // the peer sees the end at once
            for (auto& fiber : waiting) REQUIRE(fiber.get() == -EBADF);
            ::close(pair.ends[1]);
        }
    });
}

TEST_CASE("operations are counted while they are in flight", "[io][operation]") {
    on_workers_and_io([] {
        Pair pair;
        char byte = 0;
        auto fiber = weft::spawn([&] { return carry(receive(pair.ends[0], byte)); });
        until_in_flight(1);
        pair.send();
        REQUIRE(fiber.get() == 1);
        REQUIRE(weft::Runtime::current().counters().operations == 0);
        for (const int fd : pair.ends) ::close(fd);
    });
}

TEST_CASE("a fiber that keeps its worker busy delays no other's completions", "[io][operation]") {
    for (const weft::Io io : available_io()) {
        INFO("io: " << name_of(io));
        weft::run(
            [] {
                constexpr int count = 20;
                Pair pairs[count];
                std::atomic<int> done{0};
                std::vector<weft::Fiber<void>> readers;
                for (auto& pair : pairs) {
                    readers.push_back(weft::spawn([&] {
                        char byte = 0;
                        done += carry(receive(pair.ends[0], byte));
                    }));
                }
                until_in_flight(count);
                std::atomic<bool> hogging{false};
                auto hog = weft::spawn([&] {
                    hogging = true;
                    while (done < count) {
                    }
                });
                while (!hogging) weft::this_fiber::yield();
                for (auto& pair : pairs) pair.send();
                for (auto& reader : readers) reader.get();
                hog.get();
                for (auto& pair : pairs) {
                    for (const int fd : pair.ends) ::close(fd);
                }
            },
            {.workers = 2, .io = io});
    }
}

TEST_CASE("a plain thread carries operations out by itself", "[io][operation]") {
    REQUIRE(carry({}) == 0);
    Pair pair;
    char byte = 0;
    ssize_t sent = 0;
    std::thread sender{[&] { sent = ::write(pair.ends[1], "x", 1); }};
    REQUIRE(carry(receive(pair.ends[0], byte)) == 1);
    sender.join();
    REQUIRE(sent == 1);
    REQUIRE(carry(receive(pair.ends[0], byte), 1ms) == -ETIMEDOUT);
    pair.send();
    REQUIRE(carry(receive(pair.ends[0], byte), Deadline::Clock::time_point{}) == 1);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const Request read{
        .code = Request::Code::read, .fd = ends[0], .buffer = &byte, .length = 1, .offset = -1};
    REQUIRE(carry(read, 1ms) == -ETIMEDOUT);
    REQUIRE(::write(ends[1], "y", 1) == 1);
    REQUIRE(carry(read) == 1);
    REQUIRE(byte == 'y');
    REQUIRE(carry(poll_in(ends[0]), 1ms) == -ETIMEDOUT);
    ::close(ends[1]);
    REQUIRE(carry(read) == 0);
    ::close(ends[0]);
    for (const int fd : pair.ends) ::close(fd);
}
