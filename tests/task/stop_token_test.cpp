// What stop_token.hpp promises, each promise once.
#include "support/catch.hpp"
#include "support/runtime.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/stop_token.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timer.hpp>

#include <atomic>
#include <stop_token>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::test::on_workers;

namespace {

void wait_for_ever() { weft::this_fiber::sleep_until(weft::Deadline::never()); }

struct Asked {
    int ask(std::stop_token stop, int x) const { return stop.stop_possible() ? x : -x; }
};

}  // namespace

TEST_CASE("a fiber's token is stopped when it is cancelled", "[stop_token]") {
    on_workers([] {
        auto fiber = weft::spawn([] { wait_for_ever(); });
        const std::stop_token token = weft::stop_token_of(fiber);
        CHECK(token.stop_possible());
        CHECK_FALSE(token.stop_requested());
        CHECK(token == weft::stop_token_of(fiber));
        fiber.cancel();
        CHECK(token.stop_requested());
        fiber.join();
        CHECK(token.stop_requested());
    });
}

TEST_CASE("a token asked for after the cancellation is stopped", "[stop_token]") {
    on_workers([] {
        auto fiber = weft::spawn(weft::SpawnOptions{.name = "has a name"}, [] { wait_for_ever(); });
        fiber.cancel();
        CHECK(weft::stop_token_of(fiber).stop_requested());
        fiber.join();
        CHECK(weft::stop_token_of(fiber).stop_requested());
    });
}

TEST_CASE("cancelling a fiber that has ended does not stop its token", "[stop_token]") {
    on_workers([] {
        auto fiber = weft::spawn([] {});
        const std::stop_token token = weft::stop_token_of(fiber);
        fiber.join();
        fiber.cancel();
        CHECK_FALSE(token.stop_requested());
        CHECK_FALSE(weft::stop_token_of(fiber).stop_requested());
        CHECK_FALSE(weft::FiberRef{fiber}.cancelled());
    });
}

// What the others wait for is not to be had: all of them are cancelled.
TEST_CASE("a standstill that cancels a fiber stops its token", "[stop_token][deadlock]") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        INFO("seed: " << seed);
        bool stopped = false;
        bool chained = false;
        CHECK_THROWS_AS(
            weft::simulate(seed,
                           [&] {
                               weft::Event never;
                               auto stuck = weft::spawn([&](std::stop_token token) {
                                   const std::stop_callback note{token, [&] { stopped = true; }};
                                   never.wait();
                               });
                               auto other = weft::spawn([&] {
                                   const weft::this_fiber::Shield shield;
                                   stuck.join();
                                   chained = weft::stop_token_of(stuck).stop_requested();
                               });
                               other.join();
                           }),
            weft::Deadlock);
        CHECK(stopped);
        CHECK(chained);
    }
}

TEST_CASE("a token outlives a fiber that was not cancelled, and is never stopped", "[stop_token]") {
    on_workers([] {
        std::stop_token token;
        {
            auto fiber = weft::spawn([] { return weft::this_fiber::stop_token(); });
            token = fiber.get();
            CHECK(token == weft::stop_token_of(fiber));
        }
        CHECK_FALSE(token.stop_requested());
        // The worker that ran it to its end may be about to let go of it.
        while (token.stop_possible()) weft::this_fiber::yield();
    });
    CHECK_FALSE(weft::this_fiber::stop_token().stop_possible());
}

TEST_CASE("a callback on the token runs in who cancels", "[stop_token]") {
    on_workers([] {
        auto fiber = weft::spawn([] { wait_for_ever(); });
        std::uint64_t called_in = 0;
        const std::stop_callback note{weft::stop_token_of(fiber),
                                      [&] { called_in = weft::this_fiber::id(); }};
        CHECK(called_in == 0);
        fiber.cancel();
        CHECK(called_in == weft::this_fiber::id());
        fiber.join();
    });
}

TEST_CASE("a callable that cannot be called without gets its fiber's token", "[stop_token]") {
    on_workers([] {
        weft::Event started;
        auto fiber = weft::spawn(
            [&](std::stop_token stop, int n) {
                started.set();
                while (!stop.stop_requested()) weft::this_fiber::yield();
                return n;
            },
            5);
        started.wait();
        fiber.cancel();
        CHECK(fiber.get() == 5);

        auto alone = weft::spawn([](const std::stop_token& stop) { return stop.stop_possible(); });
        CHECK(alone.get());
        CHECK(weft::spawn(weft::SpawnOptions{.name = "x"}, [](std::stop_token) {
                  return weft::this_fiber::name() == "x";
              }).get());
        CHECK(weft::spawn_later(0ms, [](std::stop_token stop) {
                  return stop == weft::this_fiber::stop_token();
              }).get());
        int answer = 0;
        weft::Timer timer{0ms, [&](std::stop_token, int x) { answer = x; }, 3};
        timer.join();
        CHECK(answer == 3);
        // One that can do without is left without.
        CHECK(weft::spawn([](std::stop_token stop = {}) { return stop.stop_possible(); }).get() ==
              false);
    });
}

TEST_CASE("a token of somebody else's cancels the fiber", "[stop_token]") {
    const auto body = [] {
        std::stop_source one;
        std::stop_source two;
        auto fiber = weft::spawn([] { wait_for_ever(); });
        weft::cancel_on(fiber, one.get_token());
        weft::cancel_on(fiber, two.get_token());
        CHECK_FALSE(fiber.join(1ms));
        two.request_stop();
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        one.request_stop();
    };
    on_workers(body);
    for (std::uint64_t seed = 0; seed < 50; ++seed) weft::simulate(seed, body);
}

TEST_CASE("a token that is stopped already cancels at once", "[stop_token]") {
    weft::run(
        [] {
            std::stop_source source;
            source.request_stop();
            bool ran = false;
            auto fiber = weft::spawn([&] { ran = true; });
            weft::cancel_on(fiber, source.get_token());
            fiber.join();
            CHECK_FALSE(ran);
        },
        {.workers = 1});
}

TEST_CASE("a fiber that has ended is forgotten by the tokens", "[stop_token]") {
    on_workers([] {
        std::stop_source source;
        weft::FiberRef ended;
        for (int i = 0; i < 100; ++i) {
            auto fiber = weft::spawn([] { weft::this_fiber::yield(); });
            weft::cancel_on(fiber, source.get_token());
            fiber.join();
            ended = fiber;
        }
        weft::cancel_on(ended, source.get_token());
        source.request_stop();
        CHECK_FALSE(ended.cancelled());
    });
}

TEST_CASE("cancellation goes down a chain of fibers by their tokens", "[stop_token]") {
    on_workers([] {
        auto parent = weft::spawn([] { wait_for_ever(); });
        auto child = weft::spawn([] { wait_for_ever(); });
        auto grandchild = weft::spawn([] { wait_for_ever(); });
        weft::cancel_on(child, weft::stop_token_of(parent));
        weft::cancel_on(grandchild, weft::stop_token_of(child));
        parent.cancel();
        CHECK(grandchild.join());
        CHECK(child.join());
        CHECK(parent.join());
    });
}

TEST_CASE("the token of a daemon is stopped when run leaves", "[stop_token]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        std::stop_token token;
        weft::run(
            [&] {
                weft::Event started;
                weft::spawn(weft::SpawnOptions{.daemon = true}, [&] {
                    token = weft::this_fiber::stop_token();
                    started.set();
                    const weft::this_fiber::Shield shield;
                    while (!token.stop_requested()) weft::this_fiber::sleep_for(100us);
                });
                started.wait();
            },
            {.workers = workers});
        CHECK(token.stop_requested());
    }
}

// Goal: the canceller sees the token, or its maker sees the cancellation.
// Method: both at once, from two plain threads, on fibers with and without extras.
TEST_CASE("a token made while the fiber is cancelled is stopped", "[stop_token][thread]") {
    weft::Runtime runtime{{.workers = 1}};
    for (int round = 0; round < 2000; ++round) {
        const char* const name = round % 2 == 0 ? "" : "named";
        auto fiber = runtime.spawn(weft::SpawnOptions{.name = name}, [] { wait_for_ever(); });
        std::atomic<int> ready{0};
        std::thread canceller{[&] {
            ++ready;
            while (ready < 2) {
            }
            fiber.cancel();
        }};
        ++ready;
        while (ready < 2) {
        }
        const std::stop_token token = weft::stop_token_of(fiber);
        canceller.join();
        const bool stopped = token.stop_requested();
        if (!stopped) FAIL("neither saw the other in round " << round);
        fiber.join();
    }
}

// The same for the fiber's end and the stop of a token that is to cancel it.
TEST_CASE("a token may be stopped while the fiber ends", "[stop_token][thread]") {
    for (const unsigned workers : {1u, 2u}) {
        weft::Runtime runtime{{.workers = workers}};
        for (int round = 0; round < 1000; ++round) {
            std::stop_source source;
            weft::Event go;
            auto fiber = runtime.spawn([&] { go.wait(); });
            weft::cancel_on(fiber, source.get_token());
            std::thread stopper{[&] { source.request_stop(); }};
            go.set();
            fiber.join();
            stopper.join();
        }
    }
}

TEST_CASE("tokens are linked while the fiber ends", "[stop_token][thread]") {
    weft::Runtime runtime{{.workers = 2}};
    std::stop_source source;
    for (int round = 0; round < 1000; ++round) {
        auto fiber = runtime.spawn([] {});
        weft::cancel_on(fiber, source.get_token());
        fiber.join();
    }
    source.request_stop();
}
