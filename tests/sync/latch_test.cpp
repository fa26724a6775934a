// What latch.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/latch.hpp>

#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>

#include <limits>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using weft::test::also_migrating;
using weft::test::until_waiting;

TEST_CASE("a latch is waited for until it is at zero, and stays there", "[latch]") {
    also_migrating([] {
        weft::Latch latch{3};
        auto waiter = weft::spawn([&] { return latch.wait(); });
        until_waiting(waiter);
        latch.count_down(2);
        latch.count_down(0);
        CHECK_FALSE(latch.try_wait());
        CHECK_FALSE(waiter.done());
        latch.count_down();
        CHECK(latch.try_wait());
        CHECK(waiter.get());
        CHECK(latch.wait(0ms));
    });
}

TEST_CASE("a latch that begins at zero holds nobody up", "[latch]") {
    const weft::Latch none{0};
    CHECK(none.try_wait());
}

TEST_CASE("those who arrive and wait go on together", "[latch]") {
    also_migrating([] {
        weft::Latch latch{8};
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < 7; ++i) {
            fibers.push_back(weft::spawn([&] { return latch.arrive_and_wait(); }));
        }
        for (const auto& fiber : fibers) until_waiting(fiber);
        CHECK(latch.arrive_and_wait(1, 0ms));
        for (auto& fiber : fibers) CHECK(fiber.get());
    });
}

TEST_CASE("who arrives and leaves by deadline or cancel has arrived", "[latch][cancel]") {
    also_migrating([] {
        weft::Latch latch{3};
        CHECK_FALSE(latch.arrive_and_wait(1, 1ms));
        auto fiber = weft::spawn([&] { latch.arrive_and_wait(); });
        until_waiting(fiber);
        fiber.cancel();
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        latch.count_down();
        CHECK(latch.try_wait());
    });
}

TEST_CASE("a latch cannot begin or go below zero, nor go up", "[latch]") {
    CHECK_THROWS_AS(weft::Latch{-1}, std::invalid_argument);
    weft::Latch latch{2};
    CHECK_THROWS_AS(latch.count_down(-1), std::invalid_argument);
    CHECK_THROWS_AS(latch.count_down(std::numeric_limits<std::ptrdiff_t>::min()),
                    std::invalid_argument);
    CHECK_THROWS_AS(latch.count_down(3), std::logic_error);
    CHECK_THROWS_AS(latch.arrive_and_wait(3), std::logic_error);
    latch.count_down(2);
    CHECK_THROWS_AS(latch.count_down(), std::logic_error);
    CHECK(latch.try_wait());
}
