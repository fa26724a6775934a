// What event.hpp promises, each promise once.
#include <weft/event.hpp>

#include "support/catch.hpp"
#include "support/journal.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::test::on_workers;
using weft::test::until_waiting;

TEST_CASE("an event is set until it is cleared", "[event]") {
    weft::Event event;
    CHECK_FALSE(event.is_set());
    CHECK_FALSE(event.wait(0ms));
    event.set();
    event.set();
    CHECK(event.is_set());
    CHECK(event.wait());
    CHECK(event.wait(0ms));
    event.clear();
    event.clear();
    CHECK_FALSE(event.is_set());
    CHECK_FALSE(event.wait(1ms));
}

TEST_CASE("set wakes all who wait, even if it is cleared at once", "[event]") {
    on_workers([] {
        weft::Event event;
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < 100; ++i) fibers.push_back(weft::spawn([&] { return event.wait(); }));
        for (const auto& fiber : fibers) until_waiting(fiber);
        event.set();
        event.clear();
        for (auto& fiber : fibers) CHECK(fiber.get());
        CHECK_FALSE(event.is_set());
    });
}

TEST_CASE("set wakes in order of arrival", "[event][order]") {
    weft::run(
        [] {
            weft::Event event;
            weft::test::Journal<int> order;
            std::vector<int> expected;
            std::vector<weft::Fiber<>> fibers;
            for (int i = 0; i < 100; ++i) {
                expected.push_back(i);
                fibers.push_back(weft::spawn([&, i] {
                    event.wait();
                    order.add(i);
                }));
                until_waiting(fibers.back());
            }
            event.set();
            weft::join_all(fibers);
            CHECK(order.entries() == expected);
        },
        {.workers = 1});
}

TEST_CASE("a waiter that left by deadline or cancel misses nothing of the others'",
          "[event][cancel]") {
    on_workers([] {
        weft::Event event;
        auto late = weft::spawn([&] { return event.wait(1ms); });
        auto cancelled = weft::spawn([&] { return event.wait(); });
        auto staying = weft::spawn([&] { return event.wait(); });
        until_waiting(cancelled);
        until_waiting(staying);
        cancelled.cancel();
        CHECK_FALSE(late.get());
        CHECK_THROWS_AS(cancelled.get(), weft::Cancelled);
        event.set();
        CHECK(staying.get());
    });
}

TEST_CASE("a set event is still a cancellation point", "[event][cancel]") {
    on_workers([] {
        weft::Event event;
        event.set();
        weft::Semaphore begun{0};
        std::atomic<bool> go{false};
        auto fiber = weft::spawn([&] {
            begun.release();
            while (!go) weft::this_fiber::yield();
            event.wait();
        });
        begun.acquire();
        fiber.cancel();
        go = true;
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}

TEST_CASE("what was written before set is seen after the wait", "[event]") {
    on_workers([] {
        for (int i = 0; i < 200; ++i) {
            int plain = 0;
            weft::Event event;
            auto reader = weft::spawn([&] {
                event.wait();
                return plain;
            });
            auto writer = weft::spawn([&] {
                plain = i;
                event.set();
            });
            CHECK(reader.get() == i);
            writer.join();
        }
    });
}

TEST_CASE("threads and fibers wait for the same event", "[event][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        for (int i = 0; i < 50; ++i) {
            weft::Event event;
            std::atomic<int> woken{0};
            auto fiber = runtime.spawn([&] { woken += event.wait() ? 1 : 0; });
            std::thread one{[&] { woken += event.wait() ? 1 : 0; }};
            std::thread two{[&] { event.set(); }};
            fiber.join();
            one.join();
            two.join();
            CHECK(woken == 2);
        }
    }
}

TEST_CASE("who asks again and again without waiting lets others run", "[event][deadline]") {
    weft::run(
        [] {
            weft::Event event;
            auto other = weft::spawn([&] { event.set(); });
            int times = 0;
            while (times < 10'000 && !event.wait(0ms)) ++times;
            CHECK(times < 10'000);
            other.join();
        },
        {.workers = 1});
}
