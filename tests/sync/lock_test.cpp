// What lock.hpp promises, each promise once.
#include <weft/lock.hpp>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/hand_clock.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/rlock.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_lock.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::test::also_migrating;
using weft::test::error_of;
using weft::test::is;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

constexpr int rounds = weft::test::under_sanitizer ? 200 : 2000;

}  // namespace

TEST_CASE("locking what the caller holds throws and it stays locked", "[lock]") {
    const auto body = [] {
        weft::Lock lock;
        lock.lock();
        CHECK(is(error_of([&] { lock.lock(); }), std::errc::resource_deadlock_would_occur));
        CHECK(
            is(error_of([&] { lock.try_lock_for(1h); }), std::errc::resource_deadlock_would_occur));
        CHECK_FALSE(lock.try_lock());
        CHECK(lock.locked());
        lock.unlock();
        CHECK_FALSE(lock.locked());
    };
    on_workers(body);
    body();  // and on a plain thread
}

TEST_CASE("unlocking what the caller does not hold throws and changes nothing", "[lock]") {
    on_workers([] {
        weft::Lock lock;
        CHECK(is(error_of([&] { lock.unlock(); }), std::errc::operation_not_permitted));
        lock.lock();
        auto stranger = weft::spawn([&] { return error_of([&] { lock.unlock(); }); });
        CHECK(is(stranger.get(), std::errc::operation_not_permitted));
        std::error_code on_thread;
        std::thread{[&] { on_thread = error_of([&] { lock.unlock(); }); }}.join();
        CHECK(is(on_thread, std::errc::operation_not_permitted));
        CHECK(lock.locked());
        lock.unlock();
    });
}

TEST_CASE("a stranger's unlock changes nothing for those who wait", "[lock]") {
    on_workers([] {
        weft::Lock lock;
        lock.lock();
        auto waiter = weft::spawn([&] {
            lock.lock();
            lock.unlock();
        });
        until_waiting(waiter);
        auto stranger = weft::spawn([&] { return error_of([&] { lock.unlock(); }); });
        CHECK(is(stranger.get(), std::errc::operation_not_permitted));
        CHECK_FALSE(waiter.done());
        lock.unlock();
        CHECK(waiter.join());
    });
}

TEST_CASE("a hundred waiters get the lock in order of arrival", "[lock][order]") {
    also_migrating([] {
        weft::Lock lock;
        std::vector<int> order;  // guarded by lock
        std::vector<int> expected;
        std::vector<weft::Fiber<>> fibers;
        lock.lock();
        for (int i = 0; i < 100; ++i) {
            expected.push_back(i);
            fibers.push_back(weft::spawn([&, i] {
                const std::lock_guard hold{lock};
                order.push_back(i);
                weft::this_fiber::yield();
            }));
            until_waiting(fibers.back());
        }
        lock.unlock();
        weft::join_all(fibers);
        CHECK(order == expected);
    });
}

TEST_CASE("nobody gets in between an unlock and the first waiter", "[lock][order]") {
    on_workers([] {
        weft::Lock lock;
        lock.lock();
        std::atomic<bool> let_go{false};
        auto waiter = weft::spawn([&] {
            lock.lock();
            while (!let_go) weft::this_fiber::yield();
            lock.unlock();
        });
        until_waiting(waiter);
        weft::this_fiber::yield();  // held while others could run
        lock.unlock();
        CHECK_FALSE(lock.try_lock());
        CHECK_FALSE(lock.try_lock_for(0ms));
        let_go = true;
        lock.lock();
        lock.unlock();
        waiter.join();
    });
}

TEST_CASE("a wait for a lock ends at its deadline, and the lock is not held then",
          "[lock][deadline]") {
    also_migrating([] {
        weft::Lock lock;
        lock.lock();
        auto waiter = weft::spawn([&] {
            const Deadline deadline = 1ms;
            const bool locked = lock.try_lock_until(deadline);
            return !locked && deadline.passed() &&
                   is(error_of([&] { lock.unlock(); }), std::errc::operation_not_permitted);
        });
        CHECK(waiter.get());
        auto past = weft::spawn([&] { return lock.try_lock_for(0ms) || lock.try_lock_for(-1h); });
        CHECK_FALSE(past.get());
        lock.unlock();
        CHECK_FALSE(lock.locked());
        CHECK(lock.try_lock_for(0ms));
        lock.unlock();
    });
}

TEST_CASE("the lock passes over a waiter whose deadline passed", "[lock][deadline]") {
    on_workers([] {
        weft::Lock lock;
        lock.lock();
        auto first = weft::spawn([&] { return lock.try_lock_for(1ms); });
        until_waiting(first);
        auto second = weft::spawn([&] {
            lock.lock();
            lock.unlock();
        });
        until_waiting(second);
        CHECK_FALSE(first.get());
        lock.unlock();
        CHECK(second.join());
    });
}

TEST_CASE("a lock handed over in time is held, though its new holder runs late",
          "[lock][deadline]") {
    weft::run(
        [] {
            weft::test::HandClock clock;
            weft::Lock lock;
            lock.lock();
            const Deadline deadline = 20ms;
            auto first = weft::spawn([&] {
                const bool locked = lock.try_lock_until(deadline);
                const bool late = deadline.passed();
                if (locked) lock.unlock();
                return std::pair{locked, late};
            });
            auto second = weft::spawn([&] {
                lock.lock();
                lock.unlock();
            });
            until_waiting(first);
            until_waiting(second);
            lock.unlock();
            clock.pass(deadline);
            CHECK(first.get() == std::pair{true, true});
            CHECK(second.join());
        },
        {.workers = 1});
}

TEST_CASE("waiting for a lock is not a cancellation point", "[lock][cancel]") {
    on_workers([] {
        weft::Lock lock;
        lock.lock();
        bool locked = false;
        auto waiter = weft::spawn([&] {
            lock.lock();
            locked = true;
            lock.unlock();
            weft::this_fiber::check_cancelled();
        });
        until_waiting(waiter);
        waiter.cancel();
        CHECK_FALSE(waiter.join(1ms));
        lock.unlock();
        CHECK_THROWS_AS(waiter.get(), weft::Cancelled);
        CHECK(locked);
    });
}

TEST_CASE("threads and fibers exclude each other", "[lock][thread]") {
    also_migrating([] {
        weft::Lock lock;
        long counter = 0;  // guarded by lock
        const auto work = [&](bool lingers) {
            for (int i = 0; i < rounds; ++i) {
                const std::lock_guard hold{lock};
                const long before = counter;
                if (lingers && i % 50 == 0) weft::this_fiber::yield();
                counter = before + 1;
            }
        };
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 6; ++i) fibers.push_back(weft::spawn(work, i % 2 == 0));
        std::thread one{work, true};
        std::thread two{work, false};
        weft::join_all(fibers);
        one.join();
        two.join();
        CHECK(counter == 8 * rounds);
        CHECK_FALSE(lock.locked());
    });
}

TEST_CASE("deadlines while others lock and unlock lose no lock", "[lock][deadline]") {
    also_migrating([] {
        weft::Lock lock;
        long counter = 0;  // guarded by lock
        std::vector<weft::Fiber<long>> fibers;
        for (int i = 0; i < 8; ++i) {
            fibers.push_back(weft::spawn([&, i] {
                long mine = 0;
                for (int turn = 0; turn < rounds / 4; ++turn) {
                    if (!lock.try_lock_for(std::chrono::microseconds{(turn * 7 + i) % 40}))
                        continue;
                    ++counter;
                    ++mine;
                    if (turn % 3 == 0) weft::this_fiber::yield();
                    lock.unlock();
                }
                return mine;
            }));
        }
        long sum = 0;
        for (auto& fiber : fibers) sum += fiber.get();
        CHECK(counter == sum);
        CHECK_FALSE(lock.locked());
        CHECK(lock.try_lock());
        lock.unlock();
    });
}

TEST_CASE("the guards of the standard library work", "[lock]") {
    on_workers([] {
        weft::Lock a;
        weft::Lock b;
        {
            const std::scoped_lock both{a, b};
            CHECK(a.locked());
            CHECK(b.locked());
        }
        std::unique_lock<weft::Lock> lock{a, std::defer_lock};
        CHECK(lock.try_lock());
        lock.unlock();
        CHECK(lock.try_lock_for(1ms));
        lock.unlock();
        CHECK(lock.try_lock_until(Deadline::Clock::now() + 1ms));
        CHECK(lock.owns_lock());
        std::unique_lock<weft::Lock> moved{std::move(lock)};
        CHECK(moved.owns_lock());
    });
}

TEST_CASE("scoped_lock of two in either order does not deadlock", "[lock]") {
    on_workers([] {
        weft::Lock a;
        weft::Lock b;
        long counter = 0;  // guarded by both
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 6; ++i) {
            fibers.push_back(weft::spawn([&, i] {
                for (int turn = 0; turn < 200; ++turn) {
                    if (i % 2 == 0) {
                        const std::scoped_lock both{a, b};
                        ++counter;
                    } else {
                        const std::scoped_lock both{b, a};
                        ++counter;
                    }
                    weft::this_fiber::yield();
                }
            }));
        }
        weft::join_all(fibers);
        CHECK(counter == 1200);
    });
}

TEST_CASE("require_held tells the holder from all others", "[lock]") {
    on_workers([] {
        weft::Lock lock;
        CHECK(is(error_of([&] { lock.require_held(); }), std::errc::operation_not_permitted));
        const std::lock_guard hold{lock};
        CHECK_NOTHROW(lock.require_held());
        auto other = weft::spawn([&] { return error_of([&] { lock.require_held(); }); });
        CHECK(is(other.get(), std::errc::operation_not_permitted));
    });
}

TEMPLATE_TEST_CASE("a lock takes the time points of any clock, as TimedLockable asks",
                   "[lock][deadline]", std::unique_lock<weft::Lock>, std::unique_lock<weft::RLock>,
                   std::unique_lock<weft::SharedLock>, std::shared_lock<weft::SharedLock>) {
    weft::run([] {
        typename TestType::mutex_type lock;
        TestType held{lock, std::defer_lock};
        using namespace std::chrono;
        CHECK(held.try_lock_until(system_clock::now() + 1h));
        held.unlock();
        CHECK(held.try_lock_until(time_point_cast<milliseconds>(steady_clock::now()) + 1h));
        const bool another =
            weft::spawn([&] {
                return lock.try_lock_until(system_clock::now()) || lock.try_lock_for(0ms);
            }).get();
        CHECK_FALSE(another);
    });
}

TEMPLATE_TEST_CASE("who takes a lock again and again starves nobody who waits", "[lock][order]",
                   weft::Lock, weft::RLock, weft::SharedLock) {
    also_migrating([] {
        TestType lock;
        std::atomic<bool> served{false};
        lock.lock();
        auto waiter = weft::spawn([&] {
            const std::lock_guard hold{lock};
            served = true;
        });
        until_waiting(waiter);
        while (!served) {  // without a yield: on one worker the lock itself must see to it
            lock.unlock();
            lock.lock();
        }
        lock.unlock();
        waiter.join();
    });
}
