// Worker: an OS thread that runs fibers.
// Layer: sched. Uses: base, context.
//
// A fiber that stops jumps straight to the next one of its worker's queue. Only
// when there is none, or every `tick_limit` switches, does it jump to the loop
// on the thread's own stack, which serves timers and the driver, looks for work
// elsewhere, and sleeps. So a parked fiber's stack holds no scheduler frames.
//
// Leaving a stack and what follows from it are two steps, for the second may
// only happen once the stack is no longer in use: whoever arrives carries out
// `after_` for who departed. The three words departed_, after_ and
// departed_epoch_ are all that is handed over; nothing of it lies on the
// departed stack, which may run elsewhere at once.
//
// Order of service: fibers pinned here, then the LIFO slot (the fiber woken
// last, whose data is in the cache), both at most ahead_limit times in a row,
// then the run queue in order of arrival. Spawned and yielding fibers go to the
// queue's end.
//
// Whom new work wakes: see idle.hpp; and a worker that gets one runnable fiber
// will run it itself in a moment, so that wakes another worker at most every
// `lone_wake_interval`. What is stranded by that, because the worker then does
// not come back, the watchdog sees within two of its turns.
#pragma once

#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/sanitizer.hpp"
#include "base/thread_state.hpp"
#include "context/stack.hpp"
#include "context/switch.hpp"
#include "sched/driver.hpp"
#include "sched/fault.hpp"
#include "sched/fiber_core.hpp"
#include "sched/fiber_table.hpp"
#include "sched/inject_queue.hpp"
#include "sched/run_queue.hpp"
#include "sched/timer_queue.hpp"

#include <weft/detail/export.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace weft::detail {

class Scheduler;
class Worker;

}  // namespace weft::detail

// The calling thread's worker. Outside any class and with C linkage, so that the
// assembler in Worker::current() can name it; visible, for the hooks ask it, too.
extern "C" {
extern constinit thread_local weft::detail::Worker* weft_current_worker
    [[gnu::tls_model("initial-exec"), gnu::visibility("default")]];
}

namespace weft::detail {

using FiberQueue = InjectQueue<StdSync, FiberCore, &FiberCore::next>;

/// Counts kept by one thread and read by others.
class Tally {
public:
    void add(std::uint64_t n = 1) noexcept {
        value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_release);
    }
    std::uint64_t get() const noexcept { return value_.load(std::memory_order_acquire); }

private:
    std::atomic<std::uint64_t> value_{0};
};

class Worker {
public:
    Worker(Scheduler& scheduler, std::uint32_t index, std::unique_ptr<Driver> driver,
           std::uint64_t seed);
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker();

    /// The calling thread's worker, or null on a plain thread. Never kept
    /// across a suspension: the fiber may go on elsewhere.
    static Worker* current() noexcept {
#if defined(__x86_64__)
        // An initial-exec load that no compiler can merge with one from before a
        // switch; every other spelling was found to be wrong somewhere.
        Worker* worker;
        asm volatile(
            "movq weft_current_worker@gottpoff(%%rip), %0\n\t"
            "movq %%fs:(%0), %0"
            : "=r"(worker)
            :
            : "memory");
        return worker;
#else
        return current_slow();
#endif
    }

    // --- the running fiber's side ---

    WEFT_NO_TSAN FiberCore* fiber() const noexcept {
        return fiber_.load(std::memory_order_relaxed);
    }
    /// The running fiber, which armed a wait, leaves until it is resumed.
    WEFT_API void park_fiber() noexcept;
    /// The running fiber goes to the end of the queue. Returns at once when
    /// there is nothing else to do.
    WEFT_API void yield_fiber() noexcept;
    /// Whether an exception is on its way through the running fiber.
    bool unwinding() const noexcept { return exceptions_->uncaught > 0; }
    /// The running fiber's, in the thread's place.
    ExceptionState& exceptions() noexcept { return *exceptions_; }
    /// The running fiber has ended.
    [[noreturn]] void finish_fiber() noexcept;
    /// One operation succeeded without waiting: now and then that is a yield,
    /// so that a fiber whose operations always succeed leaves room for others.
    WEFT_NO_TSAN static void consume_budget() noexcept {
        Worker* const worker = current();
        if (worker == nullptr || worker->fiber() == nullptr) return;
        if (--worker->budget_ == 0) [[unlikely]] {
            worker->budget_ = budget_per_turn;
            worker->yield_fiber();
        }
    }

    /// Around a system call that the running fiber makes while others are to run: what it takes
    /// is no part of this turn, as far as has_company() judges it.
    class OutOfTurn {
    public:
        WEFT_NO_TSAN OutOfTurn() noexcept : worker_{current()} {
            if (worker_ == nullptr || worker_->most_together_ == 0 || worker_->queue_.empty()) {
                worker_ = nullptr;
            } else {
                began_ = detail::now();
            }
        }
        OutOfTurn(const OutOfTurn&) = delete;
        OutOfTurn& operator=(const OutOfTurn&) = delete;
        WEFT_NO_TSAN ~OutOfTurn() {
            if (worker_ != nullptr) worker_->out_of_turn_ns_ += (detail::now() - began_).count();
        }

    private:
        Worker* worker_;
        TimePoint began_{};
    };

    /// From a fiber: whether a send of `size` bytes that could be made here and now had better
    /// join those that the driver submits together. True while other fibers are to run and the
    /// last ones took little time, so that it does not wait long for them.
    bool has_company(std::size_t size) const noexcept {
        return brisk_ && !queue_.empty() && size <= most_together_ / (driver_->in_flight() + 1);
    }

    /// From this worker's thread: makes a claimed fiber runnable, here or where it is pinned.
    void make_ready(FiberCore& fiber, Turn turn) noexcept;
    /// From this worker's thread: a new fiber.
    void enqueue_new(FiberCore& fiber) noexcept;
    /// Any thread: a fiber that must run here.
    void enqueue_pinned(FiberCore& fiber) noexcept;

    // --- the thread's side ---

    /// The body of the thread it was attached to: runs fibers until the scheduler stops.
    void run() noexcept;
    /// The calling thread becomes this worker's, or nobody's again.
    void attach();
    void detach() noexcept;
    /// For a simulated worker, attached before: it is its turn.
    void take_thread() noexcept { weft_current_worker = this; }
    /// For a simulated worker: runs one fiber until it stops, and names it.
    /// False: none was runnable.
    bool step(std::uint64_t& id) noexcept;

    // --- any thread ---

    Scheduler& scheduler() noexcept { return scheduler_; }
    Driver& driver() noexcept { return *driver_; }
    TimerQueue& timers() noexcept { return timers_; }
    std::uint32_t index() const noexcept { return index_; }
    pid_t tid() const noexcept { return tid_.load(std::memory_order_relaxed); }
    /// Requires: a fiber ran here.
    const ThreadState& thread_state() const noexcept { return thread_state_; }
    Random& random() noexcept { return random_; }
    StackCache& stacks() noexcept { return stacks_; }
    FiberCache& fibers() noexcept { return fibers_; }

    /// The watchdog, for a stuck owner: expires what is due. Returns how many fibers run on.
    std::size_t rescue_timers() noexcept;

    /// The watchdog: the owner has not come back to its loop for a while.
    void ask_for_attention() noexcept { attention_.store(true, std::memory_order_relaxed); }
    void set_stuck(bool stuck) noexcept { stuck_.store(stuck, std::memory_order_relaxed); }
    bool has_stranded_work() const noexcept;
    bool has_work() const noexcept { return has_stranded_work() || !pinned_.empty(); }
    std::uint64_t ticks() const noexcept { return ticks_.load(std::memory_order_relaxed); }
    std::uint64_t rounds() const noexcept { return rounds_.get(); }

    /// Own thread. A new id, from the worker's block or a new one from `source`.
    std::uint64_t next_id(std::atomic<std::uint64_t>& source, std::uint64_t block) noexcept {
        if (next_id_ == id_end_) {
            next_id_ = source.fetch_add(block, std::memory_order_relaxed);
            id_end_ = next_id_ + block;
        }
        return next_id_++;
    }

    struct Tallies {
        Tally spawned;
        Tally finished;
        Tally daemons_spawned;
        Tally daemons_finished;
        Tally stolen;
        Tally sleeps;
    };
    Tallies tallies;  // written by the owner, read by any

private:
    enum class After : std::uint8_t { nothing, commit, requeue, recycle };

    static constexpr std::uint32_t queue_capacity = 1024;
    static constexpr std::uint32_t tick_limit = 61;
    static constexpr std::uint32_t ahead_limit = 16;
    static constexpr std::uint32_t budget_per_turn = 128;
    static constexpr std::size_t timer_batch = 64;
    static constexpr std::size_t inject_batch = 32;
    // While the queue is crowded, and of what was injected while timers wait for that: fewer
    // together than run between two rounds.
    static constexpr std::uint32_t crowd = queue_capacity / 2;
    static constexpr std::size_t crowded_batch = 32;
    static constexpr std::size_t crowded_inject = 4;
    static constexpr std::int64_t lone_wake_interval_ns = 500'000;
    static constexpr std::int64_t lone_patience_ns = 5'000;
    static constexpr int most_spin_credit = 8;
    static constexpr int stack_lines = 8;  // what a fiber that waited for I/O needs to return
    static constexpr std::int64_t brisk_turn_ns = 200'000;

    static Worker* current_slow() noexcept;
    static void fiber_entry(Arrival arrival) noexcept;
    static void run_routine(FiberCore& fiber) noexcept;

    void go(FiberCore* next, After after) noexcept;
    static void arrive(Worker* worker, Context from) noexcept;
    void after_departure(FiberCore& departed) noexcept;
    void resume_at_once(FiberCore& departed, bool claimed, std::uint64_t epoch) noexcept;
    void recycle(FiberCore& departed) noexcept;
    void prepare_first_run(FiberCore& fiber) noexcept;

    // Of `wanted`; where nothing does one, lest a full queue shuts the others out for good.
    std::size_t what_fits(std::size_t wanted) const noexcept {
        const std::size_t left = queue_capacity - std::min(queue_.size(), queue_capacity);
        return left > crowded_inject ? std::min(wanted, left - crowded_inject) : 1;
    }
    FiberCore* take_local() noexcept;
    FiberCore* take_lifo() noexcept;
    FiberCore* take_ahead() noexcept;
    WEFT_API void make_ready_elsewhere(FiberCore& fiber) noexcept;
    FiberCore* find_work() noexcept;
    FiberCore* search() noexcept;
    FiberCore* steal() noexcept;
    FiberCore* found(FiberCore* fiber) noexcept;
    void prefetch_next() noexcept;
    void push_tail(FiberCore& fiber) noexcept;
    WEFT_API void overflow(FiberCore& fiber) noexcept;
    void notify(bool lone) noexcept {
        if (thieves_ != Thieves::none && !resting_) notify_others(lone);
    }
    WEFT_API void notify_others(bool lone) noexcept;
    void serve() noexcept;
    void judge_turn() noexcept;
    void serve_timers() noexcept;
    template <class Ready>
    std::size_t expire_timers(TimePoint now, std::size_t most, Ready&& ready) noexcept;
    void rest() noexcept;
    bool spin_pays() const noexcept;
    bool spin_for_work() noexcept;
    bool worth_stealing(std::uint32_t victim, TimePoint now) noexcept;
    bool work_in_sight() const noexcept;
    bool tick() noexcept;
    void adopt_injected() noexcept;
    void note_rest(std::int64_t slept_ns) noexcept;

    // --- fixed after construction ---
    Scheduler& scheduler_;
    const std::uint32_t index_;
    const Thieves thieves_;
    const bool simulated_;
    const bool force_migrate_;
    const std::size_t most_together_;
    std::unique_ptr<Driver> driver_;
    FaultStack fault_stack_;

    // --- own thread only ---
    ExceptionState* exceptions_ = nullptr;  // the thread's
    int* errno_ = nullptr;                  // the thread's
    Context loop_ = nullptr;
    FiberCore* departed_ = nullptr;
    std::uint64_t departed_epoch_ = 0;  // of a cancellable wait, else 0
    After after_ = After::nothing;
    bool searching_ = false;  // counted in Idle
    std::uint32_t budget_ = budget_per_turn;
    std::uint32_t ahead_run_ = 0;  // pinned and LIFO in a row
    bool resting_ = false;
    bool behind_ = false;  // there are more timers due than the queue has room for
    std::uint32_t next_round_ = tick_limit;
    bool brisk_ = false;               // its fibers took little time before the last serve()
    TimePoint served_{};               // when that was over
    std::int64_t out_of_turn_ns_ = 0;  // of what they take since then
    int spin_credit_ = 2;
    std::uint64_t next_id_ = 0;
    std::uint64_t id_end_ = 0;
    TimePoint last_lone_wake_{};
    // What this thief saw of each victim that has only one fiber to run.
    struct Observed {
        std::uint64_t ticks = 0;
        TimePoint since{};
    };
    std::vector<Observed> observed_;
    Random random_;
    StackCache stacks_;
    FiberCache fibers_;
    void* tsan_loop_ = nullptr;
    const void* loop_stack_bottom_ = nullptr;
    std::size_t loop_stack_size_ = 0;
    void* loop_fake_stack_ = nullptr;

    // --- written by the owner, read by any thread ---
    std::atomic<FiberCore*> fiber_{nullptr};
    std::atomic<std::uint64_t> ticks_{0};
    Tally rounds_;
    std::atomic<pid_t> tid_{0};
    ThreadState thread_state_;

    // --- any thread ---
    alignas(64) std::atomic<bool> attention_{false};
    std::atomic<bool> stuck_{false};
    std::atomic<FiberCore*> lifo_{nullptr};
    RunQueue<StdSync, FiberCore, queue_capacity> queue_;
    FiberQueue pinned_;
    TimerQueue timers_;
};

// --- inline: the way of every wait and every wake-up ---

inline FiberCore* Worker::take_local() noexcept {
    if (!pinned_.empty() || lifo_.load(std::memory_order_relaxed) != nullptr) {
        if (ahead_run_ < ahead_limit) {
            ++ahead_run_;
            if (FiberCore* fiber = take_ahead()) return fiber;
        }
    }
    ahead_run_ = 0;
    if (FiberCore* fiber = queue_.pop(thieves_)) {
        prefetch_next();
        return fiber;
    }
    return take_ahead();
}

// With many runnable fibers each one's block and stack are cold: they are asked
// for while the fibers before it run. Reads what is only a hint by then; a block
// is never unmapped.
inline void Worker::prefetch_next() noexcept {
    if (const FiberCore* second = queue_.peek(1)) __builtin_prefetch(second, 1);
    if (const FiberCore* first = queue_.peek(0)) {
        const auto* const stack = static_cast<const std::byte*>(first->context);
        if (stack == nullptr) return;  // it has not begun
        for (int line = 0; line < stack_lines; ++line) __builtin_prefetch(stack + 64 * line, 1);
    }
}

inline void Worker::push_tail(FiberCore& fiber) noexcept {
    if (!queue_.push(&fiber)) [[unlikely]]
        overflow(fiber);
}

inline void Worker::make_ready(FiberCore& fiber, Turn turn) noexcept {
    if (fiber.is_pinned() || force_migrate_) [[unlikely]]
        return make_ready_elsewhere(fiber);
    // In the loop nothing is in the cache: completions run in order of arrival.
    FiberCore* displaced = &fiber;
    if (turn == Turn::next && this->fiber() != nullptr) {
        if (thieves_ == Thieves::none) {
            displaced = lifo_.load(std::memory_order_relaxed);
            lifo_.store(&fiber, std::memory_order_relaxed);
        } else {
            displaced = lifo_.exchange(&fiber, std::memory_order_acq_rel);
        }
    }
    if (displaced == nullptr) return;
    push_tail(*displaced);
    notify(queue_.size() < 2);
}

}  // namespace weft::detail
