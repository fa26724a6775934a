// What semaphore.hpp and bounded_semaphore.hpp promise beyond what every wait does
// (waits_test.cpp).
#include <weft/semaphore.hpp>

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/bounded_semaphore.hpp>
#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>

#include <atomic>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

using weft::test::also_migrating;
using weft::test::on_workers;
using weft::test::until_waiting;

TEST_CASE("a semaphore cannot begin below zero", "[semaphore]") {
    CHECK_THROWS_AS(weft::Semaphore{-1}, std::invalid_argument);
    CHECK_NOTHROW(weft::Semaphore{0});
}

TEST_CASE("as many units can be taken as there were", "[semaphore]") {
    weft::Semaphore units{3};
    CHECK(units.acquire());
    CHECK(units.try_acquire());
    CHECK(units.acquire());
    CHECK_FALSE(units.try_acquire());
    units.release(2);
    CHECK(units.try_acquire());
    CHECK(units.try_acquire());
    CHECK_FALSE(units.try_acquire());
    units.release(0);
    CHECK_FALSE(units.try_acquire());
}

TEST_CASE("release(n) serves n waiters and keeps the rest", "[semaphore]") {
    on_workers([] {
        weft::Semaphore units{0};
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 5; ++i) {
            fibers.push_back(weft::spawn([&] { units.acquire(); }));
            until_waiting(fibers.back());
        }
        units.release(3);
        for (std::size_t i = 0; i < 3; ++i) CHECK(fibers[i].join());
        CHECK_FALSE(fibers[3].done());
        CHECK_FALSE(fibers[4].done());
        CHECK_FALSE(units.try_acquire());
        units.release(4);
        weft::join_all(fibers);
        CHECK(units.try_acquire());
        CHECK(units.try_acquire());
        CHECK_FALSE(units.try_acquire());
    });
}

TEST_CASE("a released unit is the first waiter's, not a passer-by's", "[semaphore]") {
    weft::run(
        [] {
            weft::Semaphore units{0};
            auto waiter = weft::spawn([&] { return units.acquire(); });
            until_waiting(waiter);
            units.release();
            CHECK_FALSE(units.try_acquire());  // before the waiter has run
            CHECK(waiter.get());
        },
        {.workers = 1});
}

TEST_CASE("no more hold units at once than there are", "[semaphore]") {
    on_workers([] {
        constexpr int limit = 3;
        weft::Semaphore units{limit};
        std::atomic<int> inside{0};
        std::atomic<int> most{0};
        const auto work = [&] {
            for (int i = 0; i < 100; ++i) {
                units.acquire();
                const int now = ++inside;
                int before = most;
                while (before < now && !most.compare_exchange_weak(before, now)) {
                }
                weft::this_fiber::yield();
                --inside;
                units.release();
            }
        };
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 10; ++i) fibers.push_back(weft::spawn(work));
        std::thread thread{work};
        weft::join_all(fibers);
        thread.join();
        CHECK(most <= limit);
        CHECK(inside == 0);
    });
}

TEST_CASE("a release of less than nothing, or too much, throws and changes nothing",
          "[semaphore]") {
    weft::Semaphore units{1};
    constexpr auto most = std::numeric_limits<std::ptrdiff_t>::max();
    CHECK_THROWS_AS(units.release(-1), std::invalid_argument);
    CHECK_THROWS_AS(units.release(std::numeric_limits<std::ptrdiff_t>::min()),
                    std::invalid_argument);
    CHECK_THROWS_AS(units.release(most), std::logic_error);
    CHECK(units.try_acquire());
    CHECK_FALSE(units.try_acquire());
    CHECK_NOTHROW(units.release(most));
    CHECK_THROWS_AS(units.release(), std::logic_error);
    CHECK(units.try_acquire());
}

TEST_CASE("a bounded semaphore never has more units than it began with", "[semaphore]") {
    CHECK_THROWS_AS(weft::BoundedSemaphore{-1}, std::invalid_argument);
    weft::BoundedSemaphore units{2};
    CHECK_THROWS_AS(units.release(), std::logic_error);
    CHECK_THROWS_AS(units.release(-1), std::invalid_argument);
    CHECK(units.acquire());
    CHECK_THROWS_AS(units.release(2), std::logic_error);
    CHECK(units.try_acquire());
    CHECK_FALSE(units.try_acquire());
    units.release(2);
    CHECK_THROWS_AS(units.release(), std::logic_error);
    units.release(0);
}

TEST_CASE("a bounded semaphore knows units that went to waiters", "[semaphore]") {
    on_workers([] {
        weft::BoundedSemaphore units{1};
        units.acquire();
        auto waiter = weft::spawn([&] { units.acquire(); });
        until_waiting(waiter);
        CHECK_THROWS_AS(units.release(2), std::logic_error);
        CHECK_FALSE(waiter.done());
        units.release();
        waiter.join();
        units.release();
        CHECK_THROWS_AS(units.release(), std::logic_error);
    });
}

TEST_CASE("a guard takes a unit for a scope, however that is left", "[semaphore]") {
    weft::BoundedSemaphore units{1};
    {
        const std::lock_guard unit{units};
        CHECK_FALSE(units.try_acquire());
        CHECK_FALSE(std::unique_lock{units, std::try_to_lock}.owns_lock());
    }
    const auto fail = [&] {
        const std::lock_guard unit{units};
        throw std::runtime_error{"in the scope"};
    };
    CHECK_THROWS_AS(fail(), std::runtime_error);
    CHECK_THROWS_AS(units.release(), std::logic_error);  // all are there
}

TEST_CASE("a guard whose wait is cancelled takes no unit", "[semaphore][cancel]") {
    on_workers([] {
        weft::BoundedSemaphore units{1};
        units.acquire();
        auto waiter = weft::spawn([&] { const std::lock_guard unit{units}; });
        until_waiting(waiter);
        waiter.cancel();
        CHECK_THROWS_AS(waiter.get(), weft::Cancelled);
        CHECK_FALSE(units.try_acquire());
        units.release();
        CHECK(units.try_acquire());
    });
}

TEST_CASE("who takes a unit again and again starves nobody who waits", "[semaphore][order]") {
    also_migrating([] {
        weft::Semaphore units{1};
        std::atomic<bool> served{false};
        units.acquire();
        auto waiter = weft::spawn([&] {
            units.acquire();
            served = true;
            units.release();
        });
        until_waiting(waiter);
        while (!served) {
            units.release();
            units.acquire();
        }
        units.release();
        waiter.join();
        CHECK(units.try_acquire());
    });
}

TEST_CASE("a semaphore may go with units out", "[semaphore]") {
    weft::Semaphore units{2};
    CHECK(units.acquire());
    weft::BoundedSemaphore bounded{1};
    CHECK(bounded.acquire());
}
