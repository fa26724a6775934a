// Layer: sched. Uses: base, context.
#include "sched/worker.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "sched/scheduler.hpp"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

// `used`: read by assembler alone, of which a link-time optimiser knows nothing.
[[gnu::used]] constinit thread_local weft::detail::Worker* weft_current_worker = nullptr;

namespace weft::detail {

Worker::Worker(Scheduler& scheduler, std::uint32_t index, std::unique_ptr<Driver> driver,
               std::uint64_t seed)
    : scheduler_{scheduler},
      index_{index},
      thieves_{scheduler.setup().workers > 1 ? Thieves::possible : Thieves::none},
      simulated_{scheduler.setup().simulated},
      force_migrate_{scheduler.setup().force_migrate},
      most_together_{driver->most_together()},
      driver_{std::move(driver)},
      observed_(scheduler.setup().workers),
      random_{seed},
      stacks_{scheduler.stacks(), scheduler.setup().stack_shift},
      fibers_{scheduler.table()} {}

Worker::~Worker() {
    WEFT_ASSERT(queue_.empty());
    WEFT_ASSERT(pinned_.empty());
    WEFT_ASSERT(lifo_.load(std::memory_order_relaxed) == nullptr);
    WEFT_ASSERT(timers_.live() == 0);
    // The driver's destructor sees to its operations.
}

[[gnu::noinline]] Worker* Worker::current_slow() noexcept {
    Worker** p = &weft_current_worker;
    asm volatile("" : "+r"(p));
    return *p;
}

// --- the thread's life ---

void Worker::attach() {
    weft_current_worker = this;
    tid_.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_relaxed);
    thread_state_.begin();
    exceptions_ = exception_state_of_thread();
    errno_ = errno_of_thread();
#if defined(WEFT_TSAN)
    tsan_loop_ = __tsan_get_current_fiber();
#endif
    tsan_release(&tsan_loop_);  // the thread's own variables are made: see go()
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        void* bottom = nullptr;
        pthread_attr_getstack(&attributes, &bottom, &loop_stack_size_);
        loop_stack_bottom_ = bottom;
        pthread_attr_destroy(&attributes);
    }
}

void Worker::detach() noexcept { weft_current_worker = nullptr; }

void Worker::run() noexcept {
    // Timers are late by the thread's slack, 50 us unless told otherwise.
    prctl(PR_SET_TIMERSLACK, 1000);
    fault_stack_.install();
    driver_->attach();
    while (FiberCore* next = find_work()) go(next, After::nothing);
    fault_stack_.remove();
    detach();
}

bool Worker::step(std::uint64_t& id) noexcept {
    FiberCore* next = nullptr;
    {
        const Unobserved quiet;
        serve();
        adopt_injected();
        // A thief's luck is drawn too: now and then it is faster than the owner.
        if (random_.below(4) == 0) next = steal();
        if (next == nullptr) next = take_local();
        if (next == nullptr) next = steal();
    }
    if (next == nullptr) return false;
    id = next->id.load(std::memory_order_relaxed);
    go(next, After::nothing);
    return true;
}

// --- switching ---

// Counts a switch. True: it is time to visit the loop.
inline bool Worker::tick() noexcept {
    ticks_.store(ticks_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return --next_round_ == 0 || attention_.load(std::memory_order_relaxed) || simulated_;
}

WEFT_SWITCH_INLINE void Worker::arrive(Worker* worker, Context from) noexcept {
    FiberCore* const departed = worker->departed_;
    if (departed == nullptr) {
        worker->loop_ = from;
        return;
    }
    departed->context = from;
    if (worker->after_ != After::commit) return worker->after_departure(*departed);
    const Unobserved quiet;
    const std::uint64_t epoch = worker->departed_epoch_;
    const bool claimed = departed->word().commit();
    // The fiber may be running elsewhere by now.
    if (claimed || (epoch != 0 && departed->interrupt_pending())) [[unlikely]] {
        worker->resume_at_once(*departed, claimed, epoch);
    }
}

// Inlined, so that a fiber that waits has one frame less on its stack, where each line is
// a miss of the cache when many others ran meanwhile. What is the thread's lies there too.
WEFT_SWITCH_INLINE void Worker::go(FiberCore* next, After after) noexcept {
    FiberCore* const self = fiber();
    departed_ = self;
    after_ = after;
    const int saved_errno = *errno_;
    const ExceptionState saved_exceptions = *exceptions_;
    if (next != nullptr && next->context == nullptr) [[unlikely]]
        prepare_first_run(*next);
    fiber_.store(next, std::memory_order_relaxed);
    budget_ = budget_per_turn;
#if defined(WEFT_ASAN)
    void** save = self == nullptr ? &loop_fake_stack_ : &self->asan_fake_stack;
    const Stack there = next == nullptr ? Stack{} : next->running_stack();
    __sanitizer_start_switch_fiber(after == After::recycle ? nullptr : save,
                                   there ? there.bottom() : loop_stack_bottom_,
                                   there ? there.committable() : loop_stack_size_);
#endif
#if defined(WEFT_TSAN)
    // Simulated workers share one thread, which orders everything.
    const unsigned flags = scheduler_.setup().simulated ? 0 : 1;
    __tsan_switch_to_fiber(next == nullptr ? tsan_loop_ : next->running_tsan_fiber(), flags);
#endif
    const Arrival arrival = switch_to(next == nullptr ? loop_ : next->context, this);
    // From here on `this` may be another worker's: only the arrival tells.
    auto* const worker = static_cast<Worker*>(arrival.data);
#if defined(WEFT_ASAN)
    __sanitizer_finish_switch_fiber(
        self == nullptr ? worker->loop_fake_stack_ : self->asan_fake_stack, nullptr, nullptr);
#endif
    *worker->exceptions_ = saved_exceptions;
    arrive(worker, arrival.fctx);
    tsan_acquire(&worker->tsan_loop_);
    if (self != nullptr) *worker->errno_ = saved_errno;
}

void Worker::after_departure(FiberCore& departed) noexcept {
    const Unobserved quiet;
    switch (after_) {
        case After::nothing:
        case After::commit: WEFT_ASSERT(!"a fiber left without saying why"); return;
        case After::requeue:
            if (departed.is_pinned()) return enqueue_pinned(departed);
            push_tail(departed);
            return notify(queue_.size() < 2);
        case After::recycle: return recycle(departed);
    }
}

// Its wait was claimed while it left, or it has been interrupted: a request_cancel() that
// found nothing to claim has set the flag before commit(). The epoch protects a fiber
// that runs elsewhere by now.
[[gnu::cold]] void Worker::resume_at_once(FiberCore& departed, bool claimed,
                                          std::uint64_t epoch) noexcept {
    const Unobserved quiet;
    if (claimed) return make_ready(departed, Turn::next);
    const Claim claim = departed.word().claim(epoch, Wake::cancelled);
    if (claim != Claim::lost && departed.word().resume(claim)) make_ready(departed, Turn::next);
}

void Worker::recycle(FiberCore& departed) noexcept {
    const bool daemon = departed.is_daemon;
#if defined(WEFT_TSAN)
    __tsan_destroy_fiber(departed.tsan_fiber);
#endif
    forget_frames(departed.stack());
    stacks_.release(departed.stack());
    stacks_.unreserve(departed.stack_shift);
    departed.stack_end = nullptr;
    departed.context = nullptr;
    release(&departed);
    scheduler_.count_finished(*this, daemon);
}

void Worker::prepare_first_run(FiberCore& fiber) noexcept {
    const Unobserved quiet;
    const Stack stack = stacks_.acquire(fiber.stack_shift);
    fiber.stack_end = stack.end;
    fiber.context = make_context(stack.top(), stack.size(), &Worker::fiber_entry);
#if defined(WEFT_TSAN)
    fiber.tsan_fiber = __tsan_create_fiber(0);
#endif
}

WEFT_NO_TSAN void Worker::fiber_entry(Arrival arrival) noexcept {
    auto* const worker = static_cast<Worker*>(arrival.data);
    tsan_acquire(&worker->scheduler_.setup());  // how the workers were made
    tsan_acquire(&worker->tsan_loop_);
    FiberCore* const self = worker->fiber();
#if defined(WEFT_ASAN)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    *worker->exceptions_ = ExceptionState{};
    arrive(worker, arrival.fctx);
    tsan_acquire(self);                 // what its spawner did
    tsan_acquire(self->stack_end - 1);  // what the last fiber did on this stack
    reset_float_control();
    run_routine(*self);
    current()->finish_fiber();
}

[[gnu::noinline]] void Worker::run_routine(FiberCore& fiber) noexcept {
    if (fiber.word().waiting()) Scheduler::end_delay(fiber);
    try {
        // Before it began: it never does.
        if (fiber.interrupt_pending()) fiber.scheduler->setup().throw_interrupt();
        fiber.routine->run(fiber.storage());
        fiber.has_result = true;
    } catch (...) {
        // Also Cancelled: what ended the fiber is for whoever joins it.
        if (current() == nullptr) std::terminate();
        fiber.error = std::current_exception();
    }
    // The only thread of a child of fork(), which has no runtime: the process ends with it.
    if (current() == nullptr) [[unlikely]]
        std::exit(EXIT_SUCCESS);
    // It does not unwind any more, and yet nothing but destructors comes now.
    fiber.open_shield();
    fiber.routine->discard_callable(fiber.storage());
    tsan_release(&fiber);
    fiber.scheduler->setup().at_end(fiber);
    fiber.close_shield();
    // What follows on this stack and in this block: the next fiber's, the table's.
    tsan_release(fiber.stack_end - 1);
    tsan_release(&fiber.references);
    tsan_release(fiber.scheduler);
}

WEFT_NO_TSAN void Worker::finish_fiber() noexcept {
    FiberCore* next = nullptr;
    {
        const Unobserved quiet;
        if (!tick()) next = take_local();
    }
    go(next, After::recycle);
    __builtin_unreachable();
}

[[gnu::hot]] void Worker::park_fiber() noexcept {
    FiberCore* next = nullptr;
    {
        const Unobserved quiet;
        departed_epoch_ = fiber()->word().cancellable_epoch();
        if (!tick()) [[likely]]
            next = take_local();
    }
    go(next, After::commit);
}

void Worker::yield_fiber() noexcept {
    FiberCore* next = nullptr;
    {
        const Unobserved quiet;
        const bool to_loop = tick();
        if (!to_loop) next = take_local();
        if (next == nullptr && !to_loop) return;  // nobody else
    }
    go(next, After::requeue);
}

// --- queues ---

// The queue is full: its older half and the newcomer go to everybody.
void Worker::overflow(FiberCore& fiber) noexcept {
    FiberCore* first = nullptr;
    FiberCore* last = nullptr;
    std::size_t count = 0;
    auto link = [&](FiberCore* one) {
        (first == nullptr ? first : last->next) = one;
        last = one;
        ++count;
    };
    queue_.shed_half(link);
    link(&fiber);
    scheduler_.injected().push_chain(first, last, count);
}

void Worker::make_ready_elsewhere(FiberCore& fiber) noexcept {
    if (!fiber.is_pinned()) {  // WEFT_FORCE_MIGRATE
        return scheduler_.worker((index_ + 1) % scheduler_.workers()).enqueue_pinned(fiber);
    }
    if (fiber.home == index_) return pinned_.push(&fiber);
    scheduler_.worker(fiber.home).enqueue_pinned(fiber);
}

FiberCore* Worker::take_lifo() noexcept {
    if (lifo_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    if (thieves_ == Thieves::none) {
        FiberCore* fiber = lifo_.load(std::memory_order_relaxed);
        lifo_.store(nullptr, std::memory_order_relaxed);
        return fiber;
    }
    return lifo_.exchange(nullptr, std::memory_order_acq_rel);
}

FiberCore* Worker::take_ahead() noexcept {
    if (FiberCore* fiber = pinned_.pop(1)) return fiber;
    return take_lifo();
}

void Worker::enqueue_new(FiberCore& fiber) noexcept {
    push_tail(fiber);
    notify(queue_.size() < 2);
}

void Worker::enqueue_pinned(FiberCore& fiber) noexcept {
    pinned_.push(&fiber);
    full_fence();
    scheduler_.wake(scheduler_.idle().claim(index_));
}

// `lone`: this worker will get to it in a moment, unless it does not come back.
void Worker::notify_others(bool lone) noexcept {
    auto& idle = scheduler_.idle();
    if (lone) {
        if (idle.sleeping() == 0) return;
        const TimePoint now = detail::now();
        if (now - last_lone_wake_ < std::chrono::nanoseconds{lone_wake_interval_ns}) return;
        last_lone_wake_ = now;
    }
    scheduler_.wake(idle.notify());
}

// No more than the queue has room for: else half of what queues there would go behind all who
// were injected.
void Worker::adopt_injected() noexcept {
    FiberCore* fiber =
        scheduler_.injected().pop(what_fits(behind_ ? crowded_inject : inject_batch));
    bool any = false;
    while (fiber != nullptr) {
        FiberCore* const next = fiber->next;
        if (next != nullptr) __builtin_prefetch(next, 1);
        push_tail(*fiber);
        any = true;
        fiber = next;
    }
    if (any) notify(queue_.size() < 2);
}

}  // namespace weft::detail
