// Watchdog: sees to it that a worker stuck in a fiber strands nobody.
// Layer: sched. Uses: base.
//
// A thread that looks at every worker each turn while any is awake, and
// sleeps on a futex when all have been asleep for a while: an idle runtime
// costs nothing. A turn takes 4 ms, and less for a while after a worker was
// found stuck: on a server that shares its CPU with the watchdog, turns of 1 ms
// cost 5 % of the requests. A worker that ran the same fiber for a whole turn is stuck;
// then the watchdog
//   1. opens its LIFO slot and lone fiber to thieves, 2. expires its timers, and
//   3. delivers its completions (Driver::rescue), the latter two through the
//      inject queue; and wakes somebody.
// One that did not run, since the kernel gave its CPU to others, is not stuck: there only 1
// and 2 are done, if there are other workers, and no turn is shortened.
// A worker that switches fibers but has not been in its loop for a turn is
// asked to go there. When all have been asleep for a while, Setup::at_rest is
// asked whether they ever wake; where that cannot tell yet, it is asked again,
// less and less often. Each turn also gives the memory of a few stacks back that
// are free and more than are worth keeping, and of a few whose fibers wait for long (StackTrimmer);
// the latter goes on for some rounds when all sleep, so that it comes to those that slept last.
#pragma once

#include "base/clock.hpp"
#include "sched/stack_trimmer.hpp"

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace weft::detail {

class Scheduler;
class Worker;

class Watchdog {
public:
    Watchdog(Scheduler& scheduler, FiberTable& table) noexcept
        : scheduler_{scheduler}, trimmer_{table} {}
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;
    ~Watchdog() { stop(); }

    void start();
    void stop() noexcept;

    /// A worker that leaves its sleep: somebody is awake again. Or there is another
    /// answer of Setup::at_rest to be had. Cheap.
    void notice() noexcept {
        if (asleep_.load(std::memory_order_seq_cst)) wake();
    }

    /// Any thread; momentary. All workers have been asleep for a while, and the
    /// watchdog rests, or asks Setup::at_rest.
    bool rests() const noexcept { return asleep_.load(std::memory_order_seq_cst); }
    pid_t tid() const noexcept { return tid_.load(std::memory_order_relaxed); }

    /// Changes before it does not rest for a while, but trims stacks.
    std::uint64_t trims() const noexcept { return trims_.load(std::memory_order_seq_cst); }
    std::uint64_t rescues() const noexcept { return rescues_.load(std::memory_order_relaxed); }

private:
    static constexpr std::int64_t calm_turn_ns = 4'000'000;
    static constexpr std::int64_t turn_ns = 1'000'000;       // for a while after one was stuck
    static constexpr std::int64_t rescue_turn_ns = 250'000;  // while a worker is stuck
    static constexpr std::uint32_t alert_turns = 256;
    static constexpr std::uint32_t idle_turns = 16;
    static constexpr std::uint32_t rounds_at_rest = 3;  // one may be half over
    static constexpr std::int64_t first_patience_ns = 64'000'000;
    static constexpr std::int64_t most_patience_ns = 8'000'000'000;

    using CpuTime = std::chrono::nanoseconds;
    struct Seen {
        std::uint64_t ticks = 0;
        std::uint64_t rounds = 0;
        bool was_running = false;
        CpuTime used{};      // by its thread
        CpuTime at_tick{};   // the same when it was last seen to change fibers
        CpuTime at_round{};  // or to be in its loop
    };

    void run() noexcept;
    bool look() noexcept;  // whether any worker was awake
    void look_at(Worker& worker, Seen& seen) noexcept;
    void rescue(Worker& worker) noexcept;
    bool relieve(Worker& worker) noexcept;
    void count_rescue() noexcept { rescues_.fetch_add(1, std::memory_order_relaxed); }
    void sleep_for(std::int64_t turn) noexcept;
    std::int64_t next_turn_ns() const noexcept;
    void sleep_until_noticed() noexcept;
    void trim_while_resting(std::uint32_t seen) noexcept;
    bool rests_since(std::uint32_t seen) const noexcept;
    bool all_asleep() const noexcept;
    void wake() noexcept;

    Scheduler& scheduler_;
    std::vector<Seen> seen_;         // own thread only
    CpuTime enough_{};               // own thread only: half a turn
    bool rescues_now_ = false;       // own thread only: a worker was stuck in this turn
    std::uint32_t alert_ = 0;        // own thread only: turns until all is calm
    StackTrimmer trimmer_;           // own thread only
    std::uint32_t rounds_left_ = 0;  // own thread only: of the trimmer, in this rest
    std::atomic<bool> asleep_{false};
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint32_t> signal_{0};  // futex
    std::atomic<pid_t> tid_{0};
    std::atomic<std::uint64_t> rescues_{0};
    std::atomic<std::uint64_t> trims_{0};
    std::thread thread_;
};

}  // namespace weft::detail
