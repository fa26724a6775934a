// Goal: no wake-up is lost and nobody is let in who is not to be, whoever holds and waits.
// Method: fibers and threads, on few objects of every kind, choose at random what to do
// next, and suspend now and then while they hold one. What each object guards is no atomic.
#include "support/hooked.hpp"
#include "support/seed.hpp"

#include <weft/fiber.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <semaphore>
#include <shared_mutex>
#include <thread>
#include <vector>

#include <semaphore.h>

using namespace weft;
using namespace std::chrono_literals;

namespace {

/// What may be done, and how often it went wrong.
class Objects {
public:
    Objects() { sem_init(&units_, 0, most_units); }
    Objects(const Objects&) = delete;
    Objects& operator=(const Objects&) = delete;
    ~Objects() { sem_destroy(&units_); }

    void act(std::minstd_rand& random) {
        switch (random() % 9) {
            case 0: return alone(mutex_, value_, random);
            case 1: return alone(checked_by_time_, value_by_time_, random);
            case 2: return twice(random);
            case 3: return write(random);
            case 4: return read(random);
            case 5: return take_unit(random);
            case 6: return exchange(random);
            case 7: return try_in_time(random);
            default: return try_once(random);
        }
    }

    int wrong() const { return wrong_.load(); }
    /// Whether all is as it was.
    bool at_rest() {
        int units = 0;
        sem_getvalue(&units_, &units);
        return units == most_units && items_ == 0 && mutex_.try_lock() && shared_.try_lock() &&
               recursive_.try_lock() && checked_by_time_.try_lock();
    }

private:
    static constexpr int most_units = 2;

    struct Guarded {
        int inside = 0;
    };

    static void pause(std::minstd_rand& random) {
        if (random() % 4 == 0) sched_yield();
    }
    void enter(Guarded& value) {
        if (++value.inside != 1) ++wrong_;
    }
    void leave(Guarded& value) {
        if (--value.inside != 0) ++wrong_;
    }

    template <class Mutex>
    void alone(Mutex& mutex, Guarded& value, std::minstd_rand& random) {
        const std::lock_guard hold{mutex};
        enter(value);
        pause(random);
        leave(value);
    }
    void twice(std::minstd_rand& random) {
        const std::lock_guard outer{recursive_};
        enter(value_of_recursive_);
        {
            const std::lock_guard inner{recursive_};
            pause(random);
        }
        pause(random);
        leave(value_of_recursive_);
    }
    void write(std::minstd_rand& random) {
        const std::lock_guard hold{shared_};
        enter(written_);
        if (readers_.load() != 0) ++wrong_;
        pause(random);
        leave(written_);
    }
    void read(std::minstd_rand& random) {
        const std::shared_lock hold{shared_};
        ++readers_;
        if (written_.inside != 0) ++wrong_;
        pause(random);
        --readers_;
    }
    void take_unit(std::minstd_rand& random) {
        sem_wait(&units_);
        if (++units_taken_ > most_units) ++wrong_;
        pause(random);
        --units_taken_;
        sem_post(&units_);
    }
    /// One item in and one out, so that who waits for one gets it in the end.
    void exchange(std::minstd_rand& random) {
        {
            const std::lock_guard hold{items_mutex_};
            ++items_;
        }
        filled_.notify_one();
        pause(random);
        std::unique_lock hold{items_mutex_};
        if (random() % 2 == 0) {
            filled_.wait(hold, [&] { return items_ > 0; });
        } else {
            while (!filled_.wait_for(hold, 50us, [&] { return items_ > 0; })) {
            }
        }
        --items_;
    }
    void try_in_time(std::minstd_rand& random) {
        std::unique_lock hold{checked_by_time_, 20us};
        if (!hold) return;
        enter(value_by_time_);
        pause(random);
        leave(value_by_time_);
    }
    void try_once(std::minstd_rand& random) {
        std::unique_lock hold{mutex_, std::try_to_lock};
        if (!hold) return;
        enter(value_);
        pause(random);
        leave(value_);
    }

    std::mutex mutex_;
    std::timed_mutex checked_by_time_;
    std::recursive_mutex recursive_;
    std::shared_mutex shared_;
    sem_t units_;
    std::mutex items_mutex_;
    std::condition_variable filled_;

    Guarded value_;               // guarded by mutex_
    Guarded value_by_time_;       // guarded by checked_by_time_
    Guarded value_of_recursive_;  // guarded by recursive_
    Guarded written_;             // guarded by shared_
    int items_ = 0;               // guarded by items_mutex_
    std::atomic<int> readers_{0};
    std::atomic<int> units_taken_{0};
    std::atomic<int> wrong_{0};
};

void run(std::uint64_t seed, long each, int fiber_count, int thread_count) {
    Objects objects;
    const auto act = [&](int who) {
        std::minstd_rand random{static_cast<unsigned>(seed * 1009 + static_cast<unsigned>(who))};
        for (long i = 0; i < each; ++i) objects.act(random);
    };
    std::vector<Fiber<>> fibers;
    std::vector<std::thread> threads;
    for (int i = 0; i < fiber_count; ++i) fibers.push_back(spawn([&act, i] { act(i); }));
    for (int i = 0; i < thread_count; ++i) threads.emplace_back([&act, i] { act(1000 + i); });
    join_all(fibers);
    for (auto& each_thread : threads) each_thread.join();
    CHECK(objects.wrong() == 0);
    CHECK(objects.at_rest());
}

}  // namespace

TEST_CASE("fibers and threads share every kind of lock", "[hooks]") {
    const std::uint64_t seed = test::seed();
    INFO("seed: " << seed);
    const long each = test::operations(20'000) / 100;
    test::on_hooked_workers([&] { run(seed, each, 10, 3); });
}

TEST_CASE("fibers share every kind of lock, in any order", "[hooks]") {
    hooks::patch_all();
    test::on_seeds(test::under_sanitizer ? 10 : 100,
                   [](std::uint64_t seed) { run(seed, 20, 8, 0); });
}
