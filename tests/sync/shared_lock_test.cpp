// What shared_lock.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/shared_lock.hpp>

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/deadlock.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::test::also_migrating;
using weft::test::error_of;
using weft::test::is;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

constexpr int rounds = weft::test::under_sanitizer ? 100 : 1000;

// Reads while the others read: all must be in at once for it to end.
weft::Fiber<> reader_among(weft::SharedLock& lock, weft::Latch& all) {
    return weft::spawn([&] {
        const std::shared_lock hold{lock};
        all.arrive_and_wait();
    });
}

bool other_can_read(weft::SharedLock& lock) {
    return weft::spawn([&] { return std::shared_lock{lock, std::try_to_lock}.owns_lock(); }).get();
}

bool other_can_write(weft::SharedLock& lock) {
    return weft::spawn([&] { return std::unique_lock{lock, std::try_to_lock}.owns_lock(); }).get();
}

}  // namespace

TEST_CASE("readers share, a writer is alone", "[shared_lock]") {
    on_workers([] {
        weft::SharedLock lock;
        {
            const std::shared_lock reading{lock};
            CHECK(other_can_read(lock));
            CHECK_FALSE(other_can_write(lock));
        }
        {
            const std::unique_lock writing{lock};
            CHECK_FALSE(other_can_read(lock));
            CHECK_FALSE(other_can_write(lock));
        }
        CHECK(other_can_write(lock));
    });
}

TEST_CASE("a reader that comes after a waiting writer waits behind it", "[shared_lock][order]") {
    also_migrating([] {
        weft::SharedLock lock;
        int written = 0;  // guarded by lock
        lock.lock_shared();
        auto writer = weft::spawn([&] {
            const std::unique_lock hold{lock};
            ++written;
        });
        until_waiting(writer);
        CHECK_FALSE(lock.try_lock_shared());
        CHECK_FALSE(lock.try_lock_shared_for(1ms));
        auto reader = weft::spawn([&] {
            const std::shared_lock hold{lock};
            return written;
        });
        until_waiting(reader);
        lock.unlock_shared();
        CHECK(reader.get() == 1);
        writer.join();
    });
}

TEST_CASE("readers that wait one after another are let in together, up to the next writer",
          "[shared_lock][order]") {
    also_migrating([] {
        weft::SharedLock lock;
        lock.lock();
        weft::Latch first{3};
        weft::Latch second{2};
        std::vector<weft::Fiber<>> fibers;
        const auto add = [&](weft::Fiber<> fiber) {
            until_waiting(fiber);
            fibers.push_back(std::move(fiber));
        };
        bool first_read = false;  // guarded by lock
        for (int i = 0; i < 3; ++i) add(reader_among(lock, first));
        add(weft::spawn([&] {
            const std::unique_lock hold{lock};
            first_read = first.try_wait() && !second.try_wait();
        }));
        for (int i = 0; i < 2; ++i) add(reader_among(lock, second));
        lock.unlock();
        weft::join_all(fibers);
        CHECK(first_read);
    });
}

TEST_CASE("a writer whose deadline passes lets the readers behind it in at once",
          "[shared_lock][deadline]") {
    const auto body = [] {
        weft::SharedLock lock;
        lock.lock_shared();
        auto writer = weft::spawn([&] { return lock.try_lock_for(1ms); });
        until_waiting(writer);
        weft::Latch all{2};
        auto one = reader_among(lock, all);
        until_waiting(one);
        auto two = reader_among(lock, all);
        CHECK_FALSE(writer.get());
        one.join();  // while the first reader still reads
        two.join();
        CHECK_FALSE(other_can_write(lock));
        lock.unlock_shared();
        CHECK(other_can_write(lock));
    };
    also_migrating(body);
    on_seeds(100, [&](std::uint64_t) { body(); });
}

TEST_CASE("a writer whose deadline passes lets nobody in past another writer",
          "[shared_lock][deadline]") {
    also_migrating([] {
        weft::SharedLock lock;
        lock.lock_shared();
        auto late = weft::spawn([&] { return lock.try_lock_for(1ms); });
        until_waiting(late);
        int written = 0;  // guarded by lock
        auto writer = weft::spawn([&] {
            const std::unique_lock hold{lock};
            ++written;
        });
        until_waiting(writer);
        auto reader = weft::spawn([&] {
            const std::shared_lock hold{lock};
            return written;
        });
        until_waiting(reader);
        CHECK_FALSE(late.get());
        CHECK_FALSE(reader.join(1ms));
        lock.unlock_shared();
        CHECK(reader.get() == 1);
        writer.join();
    });
}

TEST_CASE("locking what the caller holds to write throws and it stays locked", "[shared_lock]") {
    const auto body = [] {
        weft::SharedLock lock;
        lock.lock();
        constexpr auto deadlock = std::errc::resource_deadlock_would_occur;
        CHECK(is(error_of([&] { lock.lock(); }), deadlock));
        CHECK(is(error_of([&] { lock.try_lock_for(1h); }), deadlock));
        CHECK(is(error_of([&] { lock.lock_shared(); }), deadlock));
        CHECK(is(error_of([&] { lock.try_lock_shared_for(1h); }), deadlock));
        CHECK_FALSE(lock.try_lock());
        CHECK_FALSE(lock.try_lock_shared());
        lock.unlock();
        CHECK(lock.try_lock());
        lock.unlock();
    };
    on_workers(body);
    body();  // and on a plain thread
}

TEST_CASE("unlocking what is not held throws and changes nothing", "[shared_lock]") {
    on_workers([] {
        weft::SharedLock lock;
        constexpr auto not_permitted = std::errc::operation_not_permitted;
        CHECK(is(error_of([&] { lock.unlock(); }), not_permitted));
        CHECK(is(error_of([&] { lock.unlock_shared(); }), not_permitted));
        lock.lock();
        auto stranger = weft::spawn([&] { return error_of([&] { lock.unlock(); }); });
        CHECK(is(stranger.get(), not_permitted));
        CHECK(is(error_of([&] { lock.unlock_shared(); }), not_permitted));
        CHECK_FALSE(other_can_read(lock));
        lock.unlock();
        lock.lock_shared();
        CHECK(is(error_of([&] { lock.unlock(); }), not_permitted));
        CHECK_FALSE(other_can_write(lock));
        lock.unlock_shared();
        CHECK(is(error_of([&] { lock.unlock_shared(); }), not_permitted));
    });
}

TEST_CASE("readers and writers, fibers and threads, with deadlines, never meet",
          "[shared_lock][thread]") {
    also_migrating([] {
        weft::SharedLock lock;
        long value = 0;  // guarded by lock
        std::atomic<long> written{0};
        std::atomic<int> inside{0};  // readers, or writers * 1000
        std::atomic<int> wrong{0};
        const auto work = [&](int seed) {
            for (int i = 0; i < rounds; ++i) {
                const std::chrono::microseconds patience{(i * 7 + seed) % 50};
                if ((i + seed) % 4 == 0) {
                    const std::unique_lock hold{lock, patience};
                    if (!hold) continue;
                    if (inside.fetch_add(1000) != 0) ++wrong;
                    if (i % 3 == 0) weft::this_fiber::yield();
                    ++value;
                    ++written;
                    inside -= 1000;
                } else {
                    const std::shared_lock hold{lock, patience};
                    if (!hold) continue;
                    if (inside.fetch_add(1) >= 1000) ++wrong;
                    const long before = value;
                    if (i % 3 == 0) weft::this_fiber::yield();
                    if (value != before) ++wrong;
                    --inside;
                }
            }
        };
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 6; ++i) fibers.push_back(weft::spawn(work, i));
        std::thread one{work, 6};
        std::thread two{work, 7};
        weft::join_all(fibers);
        one.join();
        two.join();
        CHECK(wrong == 0);
        CHECK(value == written);
        CHECK(other_can_write(lock));  // nothing was left behind
    });
}

TEST_CASE("a writer among busy readers gets its turn", "[shared_lock][order]") {
    on_workers([] {
        weft::SharedLock lock;
        std::atomic<bool> over{false};
        std::vector<weft::Fiber<>> readers;
        for (int i = 0; i < 4; ++i) {
            readers.push_back(weft::spawn([&] {
                while (!over) {
                    const std::shared_lock hold{lock};
                    weft::this_fiber::yield();
                }
            }));
        }
        for (int i = 0; i < 50; ++i) {
            const std::unique_lock hold{lock};
            weft::this_fiber::yield();
        }
        over = true;
        weft::join_all(readers);
    });
}

TEST_CASE("who locks to write what it holds to read is told that nobody can go on",
          "[shared_lock][deadlock]") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        weft::SharedLock lock;
        bool told = false;
        const auto upgrade = [&] {
            const std::shared_lock reading{lock};
            try {
                lock.lock();
            } catch (const weft::Deadlock&) {
                told = true;
            }
            CHECK(other_can_read(lock));
            CHECK_FALSE(other_can_write(lock));
        };
        CHECK_THROWS_AS(weft::simulate(seed, upgrade), weft::Deadlock);
        CHECK(told);
    }
}
