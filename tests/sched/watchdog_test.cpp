// A worker that is stuck in a fiber strands nobody, and one with nothing to do
// costs nothing.
#include "sched/watchdog.hpp"

#include "sched/worker.hpp"
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace std::chrono_literals;
using weft::test::until_waiting;

namespace {

long switches_of_process() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw + usage.ru_nivcsw;
}

std::chrono::microseconds cpu_time_of_process() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return std::chrono::seconds{usage.ru_utime.tv_sec + usage.ru_stime.tv_sec} +
           std::chrono::microseconds{usage.ru_utime.tv_usec + usage.ru_stime.tv_usec};
}

/// Whether all threads of the process but the calling one sleep in the kernel.
bool all_others_sleep() {
    const auto self = std::to_string(::gettid());
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
        if (task.path().filename() == self) continue;
        std::ifstream file{task.path() / "stat"};
        std::string stat;
        std::getline(file, stat);
        const auto state = stat.rfind(')') + 2;  // after the name, which may hold anything
        if (state >= stat.size() || stat[state] != 'S') return false;
    }
    return true;
}

void pin_thread_to(int cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(cpu), &one);
    REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
}

}  // namespace

TEST_CASE("deadlines on a worker that hogs are served by others", "[watchdog][deadline]") {
    // Sleepers that began their wait on this worker, which then does not come back.
    for (const unsigned workers : {2u, 8u}) {
        weft::run(
            [] {
                const auto here = weft::detail::Worker::current()->index();
                const weft::this_fiber::Pin pin;
                std::atomic<int> mine{0};
                std::atomic<int> over{0};
                std::vector<weft::Fiber<>> sleepers;
                while (mine < 5) {
                    sleepers.push_back(weft::spawn([&] {
                        if (weft::detail::Worker::current()->index() == here) ++mine;
                        weft::this_fiber::sleep_for(3ms);
                        ++over;
                    }));
                    weft::this_fiber::yield();
                }
                const int all = static_cast<int>(sleepers.size());
                while (over < all) sched_yield();
                weft::join_all(sleepers);
            },
            {.workers = workers});
    }
}

TEST_CASE("what a rescue did is counted", "[watchdog]") {
    weft::run(
        [] {
            auto& runtime = weft::Runtime::current();
            // Again, should the other worker have taken the sleeper before it slept.
            for (int turn = 0; turn < 100 && runtime.counters().rescues == 0; ++turn) {
                std::atomic<bool> over{false};
                auto sleeper = weft::spawn([&] {
                    weft::this_fiber::sleep_for(2ms);
                    over = true;
                });
                until_waiting(sleeper);
                while (!over) sched_yield();
                sleeper.join();
            }
            CHECK(runtime.counters().rescues > 0);
        },
        {.workers = 2});
}

TEST_CASE("on the only worker a deadline is served when its fiber lets go",
          "[watchdog][deadline]") {
    weft::run(
        [] {
            std::atomic<bool> over{false};
            weft::Fiber<> sleeper;
            do {  // again, if it was over before the worker could be hogged
                if (sleeper) sleeper.join();
                over = false;
                sleeper = weft::spawn([&] {
                    weft::this_fiber::sleep_for(1ms);
                    over = true;
                });
                until_waiting(sleeper);
            } while (over);
            const weft::Deadline hogged = 5ms;
            while (!hogged.passed()) sched_yield();
            CHECK_FALSE(over);
            sleeper.join();
            CHECK(over);
        },
        {.workers = 1});
}

TEST_CASE("a worker that the kernel does not let run is not taken for stuck", "[watchdog]") {
    // It has one CPU, at the lowest priority, and that is somebody else's.
    weft::Runtime runtime{{.workers = 1}};
    std::atomic<int> cpu{-1};
    std::atomic<bool> over{false};
    auto starved = runtime.spawn([&] {
        REQUIRE(::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19) == 0);
        const int here = ::sched_getcpu();
        pin_thread_to(here);
        cpu = here;
        while (!over) weft::this_fiber::yield();
    });
    while (cpu < 0) sched_yield();
    std::atomic<bool> is_busy{false};
    std::thread busy{[&] {
        pin_thread_to(cpu);
        is_busy = true;
        while (!over) {
        }
    }};
    while (!is_busy) sched_yield();
    auto sleeper = runtime.spawn([] {
        for (int turn = 0; turn < 10; ++turn) weft::this_fiber::sleep_for(1ms);
    });
    sleeper.join();
    CHECK(runtime.counters().rescues == 0);
    over = true;
    busy.join();
    starved.join();
}

TEST_CASE("a runtime with nothing to do makes no wake-ups", "[watchdog][idle]") {
    // That nothing happens is no event to wait for: from when the watchdog rests, a
    // window of real time in which nobody may move.
    for (const auto io : weft::test::available_io()) {
        weft::Runtime runtime{{.workers = 8, .io = io}};
        weft::Event never;
        std::vector<weft::Fiber<>> parked;
        for (int i = 0; i < 100; ++i) {
            parked.push_back(runtime.spawn([&] { never.wait(1h); }));
        }
        for (const auto& fiber : parked) {
            while (!weft::test::is_waiting(runtime, fiber.id())) sched_yield();
        }
        while (!runtime.scheduler().watchdog().rests() || !all_others_sleep()) sched_yield();
        const auto sleeps = runtime.counters().sleeps;
        const long switches = switches_of_process();
        const auto cpu_time = cpu_time_of_process();
        std::this_thread::sleep_for(100ms);
        INFO("io: " << weft::test::name_of(io));
        CHECK(runtime.counters().sleeps == sleeps);
        CHECK(switches_of_process() - switches <= 5);  // this thread's own sleep among them
        CHECK(cpu_time_of_process() - cpu_time < 5ms);
        never.set();
        for (auto& fiber : parked) fiber.join();
    }
}
