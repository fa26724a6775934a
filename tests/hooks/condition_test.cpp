#include "support/hooked.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include <pthread.h>
#include <threads.h>
#include <time.h>

using namespace weft;
using namespace std::chrono_literals;
using test::on_hooked_seeds;
using test::on_hooked_workers;
using test::until_doing;

namespace {

constexpr const char* waiting = "pthread_cond_wait";

/// Items that are taken in any order.
struct Box {
    std::mutex mutex;
    std::condition_variable filled;
    int items = 0;

    void take() {
        std::unique_lock hold{mutex};
        filled.wait(hold, [&] { return items > 0; });
        --items;
    }
    void put() {
        const std::lock_guard hold{mutex};
        ++items;
        filled.notify_one();
    }
};

}  // namespace

TEST_CASE("a fiber waits on a std::condition_variable until another notifies it", "[hooks]") {
    on_hooked_seeds([] {
        Box box;
        std::vector<Fiber<>> takers;
        for (int i = 0; i < 4; ++i) takers.push_back(spawn([&] { box.take(); }));
        for (auto& each : takers) until_doing(each, waiting);
        for (int i = 0; i < 4; ++i) box.put();
        join_all(takers);
        CHECK(box.items == 0);
    });
}

TEST_CASE("fibers and threads take from one box, filled by both", "[hooks]") {
    on_hooked_workers([] {
        constexpr int each_takes = 50;
        Box box;
        std::vector<Fiber<>> fibers;
        std::vector<std::thread> threads;
        const auto times = [&](auto f) {
            return [&box, f] {
                for (int i = 0; i < each_takes; ++i) f(box);
            };
        };
        for (int i = 0; i < 3; ++i) {
            fibers.push_back(spawn(times([](Box& b) { b.take(); })));
            threads.emplace_back(times([](Box& b) { b.take(); }));
        }
        for (int i = 0; i < 3; ++i) {
            fibers.push_back(spawn(times([](Box& b) { b.put(); })));
            threads.emplace_back(times([](Box& b) { b.put(); }));
        }
        join_all(fibers);
        for (auto& each : threads) each.join();
        CHECK(box.items == 0);
    });
}

TEST_CASE("notify_all() wakes fibers and threads", "[hooks]") {
    on_hooked_workers([] {
        std::mutex mutex;
        std::condition_variable opened;
        bool open = false;
        int ready = 0;
        const auto pass = [&] {
            std::unique_lock hold{mutex};
            ++ready;
            opened.wait(hold, [&] { return open; });
        };
        std::vector<Fiber<>> fibers;
        for (int i = 0; i < 5; ++i) fibers.push_back(spawn(pass));
        std::thread first{pass};
        std::thread second{pass};
        for (bool all = false; !all; this_fiber::yield()) {
            const std::lock_guard hold{mutex};
            all = ready == 7;
        }
        {
            const std::lock_guard hold{mutex};
            open = true;
        }
        opened.notify_all();
        join_all(fibers);
        first.join();
        second.join();
        CHECK(ready == 7);
    });
}

TEST_CASE("a wait for a condition ends at its moment, with the mutex locked", "[hooks]") {
    on_hooked_workers([] {
        std::mutex mutex;
        std::condition_variable never;
        std::unique_lock hold{mutex};
        const auto before = std::chrono::steady_clock::now();
        CHECK(never.wait_for(hold, 2ms) == std::cv_status::timeout);
        CHECK(std::chrono::steady_clock::now() - before >= 2ms);
        CHECK(never.wait_until(hold, std::chrono::system_clock::now() + 1ms) ==
              std::cv_status::timeout);
        CHECK(never.wait_for(hold, -1s) == std::cv_status::timeout);
        bool others_got_it = true;
        spawn([&] { others_got_it = mutex.try_lock(); }).join();
        CHECK_FALSE(others_got_it);
        auto fiber = spawn([&] {
            std::unique_lock own{mutex};
            return never.wait_for(own, 1h);
        });
        hold.unlock();
        until_doing(fiber, waiting);
        never.notify_one();
        CHECK(fiber.get() == std::cv_status::no_timeout);
    });
}

TEST_CASE("a wait whose moment has passed lets others lock all the same", "[hooks]") {
    on_hooked_seeds([] {
        std::mutex mutex;
        std::condition_variable never;
        bool locked = false;
        std::unique_lock hold{mutex};
        auto other = spawn([&] {
            const std::lock_guard own{mutex};
            locked = true;
        });
        until_doing(other, "pthread_mutex_lock");
        while (!locked) {
            (void)never.wait_for(hold, -1s);
            hold.unlock();
            this_fiber::yield();
            hold.lock();
        }
        hold.unlock();
        other.join();
    });
}

TEST_CASE("a condition of the steady clock is timed by it", "[hooks]") {
    on_hooked_workers([] {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_t condition;
        pthread_cond_init(&condition, &attributes);
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_mutex_lock(&mutex);
        timespec at{};
        clock_gettime(CLOCK_MONOTONIC, &at);
        at.tv_sec += at.tv_nsec >= 999'000'000 ? 1 : 0;
        at.tv_nsec = (at.tv_nsec + 1'000'000) % 1'000'000'000;
        CHECK(pthread_cond_timedwait(&condition, &mutex, &at) == ETIMEDOUT);
        at.tv_nsec = -1;
        CHECK(pthread_cond_timedwait(&condition, &mutex, &at) == EINVAL);
        pthread_mutex_unlock(&mutex);
        pthread_cond_destroy(&condition);
    });
}

TEST_CASE("who does not hold an error-checking mutex does not wait with it", "[hooks]") {
    on_hooked_workers([] {
        pthread_mutex_t mutex = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
        pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
        CHECK(pthread_cond_wait(&condition, &mutex) == EPERM);
        pthread_mutex_lock(&mutex);
        auto other = spawn([&] {
            pthread_mutex_lock(&mutex);
            pthread_cond_signal(&condition);
            pthread_mutex_unlock(&mutex);
        });
        CHECK(pthread_cond_wait(&condition, &mutex) == 0);
        CHECK(pthread_mutex_unlock(&mutex) == 0);
        other.join();
    });
}

TEST_CASE("one that waits for a condition is not cancelled before it comes", "[hooks]") {
    on_hooked_seeds([] {
        Box box;
        auto taker = spawn([&] {
            box.take();
            this_fiber::check_cancelled();
        });
        until_doing(taker, waiting);
        taker.cancel();
        until_doing(taker, waiting);
        CHECK_FALSE(taker.done());
        box.put();
        CHECK_THROWS_AS(taker.get(), Cancelled);
        CHECK(box.items == 0);
    });
}

TEST_CASE("a thread that waits for a condition lets a parked fiber have the mutex", "[hooks]") {
    on_hooked_workers([] {
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
        mtx_t c_mutex;
        cnd_t c_condition;
        mtx_init(&c_mutex, mtx_plain);
        cnd_init(&c_condition);
        std::atomic<bool> is_locked{false}, is_fiber_there{false};
        bool ready = false;
        const timespec late{1L << 33, 0};
        // Ends only if the fiber comes while the thread waits.
        const auto together = [&](auto lock, auto unlock, auto wait, auto signal) {
            is_locked = is_fiber_there = ready = false;
            std::thread thread{[&] {
                lock();
                is_locked = true;
                is_locked.notify_one();
                is_fiber_there.wait(false);
                while (!ready) wait();
                unlock();
            }};
            is_locked.wait(false);
            auto fiber = spawn([&] {
                lock();
                ready = true;
                signal();
                unlock();
            });
            until_doing(fiber, "pthread_mutex_lock");
            is_fiber_there = true;
            is_fiber_there.notify_one();
            fiber.join();
            thread.join();
            CHECK(ready);
        };
        const auto lock = [&] { pthread_mutex_lock(&mutex); };
        const auto unlock = [&] { pthread_mutex_unlock(&mutex); };
        const auto signal = [&] { pthread_cond_signal(&condition); };
        together(
            lock, unlock, [&] { pthread_cond_wait(&condition, &mutex); }, signal);
        together(
            lock, unlock, [&] { pthread_cond_timedwait(&condition, &mutex, &late); }, signal);
        const auto c_lock = [&] { mtx_lock(&c_mutex); };
        const auto c_unlock = [&] { mtx_unlock(&c_mutex); };
        const auto c_signal = [&] { cnd_signal(&c_condition); };
        together(
            c_lock, c_unlock, [&] { cnd_wait(&c_condition, &c_mutex); }, c_signal);
        together(
            c_lock, c_unlock, [&] { cnd_timedwait(&c_condition, &c_mutex, &late); }, c_signal);
        cnd_destroy(&c_condition);
        mtx_destroy(&c_mutex);
    });
}
