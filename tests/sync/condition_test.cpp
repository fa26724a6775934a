// What condition.hpp promises, each promise once.
#include <weft/condition.hpp>

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::test::Environment;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

using Guard = std::unique_lock<weft::Lock>;

bool holds(const weft::Lock& lock) {
    try {
        lock.require_held();
        return true;
    } catch (const std::system_error&) {
        return false;
    }
}

template <class Body>
void also_migrating(Body&& body) {
    on_workers(body);
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    on_workers(body);
}

// `count` fibers that wait for one notification each, all of them waiting.
struct Crowd {
    Crowd(weft::Lock& lock, weft::Condition& condition, int count) {
        for (int i = 0; i < count; ++i) {
            fibers.push_back(weft::spawn([&, i] {
                Guard guard{lock};
                const bool notified = condition.wait(guard);
                order.push_back(i);
                return notified && holds(lock);
            }));
            until_waiting(fibers.back());
        }
    }
    std::vector<weft::Fiber<bool>> fibers;
    std::vector<int> order;  // guarded by the lock
};

}  // namespace

TEST_CASE("a wait without the lock throws and changes nothing", "[condition]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        CHECK_THROWS_AS(condition.wait(lock), std::system_error);
        CHECK_THROWS_AS(condition.wait(lock, 0ms), std::system_error);
        CHECK_FALSE(lock.locked());
        auto holder = weft::spawn([&] {
            const std::lock_guard hold{lock};
            auto stranger = weft::spawn([&] {
                try {
                    condition.wait(lock);
                } catch (const std::system_error& error) {
                    return error.code() == std::errc::operation_not_permitted;
                }
                return false;
            });
            return stranger.get() && holds(lock);
        });
        CHECK(holder.get());
    });
}

TEST_CASE("a wait lets the lock go and holds it again when it was notified", "[condition]") {
    also_migrating([] {
        weft::Lock lock;
        weft::Condition condition;
        Crowd crowd{lock, condition, 1};
        CHECK_FALSE(lock.locked());
        condition.notify_one();
        CHECK(crowd.fibers[0].get());
        CHECK_FALSE(lock.locked());
    });
}

TEST_CASE("a wait holds the lock again when its deadline passed", "[condition][deadline]") {
    also_migrating([] {
        weft::Lock lock;
        weft::Condition condition;
        Guard guard{lock};
        const Deadline deadline = 1ms;
        CHECK_FALSE(condition.wait(guard, deadline));
        CHECK(deadline.passed());
        CHECK(holds(lock));
        CHECK_FALSE(condition.wait(guard, 0ms));
        CHECK(holds(lock));
    });
}

TEST_CASE("a wait past its deadline holds the lock, though others had it meanwhile",
          "[condition][deadline]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        std::atomic<bool> over{false};
        auto other = weft::spawn([&] {
            while (!over) {
                const std::lock_guard hold{lock};
                weft::this_fiber::yield();
            }
        });
        for (int i = 0; i < 20; ++i) {
            Guard guard{lock};
            CHECK_FALSE(condition.wait(guard, 100us));
            CHECK(holds(lock));
        }
        over = true;
        other.join();
    });
}

TEST_CASE("a cancelled wait throws with the lock held", "[condition][cancel]") {
    also_migrating([] {
        weft::Lock lock;
        weft::Condition condition;
        auto fiber = weft::spawn([&] {
            Guard guard{lock};
            try {
                condition.wait(guard);
            } catch (const weft::Cancelled&) {
                return holds(lock);
            }
            return false;
        });
        until_waiting(fiber);
        Guard guard{lock};
        fiber.cancel();
        CHECK_FALSE(fiber.join(1ms));  // it waits for the lock first
        guard.unlock();
        CHECK(fiber.get());
        CHECK_FALSE(lock.locked());
    });
}

TEST_CASE("a wait cancelled before throws with the lock held and never let go",
          "[condition][cancel]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        weft::Semaphore begun{0};
        std::atomic<bool> cancelled{false};
        auto fiber = weft::spawn([&] {
            Guard guard{lock};
            begun.release();
            while (!cancelled) weft::this_fiber::yield();
            try {
                condition.wait(guard);
            } catch (const weft::Cancelled&) {
                return holds(lock);
            }
            return false;
        });
        begun.acquire();
        fiber.cancel();
        cancelled = true;
        CHECK(fiber.get());
    });
}

TEST_CASE("notify wakes as many as it says, in order of arrival", "[condition][order]") {
    also_migrating([] {
        weft::Lock lock;
        weft::Condition condition;
        condition.notify_all();  // nobody there: nothing is kept
        Crowd crowd{lock, condition, 10};
        const auto woken = [&] {
            const std::lock_guard hold{lock};
            return crowd.order;
        };
        CHECK(woken().empty());
        condition.notify_one();
        CHECK(crowd.fibers[0].get());
        CHECK(woken() == std::vector{0});
        condition.notify(0);
        condition.notify(3);
        for (std::size_t i = 1; i < 4; ++i) CHECK(crowd.fibers[i].get());
        CHECK(woken().size() == 4);
        CHECK_FALSE(crowd.fibers[4].done());
        condition.notify_all();
        for (std::size_t i = 4; i < 10; ++i) CHECK(crowd.fibers[i].get());
        CHECK(woken().size() == 10);
    });
}

TEST_CASE("a notification passes over those who have left", "[condition][cancel]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        auto wait = [&](Deadline deadline) {
            Guard guard{lock};
            return condition.wait(guard, deadline);
        };
        auto late = weft::spawn(wait, 1ms);
        until_waiting(late);
        auto cancelled = weft::spawn(wait, Deadline::never());
        until_waiting(cancelled);
        auto staying = weft::spawn(wait, Deadline::never());
        until_waiting(staying);
        cancelled.cancel();
        CHECK_FALSE(late.get());
        CHECK_THROWS_AS(cancelled.get(), weft::Cancelled);
        condition.notify_one();
        CHECK(staying.get());
    });
}

TEST_CASE("a predicate is asked with the lock held, at once and after each notification",
          "[condition][predicate]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        int asked = 0;  // guarded by lock
        bool ready = false;
        bool always_held = true;
        auto fiber = weft::spawn([&] {
            Guard guard{lock};
            return condition.wait(guard, [&] {
                ++asked;
                always_held = always_held && holds(lock);
                return ready;
            });
        });
        until_waiting(fiber);
        for (int i = 0; i < 3; ++i) {
            condition.notify_one();
            for (;;) {
                const std::lock_guard hold{lock};
                if (asked == i + 2) break;
                weft::this_fiber::yield();
            }
            until_waiting(fiber);
        }
        {
            const std::lock_guard hold{lock};
            ready = true;
        }
        condition.notify_one();
        CHECK(fiber.get());
        CHECK(asked == 5);
        CHECK(always_held);
    });
}

TEST_CASE("a predicate that holds is no wait, and one at the deadline counts",
          "[condition][predicate]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        Guard guard{lock};
        CHECK(condition.wait(
            guard, [] { return true; }, 0ms));
        CHECK(condition.wait(lock, [] { return true; }));
        CHECK_FALSE(condition.wait(
            guard, [] { return false; }, 1ms));
        int asked = 0;
        CHECK(condition.wait(
            guard, [&] { return ++asked > 1; }, 1ms));
        CHECK(holds(lock));
    });
}

TEST_CASE("the deadline of a wait with a predicate is not begun anew",
          "[condition][predicate][deadline]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        std::atomic<bool> over{false};
        auto notifier = weft::spawn([&] {
            while (!over) {
                condition.notify_all();
                weft::this_fiber::yield();
            }
        });
        Guard guard{lock};
        CHECK_FALSE(condition.wait(
            guard, [] { return false; }, 3ms));
        over = true;
        notifier.join();
    });
}

TEST_CASE("a queue of one, made of a lock and two conditions, loses nothing",
          "[condition][thread]") {
    also_migrating([] {
        weft::Lock lock;
        weft::Condition not_full;
        weft::Condition not_empty;
        std::optional<int> slot;  // guarded by lock
        constexpr int items = weft::test::under_sanitizer ? 200 : 2000;
        const auto put = [&](int value) {
            Guard guard{lock};
            not_full.wait(guard, [&] { return !slot; });
            slot = value;
            not_empty.notify_one();
        };
        const auto get = [&] {
            Guard guard{lock};
            not_empty.wait(guard, [&] { return slot.has_value(); });
            const int value = *slot;
            slot.reset();
            not_full.notify_one();
            return value;
        };
        const auto produce = [&] {
            for (int i = 1; i <= items; ++i) put(i);
        };
        const auto consume = [&] {
            long sum = 0;
            for (int i = 1; i <= items; ++i) sum += get();
            return sum;
        };
        auto a = weft::spawn(produce);
        auto b = weft::spawn(produce);
        std::thread c{produce};
        auto x = weft::spawn(consume);
        auto y = weft::spawn(consume);
        long z = 0;
        std::thread thread{[&] { z = consume(); }};
        long sum = x.get() + y.get();
        a.join();
        b.join();
        c.join();
        thread.join();
        sum += z;
        CHECK(sum == 3L * items * (items + 1) / 2);
        CHECK_FALSE(slot);
    });
}

TEST_CASE("plain threads wait on conditions", "[condition][thread]") {
    weft::Lock lock;
    weft::Condition condition;
    bool ready = false;
    std::thread waiter{[&] {
        Guard guard{lock};
        condition.wait(guard, [&] { return ready; });
    }};
    {
        const std::lock_guard hold{lock};
        ready = true;
    }
    condition.notify_all();
    waiter.join();
    Guard guard{lock};
    CHECK_FALSE(condition.wait(guard, 1ms));
    CHECK(holds(lock));
}
