// What else there is of threads: joining, C11's, spinning.
#include "support/hooked.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>

#include <atomic>
#include <cerrno>
#include <thread>

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <threads.h>
#include <time.h>

using namespace weft;
using test::on_hooked_seeds;
using test::on_hooked_workers;
using test::until_doing;

TEST_CASE("a fiber joins a thread, and others run meanwhile", "[hooks]") {
    on_hooked_workers([] {
        Event end;
        std::thread thread{[&] { end.wait(); }};
        auto joins = spawn([&] { thread.join(); });
        until_doing(joins, "a call that blocks a thread");
        CHECK_FALSE(joins.done());
        end.set();
        joins.join();
        CHECK_FALSE(thread.joinable());
        CHECK(pthread_join(pthread_self(), nullptr) == EDEADLK);
    });
}

TEST_CASE("joining a thread gives what it returns, in time or not", "[hooks]") {
    on_hooked_workers([] {
        std::atomic<bool> end{false};
        pthread_t thread{};
        pthread_create(
            &thread, nullptr,
            [](void* flag) -> void* {
                while (!static_cast<std::atomic<bool>*>(flag)->load()) sched_yield();
                return flag;
            },
            &end);
        timespec now{};
        clock_gettime(CLOCK_REALTIME, &now);
        CHECK(pthread_timedjoin_np(thread, nullptr, &now) == ETIMEDOUT);
        end.store(true);
        void* result = nullptr;
        CHECK(pthread_join(thread, &result) == 0);
        CHECK(result == &end);
    });
}

TEST_CASE("C11's mutexes and conditions park fibers, too", "[hooks]") {
    on_hooked_seeds([] {
        mtx_t mutex;
        cnd_t condition;
        mtx_init(&mutex, mtx_recursive | mtx_timed);
        cnd_init(&condition);
        bool ready = false;
        REQUIRE(mtx_lock(&mutex) == thrd_success);
        CHECK(mtx_trylock(&mutex) == thrd_success);
        mtx_unlock(&mutex);
        auto waits = spawn([&] {
            const timespec past{0, 0};
            const int first = mtx_timedlock(&mutex, &past);
            const int second = mtx_trylock(&mutex);
            mtx_lock(&mutex);
            while (!ready) cnd_wait(&condition, &mutex);
            const int third = cnd_timedwait(&condition, &mutex, &past);
            mtx_unlock(&mutex);
            return first == thrd_timedout && second == thrd_busy && third == thrd_timedout;
        });
        until_doing(waits, "pthread_mutex_lock");
        mtx_unlock(&mutex);
        until_doing(waits, "pthread_cond_wait");
        mtx_lock(&mutex);
        ready = true;
        cnd_signal(&condition);
        cnd_broadcast(&condition);
        mtx_unlock(&mutex);
        CHECK(waits.get());
        cnd_destroy(&condition);
        mtx_destroy(&mutex);
    });
}

TEST_CASE("C11's thread-specific storage is the fiber's, and call_once() suspends it", "[hooks]") {
    static int ended = 0;
    static int runs = 0;
    on_hooked_workers([] {
        ended = 0;
        runs = 0;
        tss_t key{};
        REQUIRE(tss_create(&key, [](void*) { ++ended; }) == thrd_success);
        int value = 0;
        void* seen = &value;
        spawn([&] { tss_set(key, &value); }).join();
        CHECK(ended == 1);
        spawn([&] { seen = tss_get(key); }).join();
        CHECK(seen == nullptr);
        tss_delete(key);

        once_flag flag = ONCE_FLAG_INIT;
        const auto run = [&] {
            call_once(&flag, [] {
                this_fiber::yield();
                ++runs;
            });
        };
        auto first = spawn(run);
        auto second = spawn(run);
        first.join();
        second.join();
        CHECK(runs == 1);

        thrd_t thread{};
        thrd_create(
            &thread, [](void*) { return 7; }, nullptr);
        int result = 0;
        CHECK(thrd_join(thread, &result) == thrd_success);
        CHECK(result == 7);
    });
}

TEST_CASE("who spins for a fiber of its own worker lets it run", "[hooks]") {
    on_hooked_workers([] {
        pthread_spinlock_t lock;
        pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE);
        pthread_spin_lock(&lock);
        std::atomic<int> got{0};
        auto spins = spawn([&] {
            ++got;
            pthread_spin_lock(&lock);
            ++got;
            pthread_spin_unlock(&lock);
        });
        while (got.load() == 0) sched_yield();
        this_fiber::yield();
        CHECK(got.load() == 1);
        pthread_spin_unlock(&lock);
        while (got.load() == 1) thrd_yield();
        spins.join();
        pthread_spin_destroy(&lock);
    });
}

TEST_CASE(
    "a fiber that is no thread of weft-run's is ended by pthread_exit(), as by a cancellation",
    "[hooks]") {
    on_hooked_workers([] {
        bool unwound = false;
        bool went_on = false;
        auto fiber = spawn([&] {
            struct Note {
                bool& noted;
                ~Note() { noted = true; }
            };
            const Note note{unwound};
            pthread_exit(nullptr);
            went_on = true;
        });
        CHECK_THROWS_AS(fiber.get(), Cancelled);
        CHECK(unwound);
        CHECK_FALSE(went_on);
        auto of_c11 = spawn([] { thrd_exit(1); });
        CHECK_THROWS_AS(of_c11.get(), Cancelled);
        CHECK(spawn([] { return 5; }).get() == 5);  // its worker is there
    });
}

TEST_CASE("libc's old names for its functions are hooks, too", "[hooks]") {
    using Function = int(pthread_mutex_t*);
    // Only programs linked long ago can name them.
    const auto old_name = [](const char* name) {
        return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
    };
    Function* const lock = old_name("__pthread_mutex_lock");
    Function* const unlock = old_name("__pthread_mutex_unlock");
    REQUIRE(lock != nullptr);
    REQUIRE(hooks::original(lock) != lock);
    on_hooked_workers([=] {
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        CHECK(lock(&mutex) == 0);
        auto waits = spawn([&] { return lock(&mutex) == 0 && unlock(&mutex) == 0; });
        until_doing(waits, "pthread_mutex_lock");
        CHECK(unlock(&mutex) == 0);
        CHECK(waits.get());
    });
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    CHECK(hooks::original(lock)(&mutex) == 0);
    CHECK(hooks::original(unlock)(&mutex) == 0);
}
