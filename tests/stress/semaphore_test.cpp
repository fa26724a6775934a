// Units are conserved, whatever deadlines, cancellations and threads do at once.
#include "base/random.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/seed.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::detail::Random;
using weft::test::Environment;
using weft::test::seed;

namespace {

struct Storm {
    static constexpr std::ptrdiff_t units_in_all = 3;

    weft::Semaphore units{units_in_all};
    std::atomic<std::ptrdiff_t> held{0};
    std::atomic<bool> exceeded{false};
    std::atomic<long> served{0};
    std::atomic<long> timed_out{0};
    std::atomic<long> cancelled{0};

    void hold_a_moment(Random& random) {
        if (++held > units_in_all) exceeded = true;
        if (random.below(3) == 0) weft::this_fiber::yield();
        --held;
        units.release();
        ++served;
    }

    // One after the other of any kind of wait, until the time is over.
    void wait_in_all_ways(Random random, weft::Deadline over) {
        while (!over.passed()) {
            const auto deadline =
                random.below(3) == 0 ? weft::Deadline{over.at() + 10s}
                                     : weft::Deadline{std::chrono::microseconds{random.below(200)}};
            if (units.acquire(deadline)) {
                hold_a_moment(random);
            } else {
                ++timed_out;
            }
        }
    }

    // Waiters that are cancelled at any moment of their short lives.
    void cancel_waiters(Random random, weft::Deadline over) {
        while (!over.passed()) {
            auto waiter = weft::spawn([this, seed = random.next()] {
                Random own{seed};
                if (units.acquire(std::chrono::microseconds{own.below(300)})) {
                    const weft::this_fiber::Shield shield;  // it must give the unit back
                    hold_a_moment(own);
                }
            });
            for (auto turns = random.below(4); turns > 0; --turns) weft::this_fiber::yield();
            waiter.cancel();
            try {
                waiter.get();
            } catch (const weft::Cancelled&) {
                ++cancelled;
            }
        }
    }
};

void storm(unsigned workers, std::uint64_t seed) {
    INFO("WEFT_SEED=" << seed << ", workers: " << workers);
    Storm storm;
    const weft::Deadline over = 300ms;
    weft::run(
        [&] {
            Random random{seed};
            std::vector<weft::Fiber<>> fibers;
            std::vector<std::thread> threads;
            for (int i = 0; i < 12; ++i) {
                fibers.push_back(
                    weft::spawn(&Storm::wait_in_all_ways, &storm, Random{random.next()}, over));
            }
            for (int i = 0; i < 4; ++i) {
                fibers.push_back(
                    weft::spawn(&Storm::cancel_waiters, &storm, Random{random.next()}, over));
            }
            for (int i = 0; i < 2; ++i) {
                threads.emplace_back(&Storm::wait_in_all_ways, &storm, Random{random.next()}, over);
            }
            weft::join_all(fibers);
            for (auto& thread : threads) thread.join();
        },
        {.workers = workers});
    CHECK_FALSE(storm.exceeded);
    CHECK(storm.served > 0);
    std::ptrdiff_t left = 0;
    while (storm.units.try_acquire()) ++left;
    CHECK(left == Storm::units_in_all);
}

}  // namespace

TEST_CASE("no unit is lost or made in a storm of waits", "[stress][semaphore]") {
    for (const unsigned workers : {1u, 2u, 8u}) storm(workers, seed());
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    for (const unsigned workers : {2u, 8u}) storm(workers, seed());
}
