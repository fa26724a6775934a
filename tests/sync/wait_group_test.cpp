// What wait_group.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/wait_group.hpp>

#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/fiber.hpp>

#include <limits>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using weft::test::also_migrating;
using weft::test::until_waiting;

TEST_CASE("a wait group is waited for until as many are done as were added", "[wait_group]") {
    also_migrating([] {
        weft::WaitGroup jobs;
        CHECK(jobs.wait(0ms));
        int plain = 0;
        jobs.add(3);
        auto waiter = weft::spawn([&] { return jobs.wait() ? plain : -1; });
        until_waiting(waiter);
        jobs.done();
        jobs.add(1);
        jobs.add(-2);
        CHECK_FALSE(waiter.done());
        plain = 7;
        jobs.done();
        CHECK(waiter.get() == 7);
    });
}

TEST_CASE("a wait group wakes all at zero, even if more is added at once, and serves again",
          "[wait_group]") {
    also_migrating([] {
        weft::WaitGroup jobs;
        for (int round = 0; round < 3; ++round) {
            jobs.add(1);
            std::vector<weft::Fiber<bool>> waiters;
            for (int i = 0; i < 20; ++i)
                waiters.push_back(weft::spawn([&] { return jobs.wait(); }));
            for (const auto& waiter : waiters) until_waiting(waiter);
            jobs.done();
            jobs.add(1);
            for (auto& waiter : waiters) CHECK(waiter.get());
            CHECK_FALSE(jobs.wait(0ms));
            jobs.done();
        }
    });
}

TEST_CASE("a wait group cannot count below zero, nor too far", "[wait_group]") {
    weft::WaitGroup jobs;
    CHECK_THROWS_AS(jobs.done(), std::logic_error);
    jobs.add(2);
    CHECK_THROWS_AS(jobs.add(-3), std::logic_error);
    constexpr auto most = std::numeric_limits<std::ptrdiff_t>::max();
    constexpr auto least = std::numeric_limits<std::ptrdiff_t>::min();
    CHECK_THROWS_AS(jobs.add(most), std::logic_error);
    CHECK_THROWS_AS(jobs.add(least), std::logic_error);
    jobs.add(most - 2);
    jobs.add(-most);
    CHECK(jobs.wait(0ms));
}
