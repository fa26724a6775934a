#include "support/catch.hpp"
#include "support/fd.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include "io/foreign.hpp"
#include "io/operation.hpp"
#include "io/system_call.hpp"

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
using weft::detail::close_number;
using weft::detail::ClosingNumber;
using weft::detail::Operation;
using weft::detail::perform;
using weft::detail::perform_foreign;
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

}  // namespace

TEST_CASE("an operation's result is its own, good or bad", "[io][operation]") {
    on_workers_and_io([] {
        REQUIRE(carry({}) == 0);
        char byte = 0;
        REQUIRE(carry(receive(-1, byte)) == -EBADF);
        Pair pair = sockets();
        put(pair.b);
        REQUIRE(carry(poll_in(pair.a)) == POLLIN);
        REQUIRE(carry(receive(pair.a, byte)) == 1);
        REQUIRE(byte == 'x');
        REQUIRE(carry(receive(pair.a, byte), 1ms) == -ETIMEDOUT);
        REQUIRE(carry(poll_in(pair.a), 1ms) == -ETIMEDOUT);
        pair.b.reset();
        REQUIRE(carry(receive(pair.a, byte)) == 0);
        const int number = pair.a.release();
        REQUIRE(carry({.code = Request::Code::close, .fd = number}) == 0);
        REQUIRE(::fcntl(number, F_GETFD) == -1);
    });
}

TEST_CASE("an operation that is not cancellable goes on under cancellation", "[io][operation]") {
    on_workers_and_io([] {
        Pair pair = sockets();
        std::atomic<int> result{0};
        auto fiber = weft::spawn([&] {
            char byte = 0;
            result = carry(receive(pair.a, byte), Deadline::never(), Cancellable::no);
            weft::this_fiber::check_cancelled();
        });
        until_in_flight(1);
        fiber.cancel();
        for (int i = 0; i < 20; ++i) weft::this_fiber::yield();
        REQUIRE_FALSE(fiber.done());
        put(pair.b);
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
        REQUIRE(result == 1);
    });
}

TEST_CASE("closing a foreign descriptor ends what all workers have in flight on it",
          "[io][operation]") {
    on_workers_and_io([] {
        for (int round = 0; round < 50; ++round) {
            Pair pair = sockets();
            const int number = pair.a.release();
            std::vector<weft::Fiber<int>> waiting;
            for (int i = 0; i < 10; ++i) {
                waiting.push_back(weft::spawn([number] {
                    char byte = 0;
                    return perform_foreign(receive(number, byte), Deadline::never(), "receive");
                }));
            }
            until_in_flight(10);
            {
                const ClosingNumber closing{number};
                close_number(number);
            }
            REQUIRE(::fcntl(number, F_GETFD) == -1);
            char byte = 0;
            REQUIRE(::read(pair.b, &byte, 1) == 0);  // the peer sees the end at once
            for (auto& fiber : waiting) REQUIRE(fiber.get() == -EBADF);
            pair.b.reset();
        }
    });
}

TEST_CASE("operations are counted while they are in flight", "[io][operation]") {
    on_workers_and_io([] {
        Pair pair = sockets();
        char byte = 0;
        auto fiber = weft::spawn([&] { return carry(receive(pair.a, byte)); });
        until_in_flight(1);
        put(pair.b);
        REQUIRE(fiber.get() == 1);
        REQUIRE(weft::Runtime::current().counters().operations == 0);
    });
}

TEST_CASE("a fiber that keeps its worker busy delays no other's completions", "[io][operation]") {
    for (const weft::Io io : available_io()) {
        INFO("io: " << name_of(io));
        weft::run(
            [] {
                constexpr int count = 20;
                std::vector<Pair> pairs;
                for (int i = 0; i < count; ++i) pairs.push_back(sockets());
                std::atomic<int> done{0};
                std::vector<weft::Fiber<void>> readers;
                for (auto& pair : pairs) {
                    readers.push_back(weft::spawn([&] {
                        char byte = 0;
                        done += carry(receive(pair.a, byte));
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
                for (auto& pair : pairs) put(pair.b);
                for (auto& reader : readers) reader.get();
                hog.get();
            },
            {.workers = 2, .io = io});
    }
}

TEST_CASE("a plain thread carries operations out by itself", "[io][operation]") {
    REQUIRE(carry({}) == 0);
    Pair pair = sockets();
    char byte = 0;
    ssize_t sent = 0;
    std::thread sender{[&] { sent = ::write(pair.b, "x", 1); }};
    REQUIRE(carry(receive(pair.a, byte)) == 1);
    sender.join();
    REQUIRE(sent == 1);
    REQUIRE(carry(receive(pair.a, byte), 1ms) == -ETIMEDOUT);
    put(pair.b);
    REQUIRE(carry(receive(pair.a, byte), Deadline::Clock::time_point{}) == 1);
    Pair ends = pipe_ends();
    const Request read{
        .code = Request::Code::read, .fd = ends.a, .buffer = &byte, .length = 1, .offset = -1};
    REQUIRE(carry(read, 1ms) == -ETIMEDOUT);
    REQUIRE(::write(ends.b, "y", 1) == 1);
    REQUIRE(carry(read) == 1);
    REQUIRE(byte == 'y');
    REQUIRE(carry(poll_in(ends.a), 1ms) == -ETIMEDOUT);
    ends.b.reset();
    REQUIRE(carry(read) == 0);
}
