#include "support/hooked.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

using namespace weft;
using namespace std::chrono_literals;
using test::on_hooked_seeds;
using test::on_hooked_workers;
using test::until_doing;

namespace {

constexpr const char* reading = "pthread_rwlock_rdlock";
constexpr const char* writing = "pthread_rwlock_wrlock";

}  // namespace

TEST_CASE("a std::shared_mutex lets in readers or a writer, though they suspend", "[hooks]") {
    on_hooked_seeds([] {
        std::shared_mutex mutex;
        std::atomic<int> readers{0};  // several are in at once
        int writers = 0;
        std::atomic<int> wrong{0};
        std::vector<Fiber<>> fibers;
        for (int i = 0; i < 6; ++i) {
            fibers.push_back(spawn([&] {
                for (int round = 0; round < 5; ++round) {
                    const std::shared_lock hold{mutex};
                    ++readers;
                    this_fiber::yield();
                    wrong += writers == 0 ? 0 : 1;
                    --readers;
                }
            }));
            if (i % 2 != 0) continue;
            fibers.push_back(spawn([&] {
                for (int round = 0; round < 5; ++round) {
                    const std::lock_guard hold{mutex};
                    ++writers;
                    this_fiber::yield();
                    wrong += writers == 1 && readers == 0 ? 0 : 1;
                    --writers;
                }
            }));
        }
        join_all(fibers);
        CHECK(wrong == 0);
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("all readers come in when the writer goes, and may wait for each other", "[hooks]") {
    on_hooked_seeds([] {
        std::shared_mutex mutex;
        mutex.lock();
        std::atomic<int> inside{0};
        std::vector<Fiber<>> readers;
        for (int i = 0; i < 3; ++i) {
            readers.push_back(spawn([&] {
                const std::shared_lock hold{mutex};
                ++inside;
                while (inside < 3) this_fiber::yield();
            }));
        }
        for (auto& each : readers) until_doing(each, reading);
        mutex.unlock();
        join_all(readers);
        CHECK(inside == 3);
    });
}

TEST_CASE("fibers wait for a thread's read-write lock, and threads for theirs", "[hooks]") {
    on_hooked_workers([] {
        std::shared_mutex mutex;
        Event locked;
        Event unlock;
        std::thread thread{[&] {
            mutex.lock();
            locked.set();
            unlock.wait();
            mutex.unlock();
            mutex.lock_shared();
            mutex.unlock_shared();
            mutex.lock();
            mutex.unlock();
        }};
        locked.wait();
        auto reader = spawn([&] {
            const std::shared_lock hold{mutex};
            this_fiber::yield();
        });
        auto writer = spawn([&] {
            const std::lock_guard hold{mutex};
            this_fiber::yield();
        });
        until_doing(reader, reading);
        until_doing(writer, writing);
        unlock.set();
        reader.join();
        writer.join();
        thread.join();
    });
}

TEST_CASE("waiting for a read-write lock ends at its moment", "[hooks]") {
    on_hooked_workers([] {
        std::shared_timed_mutex mutex;
        mutex.lock();
        bool got[4]{true, true, true, true};
        spawn([&] {
            got[0] = mutex.try_lock_for(1ms);
            got[1] = mutex.try_lock_shared_for(1ms);
            got[2] = mutex.try_lock();
            got[3] = mutex.try_lock_shared_until(std::chrono::system_clock::now() + 1ms);
        }).join();
        CHECK(std::none_of(std::begin(got), std::end(got), [](bool it) { return it; }));
        auto patient = spawn([&] { return mutex.try_lock_for(1h); });
        until_doing(patient, writing);
        mutex.unlock();
        CHECK(patient.get());
        CHECK_FALSE(mutex.try_lock_shared());
        mutex.unlock();
    });
}

TEST_CASE("a writer that locks again is told so, another fiber of its worker waits", "[hooks]") {
    on_hooked_workers([] {
        pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
        REQUIRE(pthread_rwlock_wrlock(&lock) == 0);
        CHECK(pthread_rwlock_wrlock(&lock) == EDEADLK);
        CHECK(pthread_rwlock_rdlock(&lock) == EDEADLK);
        auto other = spawn([&] { return pthread_rwlock_rdlock(&lock); });
        until_doing(other, reading);
        CHECK(pthread_rwlock_unlock(&lock) == 0);
        CHECK(other.get() == 0);
        CHECK(pthread_rwlock_rdlock(&lock) == 0);
        CHECK(pthread_rwlock_trywrlock(&lock) == EBUSY);
        CHECK(pthread_rwlock_unlock(&lock) == 0);
        CHECK(pthread_rwlock_unlock(&lock) == 0);
        CHECK(pthread_rwlock_destroy(&lock) == 0);
    });
}
