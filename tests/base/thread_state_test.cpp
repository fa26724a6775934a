// What the kernel says of another thread.
#include "base/thread_state.hpp"

#include "support/catch.hpp"
#include "support/fd.hpp"

#include <atomic>
#include <chrono>
#include <thread>

#include <sched.h>
#include <time.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::detail::cpu_time_of_thread;
using weft::detail::ThreadState;

namespace {

constexpr pid_t nobody = 0x3ff'ffff;  // beyond the kernel's largest

std::chrono::nanoseconds own_cpu_time() {
    timespec used{};
    REQUIRE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
    return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

}  // namespace

TEST_CASE("a thread's CPU time is that of its own clock", "[base]") {
    const pid_t me = ::gettid();
    for (int i = 0; i < 100; ++i) {
        const auto before = own_cpu_time();
        const auto seen = cpu_time_of_thread(me);
        CHECK(before <= seen);
        CHECK(seen <= own_cpu_time());
    }
    CHECK_FALSE(cpu_time_of_thread(nobody));
}

TEST_CASE("a thread that sleeps in the kernel is not runnable, one that spins is", "[base]") {
    const Pair pipe = pipe_ends();
    ThreadState state;
    std::atomic<bool> begun{false};
    std::atomic<bool> awake{false};
    std::atomic<bool> over{false};
    std::thread other{[&] {
        ::pthread_setname_np(::pthread_self(), "a) S (b");
        state.begin();
        begun = true;
        char byte;
        awake = ::read(pipe.a, &byte, 1) == 1;
        while (!over) sched_yield();
    }};
    while (!begun || state.is_runnable()) sched_yield();
    put(pipe.b);
    while (!awake) sched_yield();
    CHECK(state.is_runnable());
    over = true;
    other.join();
    while (state.is_runnable()) sched_yield();  // a thread that was joined has a moment to go
    CHECK_FALSE(ThreadState{}.is_runnable());
}
