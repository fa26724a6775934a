// Why a wait ends, asked of the simplest thing to wait for.
#include "park/park.hpp"

#include "support/catch.hpp"
#include "support/hand_clock.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include <sched.h>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::test::also_migrating;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

enum class End { served, timed_out, cancelled };

// acquire(), told by how it ended.
End acquire(weft::Semaphore& units, Deadline deadline = Deadline::never()) {
    try {
        return units.acquire(deadline) ? End::served : End::timed_out;
    } catch (const weft::Cancelled&) {
        return End::cancelled;
    }
}

constexpr int rounds = weft::test::under_sanitizer ? 300 : 3000;

}  // namespace

TEST_CASE("a notification before the wait is kept for it", "[park]") {
    on_workers([] {
        weft::Semaphore units{0};
        units.release();
        CHECK(acquire(units) == End::served);
        CHECK_FALSE(units.try_acquire());
    });
}

TEST_CASE("waiters are served in order of arrival", "[park][order]") {
    also_migrating([] {
        weft::Semaphore units{0};
        weft::Semaphore served{0};
        std::vector<int> order;
        std::vector<int> expected;
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 50; ++i) {
            expected.push_back(i);
            fibers.push_back(weft::spawn([&, i] {
                units.acquire();
                order.push_back(i);
                served.release();
            }));
            until_waiting(fibers.back());
        }
        for (int i = 0; i < 50; ++i) {
            units.release();
            served.acquire();
        }
        CHECK(order == expected);
        weft::join_all(fibers);
    });
}

TEST_CASE("a deadline in the past takes what is there and does not wait", "[park][deadline]") {
    on_workers([] {
        weft::Semaphore units{1};
        CHECK(acquire(units, 0ms) == End::served);
        CHECK(acquire(units, 0ms) == End::timed_out);
        CHECK(acquire(units, -1h) == End::timed_out);
        units.release();
        CHECK(units.try_acquire());
    });
}

TEST_CASE("a wait ends at its deadline and not before", "[park][deadline]") {
    also_migrating([] {
        weft::Semaphore units{0};
        const Deadline deadline = 2ms;
        CHECK(acquire(units, deadline) == End::timed_out);
        CHECK(deadline.passed());
        units.release();
        CHECK(units.try_acquire());  // it is not spent on the one that left
    });
}

TEST_CASE("a notification is not spent on a waiter whose deadline passed", "[park][deadline]") {
    also_migrating([] {
        weft::Semaphore units{0};
        auto first = weft::spawn([&] { return acquire(units, 1ms); });
        until_waiting(first);
        auto second = weft::spawn([&] { return acquire(units); });
        until_waiting(second);
        CHECK(first.get() == End::timed_out);
        units.release();
        CHECK(second.get() == End::served);
    });
}

TEST_CASE("a waiter notified in time but run late was notified", "[park][deadline]") {
    // The clock, read when the waiter runs, would say that its deadline passed;
    // and the unit would be lost, with the second waiter waiting for ever.
    weft::run(
        [] {
            weft::test::HandClock clock;
            weft::Semaphore units{0};
            const Deadline deadline = 20ms;
            auto first = weft::spawn([&] {
                const End end = acquire(units, deadline);
                return std::pair{end, deadline.passed()};
            });
            auto second = weft::spawn([&] { return acquire(units); });
            until_waiting(first);
            until_waiting(second);
            units.release();
            clock.pass(deadline);
            const auto [end, late] = first.get();
            CHECK(late);
            CHECK(end == End::served);
            CHECK_FALSE(second.done());
            units.release();
            CHECK(second.get() == End::served);
        },
        {.workers = 1});
}

TEST_CASE("cancelling a waiter ends its wait and takes no unit", "[park][cancel]") {
    also_migrating([] {
        weft::Semaphore units{0};
        auto first = weft::spawn([&] { return acquire(units); });
        until_waiting(first);
        auto second = weft::spawn([&] { return acquire(units); });
        until_waiting(second);
        first.cancel();
        CHECK(first.get() == End::cancelled);
        units.release();
        CHECK(second.get() == End::served);
        CHECK_FALSE(units.try_acquire());
    });
}

TEST_CASE("a waiter cancelled before takes no unit, even if there is one", "[park][cancel]") {
    also_migrating([] {
        weft::Semaphore units{1};
        std::atomic<bool> begun{false};
        std::atomic<bool> cancelled{false};
        auto fiber = weft::spawn([&] {
            begun = true;
            while (!cancelled) weft::this_fiber::yield();
            return acquire(units);
        });
        // Not before it began, or it never would.
        while (!begun) weft::this_fiber::yield();
        fiber.cancel();
        cancelled = true;
        CHECK(fiber.get() == End::cancelled);
        CHECK(units.try_acquire());
    });
}

TEST_CASE("a shielded waiter is not cancelled, but served", "[park][cancel]") {
    also_migrating([] {
        weft::Semaphore units{0};
        auto fiber = weft::spawn([&] {
            std::optional<End> shielded;
            {
                const weft::this_fiber::Shield shield;
                shielded = acquire(units);
            }
            return std::pair{*shielded, acquire(units)};
        });
        until_waiting(fiber);
        fiber.cancel();
        CHECK_FALSE(fiber.join(1ms));
        units.release(2);
        CHECK(fiber.get() == std::pair{End::served, End::cancelled});
        CHECK(units.try_acquire());
    });
}

TEST_CASE("of cancel and notify one wins, and the unit is taken or there", "[park][cancel]") {
    also_migrating([] {
        int cancelled = 0;
        int wrong = 0;
        for (int i = 0; i < rounds; ++i) {
            weft::Semaphore units{0};
            auto waiter = weft::spawn([&] { return acquire(units); });
            if (i % 3 != 0) until_waiting(waiter);
            auto giver = weft::spawn([&] { units.release(); });
            waiter.cancel();
            giver.join();
            bool served = false;
            try {
                served = waiter.get() == End::served;
            } catch (const weft::Cancelled&) {
                // It never began.
            }
            cancelled += served ? 0 : 1;
            wrong += units.try_acquire() == served ? 1 : 0;
        }
        CHECK(wrong == 0);
        CHECK(cancelled > 0);
    });
}

TEST_CASE("a cancellation that comes as a wait begins is not missed", "[park][cancel][thread]") {
    weft::Runtime runtime{{.workers = 1}};
    for (int round = 0; round < 5 * rounds; ++round) {
        weft::Semaphore never{0};
        std::atomic<bool> about_to{false};
        auto waiter = runtime.spawn([&] {
            about_to = true;
            for (int turn = 0; turn < round % 1000; ++turn) about_to.load();
            never.acquire();
        });
        for (int turn = 0; !about_to; ++turn) {
            if (turn > 10'000) sched_yield();
        }
        waiter.cancel();
        waiter.join();  // nobody else would end it
    }
}

TEST_CASE("of deadline and notify one wins, and the unit is taken or there", "[park][deadline]") {
    also_migrating([] {
        int wrong = 0;
        for (int i = 0; i < rounds; ++i) {
            weft::Semaphore units{0};
            auto waiter =
                weft::spawn([&] { return acquire(units, std::chrono::microseconds{i % 50}); });
            auto giver = weft::spawn([&] { units.release(); });
            const bool served = waiter.get() == End::served;
            giver.join();
            wrong += units.try_acquire() == served ? 1 : 0;
        }
        CHECK(wrong == 0);
    });
}

TEST_CASE("a wait of deadline, cancel and notify at once ends once", "[park][cancel][deadline]") {
    also_migrating([] {
        int wrong = 0;
        for (int i = 0; i < rounds; ++i) {
            weft::Semaphore units{0};
            auto waiter =
                weft::spawn([&] { return acquire(units, std::chrono::microseconds{i % 50}); });
            auto giver = weft::spawn([&] { units.release(); });
            if (i % 2 == 0) weft::this_fiber::yield();
            waiter.cancel();
            giver.join();
            bool served = false;
            try {
                served = waiter.get() == End::served;
            } catch (const weft::Cancelled&) {
                // It never began.
            }
            wrong += units.try_acquire() == served ? 1 : 0;
        }
        CHECK(wrong == 0);
    });
}

TEST_CASE("who ends a wait too late does nothing to the next one", "[park]") {
    also_migrating([] {
        weft::Semaphore units{0};
        weft::Semaphore begun{0};
        weft::detail::Party* party = nullptr;
        auto waiter = weft::spawn([&] {
            party = &weft::detail::this_party();
            begun.release();
            return units.acquire() && units.acquire();
        });
        begun.acquire();
        until_waiting(waiter);
        const auto over = party->word().epoch();
        units.release();
        while (party->word().epoch() == over || !party->word().is_armed()) {
            weft::this_fiber::yield();
        }
        CHECK_FALSE(weft::detail::end_wait(*party, over, weft::detail::Wake::timed_out));
        CHECK(party->word().is_armed());
        units.release();
        CHECK(waiter.get());
    });
}

TEST_CASE("plain threads wait and wake, among themselves and with fibers", "[park][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Semaphore ping{0};
        weft::Semaphore pong{0};
        std::thread a{[&] {
            for (int i = 0; i < rounds; ++i) {
                ping.release();
                pong.acquire();
            }
        }};
        std::thread b{[&] {
            for (int i = 0; i < rounds; ++i) {
                ping.acquire();
                pong.release();
            }
        }};
        a.join();
        b.join();

        weft::Runtime runtime{{.workers = workers}};
        auto fiber = runtime.spawn([&] {
            for (int i = 0; i < rounds; ++i) {
                ping.acquire();
                pong.release();
            }
        });
        for (int i = 0; i < rounds; ++i) {
            ping.release();
            CHECK(acquire(pong, 1h) == End::served);
        }
        fiber.join();
        CHECK_FALSE(ping.try_acquire());
        CHECK_FALSE(pong.try_acquire());
    }
}

TEST_CASE("a plain thread's wait ends at its deadline", "[park][thread][deadline]") {
    weft::Semaphore units{0};
    const Deadline deadline = 2ms;
    CHECK(acquire(units, deadline) == End::timed_out);
    CHECK(deadline.passed());
    CHECK(acquire(units, 0ms) == End::timed_out);
    units.release();
    CHECK(acquire(units, 0ms) == End::served);
}

TEST_CASE("of a plain thread's deadline and a notification one wins", "[park][thread][deadline]") {
    weft::Semaphore units{0};
    weft::Semaphore turn{0};
    std::atomic<bool> over{false};
    std::thread giver{[&] {
        for (;;) {
            turn.acquire();
            if (over) return;
            units.release();
        }
    }};
    int wrong = 0;
    for (int i = 0; i < rounds / 10; ++i) {
        turn.release();
        const bool served = acquire(units, std::chrono::microseconds{i % 80}) == End::served;
        if (!served && !units.acquire(10s)) ++wrong;  // it comes, for it is not lost
        if (units.try_acquire()) ++wrong;
    }
    over = true;
    turn.release();
    giver.join();
    CHECK(wrong == 0);
}

TEST_CASE("what was written before a notification is seen after the wait", "[park]") {
    // For TSan, which knows no other edge between the two.
    also_migrating([] {
        for (int i = 0; i < rounds / 10; ++i) {
            int plain = 0;
            weft::Semaphore units{0};
            auto reader = weft::spawn([&] {
                units.acquire();
                return plain;
            });
            auto writer = weft::spawn([&] {
                plain = i;
                units.release();
            });
            CHECK(reader.get() == i);
            writer.join();
        }
    });
}

TEST_CASE("a sleep ends at its time, at once when that is past, and by a cancel",
          "[park][deadline]") {
    also_migrating([] {
        const Deadline deadline = 1ms;
        weft::this_fiber::sleep_until(deadline);
        CHECK(deadline.passed());
        weft::this_fiber::sleep_for(0ms);
        weft::this_fiber::sleep_for(-1h);
        auto fiber = weft::spawn([] {
            try {
                weft::this_fiber::sleep_until(Deadline::never());
            } catch (const weft::Cancelled&) {
                return true;
            }
            return false;
        });
        until_waiting(fiber);
        fiber.cancel();
        CHECK(fiber.get());
    });
}
