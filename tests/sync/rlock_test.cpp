// What rlock.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/rlock.hpp>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/fiber.hpp>
#include <weft/this_fiber.hpp>

#include <mutex>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::test::also_migrating;
using weft::test::error_of;
using weft::test::is;
using weft::test::on_workers;
using weft::test::until_waiting;

TEST_CASE("an RLock is its holder's until unlocked as often as locked", "[rlock]") {
    const auto body = [] {
        weft::RLock lock;
        CHECK(lock.depth() == 0);
        lock.lock();
        lock.lock();
        CHECK(lock.try_lock());
        CHECK(lock.try_lock_for(0ms));
        CHECK(lock.try_lock_until(Deadline::never()));
        for (std::size_t depth = 5; depth > 0; --depth) {
            CHECK(lock.depth() == depth);
            CHECK(lock.locked());
            bool another = true;
            std::thread{[&] { another = lock.try_lock(); }}.join();
            CHECK_FALSE(another);
            lock.unlock();
        }
        CHECK(lock.depth() == 0);
        CHECK_FALSE(lock.locked());
    };
    on_workers(body);
    body();  // and on a plain thread
}

TEST_CASE("an RLock is handed over at the last unlock, and not before", "[rlock]") {
    also_migrating([] {
        weft::RLock lock;
        lock.lock();
        lock.lock();
        auto waiter = weft::spawn([&] {
            const std::lock_guard hold{lock};
            return lock.depth();
        });
        until_waiting(waiter);
        lock.unlock();
        CHECK_FALSE(waiter.join(1ms));
        lock.unlock();
        CHECK(waiter.get() == 1);
    });
}

TEST_CASE("unlocking an RLock that the caller does not hold throws and changes nothing",
          "[rlock]") {
    on_workers([] {
        weft::RLock lock;
        CHECK(is(error_of([&] { lock.unlock(); }), std::errc::operation_not_permitted));
        CHECK(is(error_of([&] { lock.require_held(); }), std::errc::operation_not_permitted));
        lock.lock();
        lock.lock();
        auto stranger = weft::spawn([&] {
            return lock.depth() == 0 &&
                   is(error_of([&] { lock.unlock(); }), std::errc::operation_not_permitted);
        });
        CHECK(stranger.get());
        CHECK(lock.depth() == 2);
        CHECK_NOTHROW(lock.require_held());
        lock.unlock();
        lock.unlock();
        CHECK(is(error_of([&] { lock.unlock(); }), std::errc::operation_not_permitted));
    });
}

TEST_CASE("fibers and threads that lock an RLock again exclude each other", "[rlock][thread]") {
    constexpr int rounds = weft::test::under_sanitizer ? 200 : 2000;
    also_migrating([] {
        weft::RLock lock;
        long counter = 0;  // guarded by lock
        const auto work = [&] {
            for (int i = 0; i < rounds; ++i) {
                const std::lock_guard outer{lock};
                const long before = counter;
                const std::lock_guard inner{lock};
                if (i % 50 == 0) weft::this_fiber::yield();
                counter = before + 1;
            }
        };
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 4; ++i) fibers.push_back(weft::spawn(work));
        std::thread thread{work};
        weft::join_all(fibers);
        thread.join();
        CHECK(counter == 5 * rounds);
        CHECK_FALSE(lock.locked());
    });
}
