// What once.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/once.hpp>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/hand_clock.hpp"
#include "support/journal.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::test::also_migrating;
using weft::test::error_of;
using weft::test::is;
using weft::test::until_waiting;

namespace {

constexpr int rounds = weft::test::under_sanitizer ? 30 : 200;

int calls = 0;
void count_a_call() { ++calls; }

}  // namespace

TEST_CASE("of many who call, fibers and threads, one does it and all see it", "[once][thread]") {
    also_migrating([] {
        for (int i = 0; i < rounds; ++i) {
            weft::Once once;
            int plain = 0;
            const auto work = [&] {
                const bool done = once.call([&] {
                    weft::this_fiber::yield();
                    ++plain;
                });
                return done && plain == 1 && once.done();
            };
            std::vector<weft::Fiber<bool>> fibers;
            for (int f = 0; f < 4; ++f) fibers.push_back(weft::spawn(work));
            bool by_thread = false;
            std::thread thread{[&] { by_thread = work(); }};
            for (auto& fiber : fibers) CHECK(fiber.get());
            thread.join();
            CHECK(by_thread);
        }
    });
}

TEST_CASE("what was done is not done again", "[once]") {
    weft::Once once;
    CHECK_FALSE(once.done());
    calls = 0;
    CHECK(once.call(count_a_call));
    CHECK(once.call(&count_a_call, 0ms));
    CHECK(calls == 1);
    CHECK(once.done());
}

TEST_CASE("one that throws leaves it to the next who waits, in order of arrival", "[once]") {
    also_migrating([] {
        weft::Once once;
        weft::test::Journal<int> tried;
        weft::Semaphore go{0};
        const auto attempt = [&](int i) {
            once.call([&] {
                tried.add(i);
                go.acquire();
                if (i < 2) throw std::runtime_error{"not I"};
            });
        };
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 4; ++i) {
            fibers.push_back(weft::spawn(attempt, i));
            until_waiting(fibers.back());
        }
        go.release(4);
        CHECK_THROWS_AS(fibers[0].get(), std::runtime_error);
        CHECK_THROWS_AS(fibers[1].get(), std::runtime_error);
        CHECK_NOTHROW(fibers[2].get());
        CHECK_NOTHROW(fibers[3].get());
        CHECK(tried.entries() == std::vector{0, 1, 2});
    });
}

TEST_CASE("one that throws with nobody waiting leaves it to the next who comes", "[once]") {
    weft::Once once;
    CHECK_THROWS_AS(once.call([] { throw std::runtime_error{"not I"}; }), std::runtime_error);
    CHECK_FALSE(once.done());
    calls = 0;
    CHECK(once.call(count_a_call));
    CHECK(calls == 1);
}

TEST_CASE("one that is cancelled at it leaves it to the next", "[once][cancel]") {
    also_migrating([] {
        weft::Once once;
        weft::Semaphore never{0};
        auto first = weft::spawn([&] { once.call([&] { never.acquire(); }); });
        until_waiting(first);
        auto second = weft::spawn([&] { return once.call([] {}); });
        until_waiting(second);
        first.cancel();
        CHECK_THROWS_AS(first.get(), weft::Cancelled);
        CHECK(second.get());
    });
}

TEST_CASE("one that throws passes over those whose deadline has passed", "[once][deadline]") {
    also_migrating([] {
        weft::Once once;
        weft::Semaphore fail{0};
        auto first = weft::spawn([&] {
            once.call([&] {
                fail.acquire();
                throw std::runtime_error{"not I"};
            });
        });
        until_waiting(first);
        auto late = weft::spawn([&] { return once.call([] {}, 1ms); });
        until_waiting(late);
        auto next = weft::spawn([&] { return once.call([] {}); });
        until_waiting(next);
        CHECK_FALSE(late.get());
        fail.release();
        CHECK_THROWS_AS(first.get(), std::runtime_error);
        CHECK(next.get());
    });
}

TEST_CASE("who waited and ran late was woken in time all the same", "[once][deadline]") {
    weft::run(
        [] {
            weft::test::HandClock clock;
            weft::Once once;
            weft::Semaphore go{0};
            const Deadline deadline = 50ms;
            auto runner = weft::spawn([&] {
                once.call([&] { go.acquire(); });
                clock.pass(deadline);
            });
            until_waiting(runner);
            auto waiter = weft::spawn([&] { return once.call([] {}, deadline); });
            until_waiting(waiter);
            go.release();
            runner.join();
            CHECK(waiter.get());
        },
        {.workers = 1});
}

TEST_CASE("a call out of its own function is a deadlock, and thrown", "[once]") {
    also_migrating([] {
        weft::Once once;
        std::error_code error;
        CHECK(once.call([&] { error = error_of([&] { once.call([] {}); }); }));
        CHECK(is(error, std::errc::resource_deadlock_would_occur));
        CHECK(once.done());
    });
}

TEST_CASE("at a standstill two that call each other are told, and can be called again",
          "[once][deadlock]") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        INFO("seed: " << seed);
        int told = 0;
        bool done = false;
        CHECK_THROWS_AS(
            weft::simulate(
                seed,
                [&] {
                    weft::Once one;
                    weft::Once other;
                    weft::Event begun;
                    const auto call = [&](weft::Once& outer, weft::Once& inner, auto&& between) {
                        try {
                            outer.call([&] {
                                between();
                                inner.call([] {});
                            });
                        } catch (const weft::Deadlock&) {
                            ++told;
                        }
                    };
                    auto fiber = weft::spawn([&] { call(one, other, [&] { begun.wait(); }); });
                    until_waiting(fiber);
                    call(other, one, [&] { begun.set(); });
                    fiber.get();
                    done = one.call([] {}) && other.call([] {});
                }),
            weft::Deadlock);
        CHECK(told >= 1);
        CHECK(done);
    }
}

TEST_CASE("a plain thread's wait for the one that is at it ends at its deadline",
          "[once][thread][deadline]") {
    weft::Once once;
    bool in_time = true;
    once.call([&] { std::thread{[&] { in_time = once.call([] {}, 1ms); }}.join(); });
    CHECK_FALSE(in_time);
}
