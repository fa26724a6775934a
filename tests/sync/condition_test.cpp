// What condition.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/condition.hpp>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/rlock.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::test::also_migrating;
using weft::test::error_of;
using weft::test::is;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

using Guard = std::unique_lock<weft::Lock>;

template <class AnyLock>
bool holds(const AnyLock& lock) {
    return error_of([&] { lock.require_held(); }) == std::error_code{};
}

constexpr auto all = static_cast<std::size_t>(-1);

// Notifies with the lock.
template <class AnyLock>
void notify(AnyLock& lock, weft::Condition& condition, std::size_t count = 1) {
    const std::lock_guard hold{lock};
    condition.notify(count);
}

// `count` fibers that wait for one notification each, all of them waiting.
struct Crowd {
    Crowd(weft::Lock& lock, weft::Condition& condition, int count) {
        const auto queued = [&] {
            const std::lock_guard hold{lock};
            return arrived;
        };
        for (int i = 0; i < count; ++i) {
            fibers.push_back(weft::spawn([&, i] {
                Guard guard{lock};
                ++arrived;
                const bool notified = condition.wait(guard);
                order.push_back(i);
                return notified && holds(lock);
            }));
            while (queued() <= i) weft::this_fiber::yield();
        }
    }
    std::vector<weft::Fiber<bool>> fibers;
    // --- guarded by the lock ---
    int arrived = 0;
    std::vector<int> order;
};

}  // namespace

TEST_CASE("a wait without the lock throws and changes nothing", "[condition]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        CHECK_THROWS_AS(condition.wait(lock), std::system_error);
        CHECK_THROWS_AS(condition.wait(lock, 0ms), std::system_error);
        CHECK_THROWS_AS(condition.wait(lock, [] { return true; }), std::system_error);
        Guard unlocked{lock, std::defer_lock};
        CHECK_THROWS_AS(condition.wait(unlocked), std::system_error);
        weft::RLock rlock;
        CHECK_THROWS_AS(condition.wait(rlock), std::system_error);
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
        notify(lock, condition);
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
        notify(lock, condition);
        CHECK(crowd.fibers[0].get());
        CHECK(woken() == std::vector{0});
        notify(lock, condition, 0);
        notify(lock, condition, 3);
        for (std::size_t i = 1; i < 4; ++i) CHECK(crowd.fibers[i].get());
        CHECK(woken().size() == 4);
        CHECK_FALSE(crowd.fibers[4].done());
        notify(lock, condition, all);
        for (std::size_t i = 4; i < 10; ++i) CHECK(crowd.fibers[i].get());
        CHECK(woken().size() == 10);
    });
}

TEST_CASE("who waits again after a notification is behind those who wait still",
          "[condition][order]") {
    also_migrating([] {
        weft::Lock lock;
        weft::Condition condition;
        int returned = 0;  // guarded by lock
        const auto until_returned = [&](int count) {
            for (;;) {
                const std::lock_guard hold{lock};
                if (returned == count) return;
                weft::this_fiber::yield();
            }
        };
        auto again = weft::spawn([&] {
            const std::lock_guard hold{lock};
            for (int i = 0; i < 2; ++i) {
                condition.wait(lock);
                ++returned;
            }
        });
        until_waiting(again);
        Crowd crowd{lock, condition, 1};
        notify(lock, condition);
        until_returned(1);  // and waits again: the lock was free
        notify(lock, condition);
        CHECK(crowd.fibers[0].get());
        CHECK_FALSE(again.done());
        notify(lock, condition);
        again.join();
        CHECK(returned == 2);
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
        notify(lock, condition);
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
            notify(lock, condition);
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
            condition.notify_one();
        }
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
                notify(lock, condition, all);
                weft::this_fiber::yield();
            }
        });
        Guard guard{lock};
        CHECK_FALSE(condition.wait(
            guard, [] { return false; }, 3ms));
        over = true;
        guard.unlock();
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
        condition.notify_all();
    }
    waiter.join();
    Guard guard{lock};
    CHECK_FALSE(condition.wait(guard, 1ms));
    CHECK(holds(lock));
}

TEST_CASE("a notification without the lock of those who wait throws and wakes nobody",
          "[condition]") {
    also_migrating([] {
        weft::Lock lock;
        weft::Condition condition;
        Crowd crowd{lock, condition, 2};
        constexpr auto not_permitted = std::errc::operation_not_permitted;
        CHECK(is(error_of([&] { condition.notify_one(); }), not_permitted));
        CHECK(is(error_of([&] { condition.notify(0); }), not_permitted));
        {
            const std::lock_guard hold{lock};
            auto stranger = weft::spawn([&] { return error_of([&] { condition.notify_all(); }); });
            CHECK(is(stranger.get(), not_permitted));
            std::error_code on_thread;
            std::thread{[&] { on_thread = error_of([&] { condition.notify_all(); }); }}.join();
            CHECK(is(on_thread, not_permitted));
        }
        weft::Lock another;
        const std::lock_guard hold{another};
        CHECK(is(error_of([&] { condition.notify_all(); }), not_permitted));
        for (const auto& fiber : crowd.fibers) CHECK_FALSE(fiber.done());
        notify(lock, condition, all);
        for (auto& fiber : crowd.fibers) CHECK(fiber.get());
        CHECK_NOTHROW(condition.notify_all());  // nobody waits: nobody's lock
    });
}

TEST_CASE("all who wait at once wait with the same lock", "[condition]") {
    on_workers([] {
        weft::Lock lock;
        weft::Lock other;
        weft::RLock rlock;
        weft::Condition condition;
        const std::lock_guard hold_other{other};
        const std::lock_guard hold_rlock{rlock};
        {
            Crowd crowd{lock, condition, 1};
            CHECK_THROWS_AS(condition.wait(other), std::invalid_argument);
            CHECK_THROWS_AS(condition.wait(rlock, 0ms), std::invalid_argument);
            CHECK(holds(other));
            CHECK(rlock.depth() == 1);
            CHECK_FALSE(crowd.fibers[0].done());
            notify(lock, condition);
            CHECK(crowd.fibers[0].get());
        }
        CHECK_FALSE(condition.wait(other, 1ms));  // nobody waits: it is free again
        CHECK_FALSE(condition.wait(rlock, 1ms));
    });
}

TEST_CASE("a condition made with a lock belongs to it, also when nobody waits", "[condition]") {
    on_workers([] {
        weft::Lock lock;
        weft::Lock other;
        weft::Condition condition{lock};
        constexpr auto not_permitted = std::errc::operation_not_permitted;
        CHECK(is(error_of([&] { condition.notify_all(); }), not_permitted));
        CHECK(is(error_of([&] { condition.wait(0ms); }), not_permitted));
        CHECK(is(error_of([&] { condition.wait([] { return true; }); }), not_permitted));
        {
            const std::lock_guard hold{other};
            CHECK_THROWS_AS(condition.wait(other, 0ms), std::invalid_argument);
        }
        Guard guard{lock};
        CHECK_NOTHROW(condition.notify_all());
        CHECK_FALSE(condition.wait(1ms));
        CHECK_FALSE(condition.wait(guard, 1ms));
        CHECK_FALSE(condition.wait([] { return false; }, 1ms));
        CHECK(condition.wait([] { return true; }));
        CHECK(holds(lock));
    });
}

TEST_CASE("a condition made without a lock does not wait without one", "[condition]") {
    weft::Condition condition;
    CHECK_THROWS_AS(condition.wait(), std::logic_error);
    CHECK_THROWS_AS(condition.wait([] { return true; }), std::logic_error);
}

namespace {

// Waits at depth 3, by `wait(condition, lock)`, and tells the depth after it.
template <class Wait>
std::size_t depth_after(weft::RLock& lock, Wait&& wait) {
    std::unique_lock guard{lock};
    const std::lock_guard second{lock};
    const std::lock_guard third{lock};
    try {
        wait(guard);
    } catch (const weft::Cancelled&) {
    }
    return lock.depth();
}

}  // namespace

TEST_CASE("a wait releases an RLock whole and brings it back as deep as it was",
          "[condition][rlock]") {
    const auto body = [](auto& condition, auto& lock, auto&& wait) {
        for (const bool cancels : {false, true}) {
            auto fiber = weft::spawn([&] { return depth_after(lock, wait); });
            until_waiting(fiber);
            {
                const std::lock_guard hold{lock};  // it is free
                const std::lock_guard again{lock};
                CHECK(lock.depth() == 2);
                if (cancels) {
                    fiber.cancel();
                } else {
                    condition.notify_one();
                }
                CHECK_FALSE(fiber.join(1ms));
            }
            CHECK(fiber.get() == 3);
            CHECK_FALSE(lock.locked());
        }
        CHECK(depth_after(lock, [&](auto&) { condition.wait(lock, 1ms); }) == 3);
        CHECK(depth_after(lock, [&](auto&) { condition.wait(lock, 0ms); }) == 3);
        CHECK_FALSE(lock.locked());
    };
    also_migrating([&] {
        weft::RLock lock;
        weft::Condition free;
        body(free, lock, [&](auto&) { free.wait(lock); });
        body(free, lock, [&](auto& guard) { free.wait(guard); });
        weft::Condition bound{lock};
        body(bound, lock, [&](auto&) { bound.wait(); });
        bool asked = false;  // guarded by lock
        body(bound, lock, [&](auto&) { bound.wait([&] { return std::exchange(asked, !asked); }); });
    });
}

TEST_CASE("a notification passes over one whose deadline is passing", "[condition][deadline]") {
    // Its claim may be won before it comes to leave the queue.
    int late = 0;
    on_seeds(200, [&](std::uint64_t) {
        weft::Lock lock;
        weft::Condition condition;
        const auto wait = [&](Deadline deadline) {
            Guard guard{lock};
            return condition.wait(guard, deadline);
        };
        auto first = weft::spawn(wait, 1ms);
        until_waiting(first);
        auto second = weft::spawn(wait, Deadline::never());
        until_waiting(second);
        weft::this_fiber::sleep_for(1ms);
        notify(lock, condition);
        const bool first_served = first.get();
        late += first_served ? 0 : 1;
        if (first_served) notify(lock, condition);
        CHECK(second.get());
    });
    CHECK(late > 0);
}

TEST_CASE("a wait whose deadline has passed before lets others have the lock",
          "[condition][deadline]") {
    on_workers([] {
        weft::Lock lock;
        weft::Condition condition;
        bool seen = false;
        lock.lock();
        auto other = weft::spawn([&] {
            const std::lock_guard hold{lock};
            seen = true;
        });
        until_waiting(other);
        CHECK_FALSE(condition.wait(lock, 0ms));
        CHECK(seen);
        lock.unlock();
        other.join();
    });
}
