// Scheduler: what the workers of one runtime share.
// Layer: sched. Uses: base, context.
//
// Start: construct, start(). Stop, in numbered steps:
//   1. wait_until_quiet(daemons: no)   every fiber that counts has ended
//   2. cancel the daemons (the runtime does that, through park)
//   3. wait_until_quiet(daemons: yes)  no fiber is left
//   4. stop()                          workers and watchdog leave their loops, threads are joined
//   5. destruction asserts that no stack, block, timer or operation survived
#pragma once

#include <weft/detail/export.hpp>

#include "base/sync.hpp"
#include "context/stack.hpp"
#include "sched/fiber_table.hpp"
#include "sched/idle.hpp"
#include "sched/watchdog.hpp"
#include "sched/worker.hpp"

#include <signal.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace weft {
class Runtime;
}

namespace weft::detail {

class Scheduler {
public:
    using MakeDriver = std::function<std::unique_ptr<Driver>(std::uint32_t index)>;
    using Unhandled = void (*)(std::uint64_t id, std::string_view name, std::exception_ptr error);

    struct Setup {
        std::uint32_t workers = 1;
        std::uint8_t stack_shift = StackPool::min_shift;
        std::uint64_t seed = 1;
        std::int64_t spin_limit_ns = 20'000;  // before a sleep, at most
        bool force_migrate = false;           // every wake-up goes to the next worker: for tests
        bool simulated = false;               // no threads: somebody calls Worker::step()
        Unhandled unhandled = nullptr;
        void (*at_end)(FiberCore&) noexcept =
            nullptr;                          // a fiber's routine is over: tell its joiners
        void (*throw_interrupt)() = nullptr;  // in the fiber: what is pending
        /// By the watchdog, when all workers have been asleep for a while. Returns
        /// whether to ask again later, if they still are.
        bool (*at_rest)(Scheduler&) noexcept = nullptr;
        Runtime* runtime = nullptr;
        sigset_t program_mask{};  // of the thread that made the runtime: its fibers begin with it
    };

    /// Throws what `make_driver` throws.
    Scheduler(const Setup& setup, const MakeDriver& make_driver);
    Scheduler(const Scheduler&) = delete;
    Scheduler& operator=(const Scheduler&) = delete;
    ~Scheduler();

    /// Starts the threads. Throws std::system_error; then none runs.
    void start();
    /// Step 4. Idempotent.
    void stop() noexcept;
    /// For exit(): no fiber runs any more, whatever it waits for or has left to
    /// do. Blocks: until the workers have left their loops, but no longer than
    /// halt_limit for those that do not come back. Nothing can be destroyed then.
    void halt() noexcept;
    bool halted() const noexcept { return halted_.load(std::memory_order_acquire); }
    /// Whether any was halted: what its fibers hold or wait for, they do for good, and
    /// static objects are destroyed all the same.
    static bool any_halted() noexcept;

    // --- any thread ---

    const Setup& setup() const noexcept { return setup_; }
    std::uint32_t workers() const noexcept { return static_cast<std::uint32_t>(workers_.size()); }
    Worker& worker(std::uint32_t index) noexcept { return *workers_[index]; }
    bool stopping() const noexcept { return stopping_.load(std::memory_order_acquire); }
    Idle<StdSync>& idle() noexcept { return idle_; }
    FiberQueue& injected() noexcept { return injected_; }
    StackPool& stacks() noexcept { return stacks_; }
    FiberTable& table() noexcept { return table_; }
    Watchdog& watchdog() noexcept { return watchdog_; }

    /// Empty while a worker or the watchdog is awake. Else a number that changes
    /// before that could be so again.
    std::optional<std::uint64_t> rounds_if_asleep() const noexcept;
    /// No fiber is in a queue, no timer armed, no operation in flight. Momentary.
    bool nothing_under_way() noexcept;
    /// Whether `tid` is a worker's or the watchdog's.
    bool owns_thread(pid_t tid) const noexcept;

    /// Makes a claimed fiber runnable, from wherever the caller is.
    void make_ready(FiberCore& fiber, Turn turn) noexcept;
    /// Wakes the driver of `who`, unless nobody.
    void wake(std::uint32_t who) noexcept;
    /// Wakes some sleeping worker, if one sleeps.
    void wake_one() noexcept { wake(idle_.claim_sleeper()); }

    struct Birth {
        std::uint8_t stack_shift;
        bool daemon;
        bool pinned;
        std::unique_ptr<FiberExtras> extras;
    };
    /// A control block with everything a fiber needs to run. Throws
    /// std::system_error; then nothing was taken.
    FiberCore* create(const Routine& routine, Birth&& birth);
    /// Takes back what create() gave; the block was never started.
    void abandon(FiberCore* fiber) noexcept;
    /// From now on daemons are born cancelled; those there are, the caller cancels.
    void close_to_daemons() noexcept;
    /// Queues a new fiber.
    void start_fiber(FiberCore& fiber) noexcept;
    /// The same at a time to come, without a stack until then. Requires: the
    /// caller is a fiber of this scheduler, and `fiber` has extras.
    void start_fiber_at(FiberCore& fiber, Deadline when) noexcept;
    /// The first step of a fiber that start_fiber_at() started.
    static void end_delay(FiberCore& fiber) noexcept;
    /// The last reference is gone.
    void free_block(FiberCore* fiber) noexcept;

    /// The fiber that run() started, kept to the end; null: there is none.
    void set_main(FiberCore& fiber) noexcept;
    FiberCore* main() const noexcept { return main_.load(std::memory_order_acquire); }

    // --- counting ---

    /// A fiber is over and its stack given back. `worker` is the caller's own.
    void count_finished(Worker& worker, bool daemon) noexcept;
    bool quiet(bool daemons) const noexcept;
    /// Whether nobody is alive whose end is waited for: a fiber that counts, or,
    /// once it is closed to daemons, any.
    bool settled() const noexcept { return quiet(closing_.load(std::memory_order_seq_cst)); }
    /// Steps 1 and 3. A plain thread blocks, without polling.
    void wait_until_quiet(bool daemons) noexcept;
    std::uint64_t spawned() const noexcept;
    std::uint64_t finished() const noexcept;

private:
    static constexpr std::chrono::seconds halt_limit{1};

    std::uint64_t next_id() noexcept;
    void run_worker(Worker& worker) noexcept;
    FiberCore* take_block(const Routine& routine, std::uint8_t shift);
    void return_promise(std::uint8_t shift) noexcept;
    void count_spawned(bool daemon) noexcept;
    void give_home(FiberCore& fiber) noexcept;
    WEFT_API void enqueue_from_outside(FiberCore& fiber) noexcept;

    const Setup setup_;
    StackPool stacks_;
    FiberTable table_;
    Idle<StdSync> idle_;
    FiberQueue injected_;
    std::atomic<bool> stopping_{false};
    std::atomic<bool> closing_{false};
    std::atomic<bool> halted_{false};
    std::atomic<FiberCore*> main_{nullptr};
    std::atomic<std::uint32_t> running_workers_{0};  // futex; threads inside Worker::run()
    std::atomic<std::uint32_t> outsiders_{0};        // inside enqueue_from_outside()
    std::atomic<std::uint64_t> foreign_spawned_{0};
    std::atomic<std::uint64_t> foreign_daemons_spawned_{0};
    std::atomic<std::uint32_t> quiet_waiters_{0};  // pairs with count_finished()
    std::atomic<std::uint32_t> quiet_signal_{0};   // futex: changes when it may be quiet
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<std::thread> threads_;
    Watchdog watchdog_;
};

inline void Scheduler::make_ready(FiberCore& fiber, Turn turn) noexcept {
    Worker* const here = Worker::current();
    if (here == nullptr || &here->scheduler() != this) [[unlikely]] {
        return enqueue_from_outside(fiber);
    }
    const Unobserved quiet;
    here->make_ready(fiber, turn);
}

}  // namespace weft::detail
