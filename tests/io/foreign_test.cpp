// What hooked calls are made of: operations that answer instead of throwing.
#include "io/foreign.hpp"

#include "support/catch.hpp"
#include "support/fd.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/timeout.hpp>

#include <cerrno>
#include <chrono>
#include <vector>

#include <poll.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::detail::ClosingNumber;
using weft::detail::interrupt_foreign_call;
using weft::detail::Interruption;
using weft::detail::most_polled;
using weft::detail::perform_foreign;
using weft::detail::Request;
using weft::detail::sleep_foreign;
using weft::detail::wait_any_ready;

namespace {

int receive(int fd, Deadline deadline = Deadline::never()) {
    char byte = 0;
    return perform_foreign({.code = Request::Code::recv, .fd = fd, .buffer = &byte, .length = 1},
                           deadline, "a test");
}

/// Pairs of sockets, and who waits to read any of their first ends.
struct Many {
    Many() {
        for (std::size_t i = 0; i < most_polled; ++i) {
            pairs.push_back(sockets());
            polled.push_back({pairs.back().a, POLLIN, 0});
        }
    }
    int wait(Deadline deadline = Deadline::never()) const {
        return wait_any_ready(polled, deadline, "a test");
    }
    std::vector<Pair> pairs;
    std::vector<pollfd> polled;
};

}  // namespace

TEST_CASE("a foreign call brings its result, or says that its time is over", "[io][foreign]") {
    on_all_io([] {
        Pair pair = sockets();
        CHECK(receive(-1) == -EBADF);
        CHECK(receive(pair.a, 1ms) == -ETIMEDOUT);
        put(pair.b);
        CHECK(receive(pair.a) == 1);
    });
}

TEST_CASE("a cancelled foreign call answers, and the next one, and a native point throws",
          "[io][foreign][cancel]") {
    on_all_io([] {
        Pair pair = sockets();
        auto fiber = weft::spawn([&] {
            CHECK(receive(pair.a) == -ECANCELED);
            CHECK(receive(pair.a) == -ECANCELED);
            CHECK(sleep_foreign(Deadline::never(), "a test") == -ECANCELED);
            weft::this_fiber::check_cancelled();
        });
        until_waiting(fiber);
        fiber.cancel();
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}

TEST_CASE("a Timeout ends a foreign call, and is thrown at the next native point",
          "[io][foreign][timeout]") {
    on_all_io([] {
        Pair pair = sockets();
        weft::Timeout limit{1ms};
        CHECK(receive(pair.a) == -ECANCELED);
        CHECK_THROWS_AS(weft::this_fiber::check_cancelled(), weft::TimedOut);
    });
}

TEST_CASE("what arrived goes before a cancellation", "[io][foreign][cancel]") {
    on_all_io([] {
        Pair pair = sockets();
        auto fiber = weft::spawn([&] { return receive(pair.a); });
        until_waiting(fiber);
        put(pair.b);
        fiber.cancel();
        const int result = fiber.get();
        // Whoever was faster: the byte is in the answer or still in the socket.
        CHECK((result == 1 || (result == -ECANCELED && receive(pair.a) == 1)));
    });
}

TEST_CASE("who waits for several descriptors is told of the first", "[io][foreign][any]") {
    on_all_io([] {
        Many many;
        CHECK(many.wait(1ms) == -ETIMEDOUT);
        auto fiber = weft::spawn([&] { return many.wait(); });
        until_waiting(fiber);
        put(many.pairs[5].b);
        CHECK(fiber.get() == 1);
        CHECK(many.wait() == 1);  // still there
        CHECK(receive(many.pairs[5].a) == 1);
        many.polled[0].fd = -1;
        put(many.pairs[0].b);
        CHECK(many.wait(1ms) == -ETIMEDOUT);
    });
}

TEST_CASE("a wait for several descriptors is cancelled", "[io][foreign][any][cancel]") {
    on_all_io([] {
        Many many;
        auto fiber = weft::spawn([&] { return many.wait(); });
        until_waiting(fiber);
        fiber.cancel();
        CHECK(fiber.get() == -ECANCELED);
    });
}

TEST_CASE("ending what waits for a number leaves all others alone", "[io][foreign][close]") {
    on_workers_and_io([] {
        Pair pair = sockets();
        Pair other = sockets();
        auto closed = weft::spawn([&] { return receive(pair.a); });
        auto several = weft::spawn([&] {
            const std::vector<pollfd> fds{{pair.a, POLLIN, 0}, {other.a, POLLIN, 0}};
            return wait_any_ready(fds, Deadline::never(), "a test");
        });
        auto open = weft::spawn([&] { return receive(other.a); });
        until_waiting(closed);
        until_waiting(several);
        until_waiting(open);
        { const ClosingNumber closing{pair.a}; }
        CHECK(closed.get() == -EBADF);
        CHECK(several.get() == -EBADF);
        put(other.b);
        CHECK(open.get() == 1);
    });
}

TEST_CASE("a signal ends the foreign call of who takes signals, unless it is to go on",
          "[io][foreign][signal]") {
    on_all_io([] {
        Pair pair = sockets();
        Pair other = sockets();
        const auto takes = [](auto call) {
            return weft::spawn([call] {
                weft::detail::take_signals(*weft::detail::Worker::current()->fiber());
                return call();
            });
        };
        // Again, as it may be between two waits.
        const auto interrupt = [](const auto& fiber, Interruption which) {
            while (!fiber.done()) {
                interrupt_foreign_call(*weft::detail::core_of(fiber), which);
                weft::this_fiber::yield();
            }
        };
        auto sleeps = takes([] { return sleep_foreign(Deadline::never(), "a test"); });
        interrupt(sleeps, Interruption::never_restarted);
        CHECK(sleeps.get() == -EINTR);
        auto receives = takes([&] { return receive(pair.a); });
        interrupt(receives, Interruption::all);
        CHECK(receives.get() == -EINTR);
        auto goes_on = takes([&] { return receive(pair.a); });
        auto takes_none = weft::spawn([&] { return receive(other.a); });
        until_waiting(goes_on);
        until_waiting(takes_none);
        interrupt_foreign_call(*weft::detail::core_of(goes_on), Interruption::never_restarted);
        interrupt_foreign_call(*weft::detail::core_of(takes_none), Interruption::all);
        put(pair.b);
        put(other.b);
        CHECK(goes_on.get() == 1);
        CHECK(takes_none.get() == 1);
    });
}
