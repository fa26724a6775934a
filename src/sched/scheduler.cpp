// Layer: sched. Uses: base, context.
#include "sched/scheduler.hpp"

#include "base/assert.hpp"
#include "base/futex.hpp"
#include "base/own_thread.hpp"
#include "base/sanitizer.hpp"
#include "sched/fault.hpp"

#include <algorithm>
#include <cstddef>
#include <latch>
#include <new>
#include <system_error>

namespace weft::detail {

namespace {

// Ids are handed out in blocks, so that spawning touches no shared word.
std::atomic<std::uint64_t> next_id_block{1};

constinit std::atomic<bool> some_halted{false};

void allocate_storage(FiberCore& fiber, const Routine& routine) {
    if (FiberCore::is_small(routine)) return;
    fiber.heap_storage = ::operator new (routine.size, std::align_val_t{routine.align});
}

void free_storage(FiberCore& fiber) noexcept {
    if (FiberCore::is_small(*fiber.routine)) return;
    ::operator delete (fiber.heap_storage, std::align_val_t{fiber.routine->align});
}

}  // namespace

Scheduler::Scheduler(const Setup& setup, const MakeDriver& make_driver)
    : setup_{setup}, idle_{setup.workers}, watchdog_{*this, table_} {
    prepare_fences();
    if (!setup.simulated) install_fault_handlers();
    workers_.reserve(setup.workers);
    for (std::uint32_t i = 0; i < setup.workers; ++i) {
        workers_.push_back(
            std::make_unique<Worker>(*this, i, make_driver(i), setup.seed + i * 0x9E3779B9u));
    }
}

Scheduler::~Scheduler() {
    WEFT_ASSERT(!halted());
    stop();
    for (unsigned turn = 0; outsiders_.load(std::memory_order_acquire) != 0; ++turn) {
        spin_pause(turn);  // they are on their way out: see enqueue_from_outside()
    }
    tsan_acquire(this);
    WEFT_ASSERT(injected_.empty());
    WEFT_ASSERT(quiet(true));
    if (FiberCore* const first = main()) release(first);
    workers_.clear();
    WEFT_ASSERT(stacks_.in_use() == 0);
}

void Scheduler::start() {
    tsan_release(&setup_);  // for the fibers, whatever thread they run on
    threads_.reserve(workers_.size());
    std::latch begun{static_cast<std::ptrdiff_t>(workers_.size())};
    try {
        for (auto& worker : workers_) {
            running_workers_.fetch_add(1, std::memory_order_relaxed);
            threads_.push_back(start_own_thread([this, &begun, &w = *worker] {
                w.attach();
                begun.count_down();
                run_worker(w);
            }));
        }
        // None opens anything later, and has for a moment the number a program counts on.
        begun.wait();
        watchdog_.start();
    } catch (...) {
        stop();
        throw;
    }
}

void Scheduler::stop() noexcept {
    stopping_.store(true, std::memory_order_seq_cst);
    watchdog_.stop();
    for (auto& worker : workers_) worker->driver().wake();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
}

void Scheduler::run_worker(Worker& worker) noexcept {
    worker.run();
    running_workers_.fetch_sub(1, std::memory_order_release);
    futex_wake_all(&running_workers_);
}

bool Scheduler::any_halted() noexcept { return some_halted.load(std::memory_order_acquire); }

void Scheduler::halt() noexcept {
    halted_.store(true, std::memory_order_release);
    some_halted.store(true, std::memory_order_release);
    stopping_.store(true, std::memory_order_seq_cst);
    Worker* const here = Worker::current();
    const std::uint32_t own = here != nullptr && &here->scheduler() == this ? 1 : 0;
    for (auto& worker : workers_) {
        worker->ask_for_attention();
        worker->driver().wake();
    }
    const auto limit = std::chrono::steady_clock::now() + halt_limit;
    std::uint32_t running = running_workers_.load(std::memory_order_acquire);
    while (running > own && futex_wait(running_workers_, running, limit)) {
        running = running_workers_.load(std::memory_order_acquire);
    }
    for (auto& thread : threads_) {
        const bool has_ended = running <= own && thread.get_id() != std::this_thread::get_id();
        has_ended ? thread.join() : thread.detach();
    }
    threads_.clear();
}

// --- standstill ---

std::optional<std::uint64_t> Scheduler::rounds_if_asleep() const noexcept {
    if (stopping() || !watchdog_.rests() || idle_.sleeping() != workers()) return std::nullopt;
    std::uint64_t sum = watchdog_.trims();
    for (const auto& worker : workers_) sum += worker->rounds();
    return sum;
}

bool Scheduler::nothing_under_way() noexcept {
    return injected_.empty() && std::all_of(workers_.begin(), workers_.end(), [](auto& worker) {
               return !worker->has_work() && !worker->driver().is_busy() &&
                      !worker->timers().any_live();
           });
}

bool Scheduler::owns_thread(pid_t tid) const noexcept {
    return watchdog_.tid() == tid ||
           std::any_of(workers_.begin(), workers_.end(),
                       [tid](const auto& worker) { return worker->tid() == tid; });
}

// The watchdog rests for good over daemons alone. Now they are waited for: it sees
// that we are closing when it begins to rest, or is told.
void Scheduler::close_to_daemons() noexcept {
    closing_.store(true, std::memory_order_seq_cst);
    watchdog_.notice();
}

// --- queues ---

// Once the fiber is queued it may run, end, and be the last one somebody waited
// for to destroy this. So outsiders are counted while they are inside.
void Scheduler::enqueue_from_outside(FiberCore& fiber) noexcept {
    outsiders_.fetch_add(1, std::memory_order_relaxed);
    {
        const Unobserved quiet;
        if (fiber.is_pinned()) {
            worker(fiber.home).enqueue_pinned(fiber);
        } else {
            injected_.push(&fiber);
            full_fence();  // an outsider pays itself: see Idle::announce()
            wake(idle_.notify());
        }
    }
    outsiders_.fetch_sub(1, std::memory_order_release);  // pairs with ~Scheduler
}

void Scheduler::wake(std::uint32_t who) noexcept {
    if (who != Idle<StdSync>::nobody) workers_[who]->driver().wake();
}

// --- control blocks ---

FiberCore* Scheduler::create(const Routine& routine, Birth&& birth) {
    auto& [shift, daemon, pinned, extras] = birth;
    FiberCore* const fiber = take_block(routine, shift);
    tsan_acquire(&fiber->references);  // what was done with the block before
    tsan_release(&fiber->extras);      // for those who find it in the table
    const Unobserved quiet;
    fiber->routine = &routine;
    fiber->scheduler = this;
    fiber->stack_shift = shift;
    fiber->extras.store(extras.release(), std::memory_order_relaxed);
    fiber->next = nullptr;
    fiber->context = nullptr;
    fiber->home = FiberCore::anywhere;
    fiber->pins = pinned ? 1 : 0;
    fiber->foreign = 0;
    fiber->bypasses = 0;
    fiber->locks = 0;
    fiber->is_daemon = daemon;
    fiber->has_result = false;
    fiber->result_taken = false;
    fiber->marks.store(0, std::memory_order_relaxed);
    fiber->done.store(false, std::memory_order_relaxed);
    fiber->clear_interrupts();
    fiber->id.store(next_id(), std::memory_order_relaxed);
    fiber->references.store(2, std::memory_order_seq_cst);  // the run and the handle
    // Pairs with close_to_daemons(): it is cancelled here, or by who closes.
    if (daemon && closing_.load(std::memory_order_seq_cst)) fiber->set_cancelled();
    return fiber;
}

FiberCore* Scheduler::take_block(const Routine& routine, std::uint8_t shift) {
    const Unobserved quiet;
    Worker* here = Worker::current();
    if (here != nullptr && &here->scheduler() != this) here = nullptr;
    if (here != nullptr) {
        here->stacks().reserve(shift);
    } else {
        stacks_.reserve(shift, 1);
    }
    FiberCore* fiber = nullptr;
    try {
        fiber = here != nullptr ? here->fibers().take() : table_.take(1);
        allocate_storage(*fiber, routine);
        return fiber;
    } catch (const std::bad_alloc&) {
        if (fiber != nullptr) table_.give_back(fiber, fiber, 1);
        return_promise(shift);
        throw_no_memory_to_spawn();
    }
}

void Scheduler::abandon(FiberCore* fiber) noexcept {
    return_promise(fiber->stack_shift);
    // Both references, unless a dump holds one more.
    if (fiber->references.fetch_sub(2, std::memory_order_acq_rel) == 2) free_block(fiber);
}

void Scheduler::return_promise(std::uint8_t shift) noexcept {
    Worker* const here = Worker::current();
    if (here != nullptr && &here->scheduler() == this) return here->stacks().unreserve(shift);
    stacks_.unreserve(shift, 1);
}

void Scheduler::start_fiber(FiberCore& fiber) noexcept {
    tsan_release(&fiber);
    const Unobserved quiet;
    count_spawned(fiber.is_daemon);
    if (fiber.is_pinned()) give_home(fiber);
    Worker* const here = Worker::current();
    if (here == nullptr || &here->scheduler() != this) return enqueue_from_outside(fiber);
    if (fiber.is_pinned()) return worker(fiber.home).enqueue_pinned(fiber);
    here->enqueue_new(fiber);
}

/// Unless it was given one already.
void Scheduler::give_home(FiberCore& fiber) noexcept {
    if (fiber.home != FiberCore::anywhere) return;
    Worker* const here = Worker::current();
    const bool inside = here != nullptr && &here->scheduler() == this;
    const std::uint64_t any = fiber.id.load(std::memory_order_relaxed) % workers();
    fiber.home = static_cast<std::uint16_t>(inside ? here->index() : any);
}

// A new fiber whose wait word is armed is one that waits for its start: its timer
// and its canceller claim it as they would any other, and whoever resumes it
// queues a fiber that has no context, which is one to be started.
void Scheduler::start_fiber_at(FiberCore& fiber, Deadline when) noexcept {
    static constexpr Purpose until_its_start{"spawn_later"};
    tsan_release(&fiber);
    const Unobserved quiet;
    count_spawned(fiber.is_daemon);
    if (fiber.is_pinned()) give_home(fiber);
    fiber.purpose = &until_its_start;
    const Ticket ticket{&fiber, fiber.word().arm(Cancellable::yes)};
    if (!when.is_never()) {
        FiberExtras& extras = *fiber.extras.load(std::memory_order_relaxed);
        extras.delayed_by = &Worker::current()->timers();
        extras.delayed_by->add(when.at(), ticket, extras.delay);
    }
    // As in Worker::after_departure(): the block is the caller's no more.
    if (fiber.word().commit()) return make_ready(fiber, Turn::in_order);
    if (!fiber.interrupt_pending()) return;
    const Claim claim = fiber.word().claim(ticket.epoch, Wake::cancelled);
    if (claim != Claim::lost && fiber.word().resume(claim)) make_ready(fiber, Turn::in_order);
}

void Scheduler::end_delay(FiberCore& fiber) noexcept {
    const Unobserved quiet;
    FiberExtras& extras = *fiber.extras.load(std::memory_order_relaxed);
    if (extras.delayed_by != nullptr && !fiber.word().ended_by(Wake::timed_out)) {
        extras.delayed_by->left_behind(extras.delay);
    }
    fiber.word().finish();
}

void Scheduler::set_main(FiberCore& fiber) noexcept {
    retain(&fiber);
    main_.store(&fiber, std::memory_order_release);
}

void Scheduler::free_block(FiberCore* fiber) noexcept {
    tsan_release(&fiber->references);
    const Unobserved quiet;
    free_storage(*fiber);
    if (FiberExtras* const extras = fiber->extras.load(std::memory_order_relaxed)) {
        delete extras;
        fiber->extras.store(nullptr, std::memory_order_relaxed);
    }
    fiber->id.store(0, std::memory_order_relaxed);
    Worker* const here = Worker::current();
    if (here != nullptr && &here->scheduler() == this) return here->fibers().give_back(fiber);
    table_.give_back(fiber, fiber, 1);
}

std::uint64_t Scheduler::next_id() noexcept {
    constexpr std::uint64_t block = 1024;
    Worker* const here = Worker::current();
    if (here == nullptr) return next_id_block.fetch_add(block, std::memory_order_relaxed);
    return here->next_id(next_id_block, block);
}

// --- counting ---

void Scheduler::count_spawned(bool daemon) noexcept {
    Worker* const here = Worker::current();
    if (here != nullptr && &here->scheduler() == this) {
        (daemon ? here->tallies.daemons_spawned : here->tallies.spawned).add();
        return;
    }
    (daemon ? foreign_daemons_spawned_ : foreign_spawned_).fetch_add(1, std::memory_order_seq_cst);
}

void Scheduler::count_finished(Worker& worker, bool daemon) noexcept {
    (daemon ? worker.tallies.daemons_finished : worker.tallies.finished).add();
    StdSync::light_fence();  // pairs with wait_until_quiet()
    if (quiet_waiters_.load(std::memory_order_relaxed) == 0) return;
    full_fence();  // of two that finish last, at least one sees both
    if (!quiet(true) && !quiet(false)) return;
    quiet_signal_.fetch_add(1, std::memory_order_seq_cst);
    futex_wake_all(&quiet_signal_);
}

// What finished is read before what was spawned: if both are equal, nothing was
// alive at the moment between, and only an outsider could have spawned since.
bool Scheduler::quiet(bool daemons) const noexcept {
    std::uint64_t finished = 0;
    std::uint64_t spawned = 0;
    for (const auto& worker : workers_) {
        finished += worker->tallies.finished.get();
        if (daemons) finished += worker->tallies.daemons_finished.get();
    }
    spawned += foreign_spawned_.load(std::memory_order_seq_cst);
    if (daemons) spawned += foreign_daemons_spawned_.load(std::memory_order_seq_cst);
    for (const auto& worker : workers_) {
        spawned += worker->tallies.spawned.get();
        if (daemons) spawned += worker->tallies.daemons_spawned.get();
    }
    return finished == spawned;
}

void Scheduler::wait_until_quiet(bool daemons) noexcept {
    quiet_waiters_.fetch_add(1, std::memory_order_seq_cst);
    interrupt_all_threads();  // a finisher sees us, or we see what it counted
    for (;;) {
        const std::uint32_t seen = quiet_signal_.load(std::memory_order_seq_cst);
        if (quiet(daemons)) break;
        futex_wait(quiet_signal_, seen);
    }
    quiet_waiters_.fetch_sub(1, std::memory_order_seq_cst);
}

std::uint64_t Scheduler::spawned() const noexcept {
    std::uint64_t sum = foreign_spawned_.load() + foreign_daemons_spawned_.load();
    for (const auto& worker : workers_) {
        sum += worker->tallies.spawned.get() + worker->tallies.daemons_spawned.get();
    }
    return sum;
}

std::uint64_t Scheduler::finished() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& worker : workers_) {
        sum += worker->tallies.finished.get() + worker->tallies.daemons_finished.get();
    }
    return sum;
}

}  // namespace weft::detail
