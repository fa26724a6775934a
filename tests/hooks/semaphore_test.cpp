#include "support/hooked.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>

#include <cerrno>
#include <thread>
#include <vector>

#include <semaphore.h>
#include <signal.h>
#include <time.h>

using namespace weft;
using test::on_hooked_seeds;
using test::on_hooked_workers;
using test::until_doing;

namespace {

constexpr const char* waiting = "sem_wait";

struct Units {
    explicit Units(unsigned count, int shared = 0) { sem_init(&units, shared, count); }
    Units(const Units&) = delete;
    Units& operator=(const Units&) = delete;
    ~Units() { sem_destroy(&units); }

    int value() {
        int count = -1;
        sem_getvalue(&units, &count);
        return count;
    }

    sem_t units;
};

Units* posted_by_handler = nullptr;

}  // namespace

TEST_CASE("each unit of a semaphore ends one fiber's wait", "[hooks]") {
    on_hooked_seeds([] {
        Units units{1};
        CHECK(sem_wait(&units.units) == 0);
        std::vector<Fiber<>> takers;
        for (int i = 0; i < 4; ++i) takers.push_back(spawn([&] { sem_wait(&units.units); }));
        for (auto& each : takers) until_doing(each, waiting);
        for (int i = 0; i < 5; ++i) sem_post(&units.units);
        join_all(takers);
        CHECK(units.value() == 1);
    });
}

TEST_CASE("fibers and threads take units that both post", "[hooks]") {
    for (const int shared : {0, 1}) {
        INFO("shared by processes: " << shared);
        on_hooked_workers([&] {
            constexpr int rounds = 50;
            Units units{0, shared};
            std::vector<Fiber<>> fibers;
            std::vector<std::thread> threads;
            const auto take = [&] {
                for (int i = 0; i < rounds; ++i) sem_wait(&units.units);
            };
            const auto post = [&] {
                for (int i = 0; i < rounds; ++i) sem_post(&units.units);
            };
            for (int i = 0; i < 2; ++i) {
                fibers.push_back(spawn(take));
                threads.emplace_back(take);
                fibers.push_back(spawn(post));
                threads.emplace_back(post);
            }
            join_all(fibers);
            for (auto& each : threads) each.join();
            CHECK(units.value() == 0);
        });
    }
}

TEST_CASE("waiting for a unit ends at its moment, and leaves errno alone when it gets one",
          "[hooks]") {
    on_hooked_workers([] {
        Units units{0};
        timespec soon{};
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 1'000'000;
        if (soon.tv_nsec >= 1'000'000'000) soon = {soon.tv_sec + 1, soon.tv_nsec - 1'000'000'000};
        errno = 0;
        CHECK(sem_timedwait(&units.units, &soon) == -1);
        CHECK(errno == ETIMEDOUT);
        const timespec wrong{0, -1};
        CHECK(sem_timedwait(&units.units, &wrong) == -1);
        CHECK(errno == EINVAL);
        auto taker = spawn([&] {
            errno = 12345;
            const int result = sem_wait(&units.units);
            return result == 0 ? errno : -1;
        });
        until_doing(taker, waiting);
        sem_post(&units.units);
        CHECK(taker.get() == 12345);
    });
}

TEST_CASE("a signal's handler posts, whatever its thread is doing", "[hooks]") {
    hooks::patch_all();
    weft::run(
        [] {
            Units units{0};
            Units others{0};
            posted_by_handler = &units;
            struct sigaction action {};
            struct sigaction before {};
            action.sa_handler = [](int) { sem_post(&posted_by_handler->units); };
            sigaction(SIGUSR2, &action, &before);
            constexpr int rounds = 200;
            Event over;
            std::atomic<bool> is_over{false};
            // Posts itself all the time, so that the handler comes in the midst of that.
            std::thread poster{[&] {
                while (!is_over.load()) {
                    sem_post(&others.units);
                    sched_yield();
                }
            }};
            auto other_taker = spawn([&] {
                while (!is_over.load()) {
                    sem_wait(&others.units);
                }
            });
            for (int i = 0; i < rounds; ++i) {
                pthread_kill(poster.native_handle(), SIGUSR2);
                sem_wait(&units.units);
            }
            is_over.store(true);
            sem_post(&others.units);
            other_taker.join();
            poster.join();
            sigaction(SIGUSR2, &before, nullptr);
            CHECK(units.value() == 0);
        },
        {.workers = 2});
}
