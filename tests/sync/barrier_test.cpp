// What barrier.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/barrier.hpp>

#include "support/catch.hpp"
#include "support/everywhere.hpp"
#include "support/journal.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::test::also_migrating;
using weft::test::everywhere;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::seeds;
using weft::test::until_waiting;

namespace {

constexpr int rounds = weft::test::under_sanitizer ? 50 : 300;

enum class End { passed, broken, cancelled, failed };

End meet(weft::Barrier& barrier, Deadline deadline = Deadline::never()) {
    try {
        barrier.wait(deadline);
        return End::passed;
    } catch (const weft::BrokenBarrier&) {
        return End::broken;
    } catch (const weft::Cancelled&) {
        return End::cancelled;
    } catch (const std::runtime_error&) {
        return End::failed;
    }
}

// A party that waits.
weft::Fiber<End> party(weft::Barrier& barrier, Deadline deadline = Deadline::never()) {
    auto fiber = weft::spawn([&barrier, deadline] { return meet(barrier, deadline); });
    until_waiting(fiber);
    return fiber;
}

}  // namespace

TEST_CASE("a barrier lets nobody pass before all have come, and each knows its place",
          "[barrier][order]") {
    everywhere([] {
        weft::Barrier barrier{5};
        CHECK(barrier.parties() == 5);
        std::vector<weft::Fiber<std::ptrdiff_t>> fibers;
        for (std::ptrdiff_t i = 0; i < 4; ++i) {
            CHECK(barrier.waiting() == i);
            fibers.push_back(weft::spawn([&] { return barrier.wait(); }));
            until_waiting(fibers.back());
        }
        for (const auto& fiber : fibers) CHECK_FALSE(fiber.done());
        CHECK(barrier.wait(0ms) == 4);  // all others are there: no wait
        for (std::size_t i = 0; i < 4; ++i) CHECK(fibers[i].get() == std::ptrdiff_t(i));
        CHECK(barrier.waiting() == 0);
        CHECK_FALSE(barrier.broken());
    });
}

TEST_CASE("a barrier serves round after round, for fibers and threads", "[barrier][thread]") {
    also_migrating([] {
        constexpr int parties = 6;
        int acted = 0;  // guarded by the barrier: nobody else is past it
        std::atomic<int> places{0};
        int wrong = 0;
        std::atomic<int> arrived{0};
        weft::Barrier barrier{parties, [&] {
                                  ++acted;
                                  if (arrived.exchange(0) != parties) ++wrong;
                              }};
        const auto work = [&] {
            for (int i = 0; i < rounds; ++i) {
                ++arrived;
                places += static_cast<int>(barrier.wait());
            }
        };
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < parties - 1; ++i) fibers.push_back(weft::spawn(work));
        std::thread thread{work};
        weft::join_all(fibers);
        thread.join();
        CHECK(acted == rounds);
        CHECK(wrong == 0);
        CHECK(places == rounds * parties * (parties - 1) / 2);
    });
}

TEST_CASE("a barrier of one is passed at once, and one of none cannot be", "[barrier]") {
    weft::Barrier alone{1};
    CHECK(alone.wait() == 0);
    CHECK(alone.wait(0ms) == 0);
    CHECK_THROWS_AS(weft::Barrier{0}, std::invalid_argument);
    CHECK_THROWS_AS((weft::Barrier{-1, [] {}}), std::invalid_argument);
}

TEST_CASE("the action is run once a round, by the last, before any other passes", "[barrier]") {
    everywhere([] {
        weft::test::Journal<int> journal;
        std::uint64_t actor = 0;
        auto moved_in = std::make_unique<int>(7);
        weft::Barrier barrier{2, [&, number = std::move(moved_in)] {
                                  actor = weft::this_fiber::id();
                                  weft::this_fiber::yield();
                                  journal.add(*number);
                              }};
        for (int i = 0; i < 3; ++i) {
            auto other = weft::spawn([&] {
                barrier.wait();
                journal.add(1);
            });
            until_waiting(other);
            barrier.wait();
            CHECK(actor == weft::this_fiber::id());
            other.join();
        }
        CHECK(journal.entries() == std::vector{7, 1, 7, 1, 7, 1});
    });
}

TEST_CASE("a deadline breaks a barrier for all, until it is reset", "[barrier][deadline]") {
    everywhere([] {
        weft::Barrier barrier{3};
        auto staying = party(barrier);
        const Deadline deadline = 1ms;
        CHECK(meet(barrier, deadline) == End::broken);
        CHECK(deadline.passed());
        CHECK(staying.get() == End::broken);
        CHECK(barrier.broken());
        CHECK(barrier.waiting() == 0);
        CHECK(meet(barrier) == End::broken);
        barrier.reset();
        CHECK_FALSE(barrier.broken());
        auto one = party(barrier);
        auto two = party(barrier);
        CHECK(meet(barrier) == End::passed);
        CHECK(one.get() == End::passed);
        CHECK(two.get() == End::passed);
    });
}

TEST_CASE("a deadline in the past breaks a barrier that is not full", "[barrier][deadline]") {
    everywhere([] {
        weft::Barrier barrier{2};
        CHECK(meet(barrier, -1h) == End::broken);
        CHECK(barrier.broken());
        barrier.reset();
        auto other = party(barrier);
        CHECK(meet(barrier, -1h) == End::passed);
        CHECK(other.get() == End::passed);
    });
}

TEST_CASE("a cancellation breaks a barrier for the others", "[barrier][cancel]") {
    everywhere([] {
        weft::Barrier barrier{3};
        auto first = party(barrier);
        auto second = party(barrier);
        first.cancel();
        CHECK(first.get() == End::cancelled);
        CHECK(second.get() == End::broken);
        CHECK(barrier.broken());
    });
}

TEST_CASE("who was cancelled before breaks a barrier, even if it is the last",
          "[barrier][cancel]") {
    everywhere([] {
        weft::Barrier barrier{2};
        auto other = party(barrier);
        weft::Semaphore begun{0};
        std::atomic<bool> cancelled{false};
        auto last = weft::spawn([&] {
            begun.release();
            while (!cancelled) weft::this_fiber::yield();
            return meet(barrier);
        });
        begun.acquire();
        last.cancel();
        cancelled = true;
        CHECK(last.get() == End::cancelled);
        CHECK(other.get() == End::broken);
    });
}

TEST_CASE("of a cancellation and the last party one wins: all pass or none", "[barrier][cancel]") {
    int passed = 0;
    int broken = 0;
    const auto race = [&](std::uint64_t turn) {
        weft::Barrier barrier{3};
        auto first = party(barrier);
        auto second = party(barrier);
        auto canceller = weft::spawn([&] { first.cancel(); });
        if (turn % 3 != 0) weft::this_fiber::yield();
        const End mine = meet(barrier);
        canceller.join();
        ++(mine == End::passed ? passed : broken);
        CHECK(first.get() == (mine == End::passed ? End::passed : End::cancelled));
        CHECK(second.get() == mine);
        CHECK(barrier.broken() == (mine == End::broken));
    };
    on_seeds(200, race);
    CHECK(passed > 0);
    CHECK(broken > 0);
    on_workers([&] {
        for (int i = 0; i < rounds; ++i) race(static_cast<std::uint64_t>(i));
    });
}

TEST_CASE("of a deadline and the last party one wins: all pass or none", "[barrier][deadline]") {
    on_workers([] {
        for (int i = 0; i < rounds; ++i) {
            weft::Barrier barrier{3};
            const std::chrono::microseconds patience{i % 60};
            auto first = weft::spawn([&] { return meet(barrier, patience); });
            auto second = weft::spawn([&] { return meet(barrier); });
            const End mine = meet(barrier);
            CHECK(first.get() == mine);
            CHECK(second.get() == mine);
        }
    });
}

TEST_CASE("an action that throws breaks a barrier; the exception is the actor's", "[barrier]") {
    everywhere([] {
        bool fails = true;
        weft::Barrier barrier{2, [&] {
                                  weft::this_fiber::yield();
                                  if (fails) throw std::runtime_error{"no"};
                              }};
        auto other = party(barrier);
        CHECK(meet(barrier) == End::failed);
        CHECK(other.get() == End::broken);
        CHECK(barrier.broken());
        fails = false;
        barrier.reset();
        auto again = party(barrier);
        CHECK(meet(barrier) == End::passed);
        CHECK(again.get() == End::passed);
    });
}

TEST_CASE("an actor that is cancelled in its action breaks a barrier", "[barrier][cancel]") {
    everywhere([] {
        weft::Semaphore never{0};
        weft::Barrier barrier{2, [&] { never.acquire(); }};
        auto other = party(barrier);
        auto actor = party(barrier);
        actor.cancel();
        CHECK(actor.get() == End::cancelled);
        CHECK(other.get() == End::broken);
    });
}

TEST_CASE("while the action runs, deadlines and cancellations do not count",
          "[barrier][deadline][cancel]") {
    on_seeds(seeds, [](std::uint64_t) {
        weft::Event acting;
        weft::Event go;
        weft::Barrier barrier{3, [&] {
                                  acting.set();
                                  go.wait();
                              }};
        const Deadline deadline = 2ms;
        auto first = party(barrier, deadline);
        auto second = party(barrier);
        auto actor = weft::spawn([&] { return meet(barrier); });
        acting.wait();
        second.cancel();
        weft::this_fiber::sleep_until(Deadline{deadline.at() + 1ms});
        CHECK_FALSE(first.done());
        CHECK_FALSE(second.done());
        go.set();
        CHECK(actor.get() == End::passed);
        CHECK(first.get() == End::passed);
        CHECK(second.get() == End::passed);
    });
}

TEST_CASE("who comes while the action runs is of the next round", "[barrier]") {
    everywhere([] {
        weft::Event go;
        weft::test::Journal<std::ptrdiff_t> places;
        weft::Barrier barrier{2, [&] { go.wait(); }};
        auto first = party(barrier);
        auto actor = party(barrier);
        std::vector<weft::Fiber<>> next;
        for (int i = 0; i < 4; ++i) {
            next.push_back(weft::spawn([&] { places.add(barrier.wait()); }));
            until_waiting(next.back());
        }
        CHECK(barrier.waiting() == 2);
        go.set();
        CHECK(first.get() == End::passed);
        CHECK(actor.get() == End::passed);
        weft::join_all(next);
        auto all = places.entries();
        std::sort(all.begin(), all.end());
        CHECK(all == std::vector<std::ptrdiff_t>{0, 0, 1, 1});
    });
}

namespace {

// A round whose action runs until `go`.
struct Acting {
    Acting() : first{party(barrier)}, actor{party(barrier)} {}

    weft::Event go;
    weft::Barrier barrier{2, [this] { go.wait(); }};
    weft::Fiber<End> first;
    weft::Fiber<End> actor;
};

}  // namespace

TEST_CASE("who comes while the action runs leaves at its deadline, and breaks the next round",
          "[barrier][deadline]") {
    everywhere([] {
        Acting round;
        auto next = party(round.barrier);
        CHECK(meet(round.barrier, 1ms) == End::broken);
        CHECK(meet(round.barrier, -1ms) == End::broken);
        CHECK_FALSE(round.barrier.broken());
        CHECK_FALSE(next.done());
        round.go.set();
        CHECK(round.first.get() == End::passed);
        CHECK(round.actor.get() == End::passed);
        CHECK(next.get() == End::broken);
        CHECK(round.barrier.broken());
        round.barrier.reset();
        auto other = party(round.barrier);
        CHECK(meet(round.barrier) == End::passed);
        CHECK(other.get() == End::passed);
    });
}

TEST_CASE("who is cancelled while the action runs breaks the next round alone",
          "[barrier][cancel]") {
    everywhere([] {
        Acting round;
        auto next = party(round.barrier);
        auto leaves = party(round.barrier);
        leaves.cancel();
        CHECK(leaves.get() == End::cancelled);
        weft::Event cancelled;
        auto comes_late = weft::spawn([&] {
            {
                const weft::this_fiber::Shield shield;
                cancelled.wait();
            }
            return meet(round.barrier);
        });
        until_waiting(comes_late);
        comes_late.cancel();
        cancelled.set();
        CHECK(comes_late.get() == End::cancelled);
        CHECK_FALSE(round.barrier.broken());
        round.go.set();
        CHECK(round.first.get() == End::passed);
        CHECK(round.actor.get() == End::passed);
        CHECK(next.get() == End::broken);
        CHECK(round.barrier.broken());
    });
}

TEST_CASE("a reset while the action runs makes up for who left the next round",
          "[barrier][deadline]") {
    everywhere([] {
        Acting round;
        CHECK(meet(round.barrier, 1ms) == End::broken);
        round.barrier.reset();
        auto next = party(round.barrier);
        round.go.set();
        CHECK(round.first.get() == End::broken);
        CHECK(round.actor.get() == End::broken);
        CHECK_FALSE(round.barrier.broken());
        CHECK(meet(round.barrier) == End::passed);
        CHECK(next.get() == End::passed);
    });
}

TEST_CASE("a Timeout ends the wait at a barrier, which breaks for the others",
          "[barrier][timeout]") {
    everywhere([] {
        weft::Barrier barrier{3};
        auto staying = party(barrier);
        auto leaves = weft::spawn([&] { return weft::with_timeout(1ms, [&] { meet(barrier); }); });
        CHECK_FALSE(leaves.get());
        CHECK(staying.get() == End::broken);
        CHECK(barrier.broken());
    });
}

TEST_CASE("abort breaks a barrier for those who wait and those who come, until a reset",
          "[barrier]") {
    everywhere([] {
        weft::Barrier barrier{3};
        auto one = party(barrier);
        auto two = party(barrier);
        barrier.abort();
        CHECK(one.get() == End::broken);
        CHECK(two.get() == End::broken);
        CHECK(barrier.broken());
        CHECK(meet(barrier) == End::broken);
        barrier.abort();
        barrier.reset();
        barrier.reset();
        CHECK_FALSE(barrier.broken());
        auto first = party(barrier);
        auto second = party(barrier);
        CHECK(meet(barrier) == End::passed);
        CHECK(first.get() == End::passed);
        CHECK(second.get() == End::passed);
    });
}

TEST_CASE("a reset sends those away who wait, and the barrier serves again", "[barrier]") {
    everywhere([] {
        weft::Barrier barrier{2};
        auto one = party(barrier);
        barrier.reset();
        CHECK_FALSE(barrier.broken());
        CHECK(barrier.waiting() == 0);
        auto two = party(barrier);
        CHECK(meet(barrier) == End::passed);
        CHECK(one.get() == End::broken);
        CHECK(two.get() == End::passed);
    });
}

TEST_CASE("who left a round by its deadline does not break the next", "[barrier][deadline]") {
    // The reset may come between the claim of the deadline and its coming to say so.
    on_seeds(100, [](std::uint64_t) {
        weft::Barrier barrier{2};
        const Deadline deadline = 1ms;
        auto resetter = weft::spawn([&] {
            weft::this_fiber::sleep_until(deadline);
            barrier.reset();
        });
        until_waiting(resetter);
        auto late = party(barrier, deadline);
        CHECK(late.get() == End::broken);
        resetter.join();
        CHECK_FALSE(barrier.broken());
        auto other = party(barrier);
        CHECK(meet(barrier) == End::passed);
        CHECK(other.get() == End::passed);
    });
}

TEST_CASE("an abort or a reset while the action runs breaks the round when it returns",
          "[barrier]") {
    for (const bool resets : {false, true}) {
        everywhere([&] {
            weft::Event go;
            weft::Barrier barrier{2, [&] { go.wait(); }};
            auto first = party(barrier);
            auto actor = party(barrier);
            auto next = party(barrier);  // for the next round
            if (resets) {
                barrier.reset();
            } else {
                barrier.abort();
                CHECK(next.get() == End::broken);
            }
            CHECK_FALSE(first.done());
            go.set();
            CHECK(first.get() == End::broken);
            CHECK(actor.get() == End::broken);
            CHECK(barrier.broken() == !resets);
            if (!resets) return;
            CHECK(meet(barrier) == End::passed);
            CHECK(next.get() == End::passed);
        });
    }
}

TEST_CASE("a broken barrier says what it is", "[barrier]") {
    weft::Barrier barrier{2};
    barrier.abort();
    CHECK_THROWS_WITH(barrier.wait(), "weft: the barrier is broken");
    CHECK_THROWS_AS(barrier.wait(), std::exception);
}

TEST_CASE("the action goes with the barrier", "[barrier]") {
    const auto token = std::make_shared<int>();
    std::optional<weft::Barrier> barrier;
    barrier.emplace(1, [token] {});
    CHECK(token.use_count() == 2);
    barrier.reset();
    CHECK(token.use_count() == 1);
}
