#include "support/hooked.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>

#include <cerrno>
#include <mutex>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

using namespace weft;
using namespace std::chrono_literals;
using test::on_hooked_seeds;
using test::on_hooked_workers;
using test::until_doing;

namespace {

constexpr const char* locking = "pthread_mutex_lock";

/// A mutex of a kind, protocol and robustness.
struct Mutex {
    explicit Mutex(int type, int protocol = PTHREAD_PRIO_NONE, int robust = PTHREAD_MUTEX_STALLED) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_settype(&attributes, type);
        pthread_mutexattr_setprotocol(&attributes, protocol);
        pthread_mutexattr_setrobust(&attributes, robust);
        pthread_mutex_init(&mutex, &attributes);
        pthread_mutexattr_destroy(&attributes);
    }
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;
    ~Mutex() { pthread_mutex_destroy(&mutex); }

    int lock() { return pthread_mutex_lock(&mutex); }
    int try_lock() { return pthread_mutex_trylock(&mutex); }
    int unlock() { return pthread_mutex_unlock(&mutex); }

    pthread_mutex_t mutex;
};

/// What the calling thread gets from `call`, on a thread of its own.
template <class Call>
int on_thread(Call&& call) {
    int result = -1;
    std::thread{[&] { result = call(); }}.join();
    return result;
}

timespec in(clockid_t clock, std::chrono::nanoseconds time) {
    timespec at{};
    clock_gettime(clock, &at);
    const auto ns = time.count() + at.tv_nsec;
    return {at.tv_sec + ns / 1'000'000'000, ns % 1'000'000'000};
}

/// Runs `count` fibers that enter `section()` between lock() and unlock(), and suspend there.
template <class Lock>
void check_exclusion(Lock& lock, int count) {
    int inside = 0;
    int most = 0;
    int entered = 0;
    std::vector<Fiber<>> fibers;
    for (int i = 0; i < count; ++i) {
        fibers.push_back(spawn([&] {
            for (int round = 0; round < 5; ++round) {
                lock.lock();
                most = std::max(most, ++inside);
                this_fiber::yield();
                ++entered;
                --inside;
                lock.unlock();
            }
        }));
    }
    join_all(fibers);
    CHECK(most == 1);
    CHECK(entered == 5 * count);
}

}  // namespace

TEST_CASE("one fiber at a time is in a std::mutex, though it suspends there", "[hooks]") {
    on_hooked_seeds([] {
        std::mutex mutex;
        check_exclusion(mutex, 10);
    });
}

TEST_CASE("a std::mutex is held across usleep() by fibers of one worker", "[hooks]") {
    on_hooked_workers([] {
        std::mutex mutex;
        bool inside = false;
        int overlaps = 0;
        std::vector<Fiber<>> fibers;
        for (int i = 0; i < 5; ++i) {
            fibers.push_back(spawn([&] {
                const std::lock_guard hold{mutex};
                overlaps += std::exchange(inside, true) ? 1 : 0;
                usleep(100);
                inside = false;
            }));
        }
        join_all(fibers);
        CHECK(overlaps == 0);
    });
}

TEST_CASE("one fiber at a time is in a std::recursive_mutex, as often as it likes", "[hooks]") {
    on_hooked_seeds([] {
        std::recursive_mutex mutex;
        check_exclusion(mutex, 10);
        mutex.lock();
        mutex.lock();
        CHECK(mutex.try_lock());
        bool admitted = true;
        spawn([&] { admitted = mutex.try_lock(); }).join();
        CHECK_FALSE(admitted);
        mutex.unlock();
        mutex.unlock();
        spawn([&] { admitted = mutex.try_lock(); }).join();
        CHECK_FALSE(admitted);
        mutex.unlock();
        check_exclusion(mutex, 3);
    });
}

TEST_CASE("an error-checking mutex knows the fiber that holds it", "[hooks]") {
    on_hooked_workers([] {
        Mutex mutex{PTHREAD_MUTEX_ERRORCHECK};
        CHECK(mutex.unlock() == EPERM);
        REQUIRE(mutex.lock() == 0);
        CHECK(mutex.lock() == EDEADLK);
        CHECK(mutex.try_lock() == EBUSY);
        int by_other = 0;
        spawn([&] { by_other = mutex.unlock(); }).join();
        CHECK(by_other == EPERM);
        CHECK(on_thread([&] { return mutex.unlock(); }) == EPERM);
        CHECK(on_thread([&] { return mutex.try_lock(); }) == EBUSY);
        CHECK(mutex.unlock() == 0);
        CHECK(on_thread([&] { return mutex.lock() | mutex.unlock(); }) == 0);
    });
}

TEST_CASE("a fiber waits for a thread's mutex, and a thread for a fiber's", "[hooks]") {
    for (const int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
                           PTHREAD_MUTEX_ADAPTIVE_NP}) {
        INFO("type: " << type);
        on_hooked_workers([&] {
            Mutex mutex{type};
            Event locked;
            Event unlock;
            std::thread thread{[&] {
                mutex.lock();
                locked.set();
                unlock.wait();
                mutex.unlock();
                // Until the fiber lets it go.
                mutex.lock();
                mutex.unlock();
            }};
            locked.wait();
            CHECK(mutex.try_lock() == EBUSY);
            auto fiber = spawn([&] {
                const int error = mutex.lock();
                this_fiber::yield();
                return error | mutex.unlock();
            });
            until_doing(fiber, locking);
            CHECK_FALSE(fiber.done());
            unlock.set();
            CHECK(fiber.get() == 0);
            thread.join();
        });
    }
}

TEST_CASE("waiting for a mutex ends at its moment, and not before", "[hooks]") {
    on_hooked_workers([] {
        Mutex mutex{PTHREAD_MUTEX_NORMAL};
        REQUIRE(mutex.lock() == 0);
        int errors[5]{};
        spawn([&] {
            const timespec soon = in(CLOCK_REALTIME, 2ms);
            errors[0] = pthread_mutex_timedlock(&mutex.mutex, &soon);
            const timespec now = in(CLOCK_REALTIME, 0ms);
            errors[1] = now.tv_sec > soon.tv_sec ||
                        (now.tv_sec == soon.tv_sec && now.tv_nsec >= soon.tv_nsec);
            const timespec steady = in(CLOCK_MONOTONIC, 2ms);
            errors[2] = pthread_mutex_clocklock(&mutex.mutex, CLOCK_MONOTONIC, &steady);
            const timespec past{0, 0};
            errors[3] = pthread_mutex_timedlock(&mutex.mutex, &past);
            const timespec wrong{0, 1'000'000'000};
            errors[4] = pthread_mutex_timedlock(&mutex.mutex, &wrong);
        }).join();
        CHECK(errors[0] == ETIMEDOUT);
        CHECK(errors[1] == 1);
        CHECK(errors[2] == ETIMEDOUT);
        CHECK(errors[3] == ETIMEDOUT);
        CHECK(errors[4] == EINVAL);
        const timespec far = in(CLOCK_REALTIME, 1h);
        auto fiber = spawn([&] { return pthread_mutex_timedlock(&mutex.mutex, &far); });
        until_doing(fiber, locking);
        mutex.unlock();
        CHECK(fiber.get() == 0);
        CHECK(mutex.unlock() == 0);
    });
}

TEST_CASE("one that waits for a mutex is not cancelled before it has it", "[hooks]") {
    on_hooked_seeds([] {
        std::mutex mutex;
        mutex.lock();
        bool had_it = false;
        auto fiber = spawn([&] {
            const std::lock_guard hold{mutex};
            had_it = true;
            this_fiber::check_cancelled();
        });
        until_doing(fiber, locking);
        fiber.cancel();
        until_doing(fiber, locking);
        CHECK_FALSE(fiber.done());
        mutex.unlock();
        CHECK_THROWS_AS(fiber.get(), Cancelled);
        CHECK(had_it);
        CHECK(mutex.try_lock());
        mutex.unlock();
    });
}

TEST_CASE("a fiber stays on its worker while it holds a mutex", "[hooks]") {
    on_hooked_workers([] {
        std::mutex first;
        std::recursive_mutex second;
        first.lock();
        const long tid = syscall(SYS_gettid);
        second.lock();
        second.lock();
        bool stayed = true;
        const auto look = [&] {
            for (int i = 0; i < 5; ++i) {
                this_fiber::sleep_for(1us);
                stayed &= syscall(SYS_gettid) == tid;
            }
        };
        look();
        first.unlock();
        second.unlock();
        look();
        second.unlock();
        CHECK(stayed);
    });
}

TEST_CASE("a fiber may go elsewhere after it held mutexes", "[hooks]") {
    hooks::patch_threads();
    const test::Environment force{"WEFT_FORCE_MIGRATE", "1"};
    weft::run(
        [] {
            std::mutex first;
            std::recursive_mutex second;
            first.lock();
            second.lock();
            first.unlock();
            second.unlock();
            const long tid = syscall(SYS_gettid);
            bool moved = false;
            // Several: a sleep that is over before it began does not wait.
            for (int i = 0; i < 1000 && !moved; ++i) {
                this_fiber::sleep_for(100us);
                moved = syscall(SYS_gettid) != tid;
            }
            CHECK(moved);
        },
        {.workers = 2});
}

TEST_CASE("a fiber whose control block made hooked calls before may stay or go itself", "[hooks]") {
    hooks::patch_all();
    const test::Environment force{"WEFT_FORCE_MIGRATE", "1"};
    weft::run(
        [] {
            for (int i = 0; i < 10; ++i) {
                bool stayed = false;
                spawn([&] {
                    usleep(1);
                    const long tid = syscall(SYS_gettid);
                    this_fiber::sleep_for(1us);
                    stayed = syscall(SYS_gettid) == tid;
                }).join();
                CHECK(stayed);
            }
        },
        {.workers = 2});
}

TEST_CASE("mutexes that are robust and inherit priority are left to libc", "[hooks]") {
    on_hooked_workers([] {
        const auto before = test::passed(locking);
        Mutex mutex{PTHREAD_MUTEX_RECURSIVE, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST};
        REQUIRE(mutex.lock() == 0);
        this_fiber::sleep_for(1us);
        CHECK(on_thread([&] { return mutex.try_lock(); }) == EBUSY);
        CHECK(mutex.unlock() == 0);
        CHECK(test::passed(locking) == before + 1);
    });
}

TEST_CASE("what was locked before unpatch_all() is unlocked after it", "[hooks]") {
    hooks::patch_all();
    test::on_workers([] {
        std::recursive_mutex mutex;
        std::mutex plain;
        mutex.lock();
        plain.lock();
        auto waits = spawn([&] { plain.lock(); });
        until_doing(waits, locking);
        hooks::unpatch_all();
        mutex.unlock();
        plain.unlock();
        waits.join();
        plain.unlock();
        CHECK(on_thread([&] { return mutex.try_lock() ? (mutex.unlock(), 1) : 0; }) == 1);
        hooks::patch_all();
    });
}
