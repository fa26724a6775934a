// Fiber: what a handle does. Layer: task. Uses: base, sched, park.
#include <weft/fiber.hpp>

#include "task/callbacks.hpp"
#include "task/fiber_end.hpp"
#include "task/follower.hpp"
#include "task/local.hpp"
#include "task/stop.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "park/park.hpp"
#include "park/wake_list.hpp"
#include "sched/scheduler.hpp"

#include <weft/cancelled.hpp>
#include <weft/runtime.hpp>

#include <cerrno>
#include <memory>
#include <new>
#include <stdexcept>
#include <system_error>

namespace weft::detail {

namespace {

Scheduler& scheduler_for(Runtime* runtime) {
    if (runtime != nullptr) return runtime->scheduler();
    Worker* const worker = Worker::current();
    if (worker == nullptr) {
        throw std::logic_error{
            "weft: spawn() outside a runtime; use weft::run() or Runtime::spawn()"};
    }
    return worker->scheduler();
}

/// Null when there is nothing to be kept there.
std::unique_ptr<FiberExtras> make_extras(const SpawnOptions& options) {
    const bool inherits = inheritable_locals.load(std::memory_order_relaxed) != 0;
    if (options.name.empty() && !inherits) return nullptr;
    try {
        std::unique_ptr<FiberExtras> extras;
        if (!options.name.empty()) {
            extras = std::make_unique<FiberExtras>();
            extras->name = std::make_unique<char[]>(options.name.size() + 1);
            options.name.copy(extras->name.get(), options.name.size());
        }
        if (inherits) inherit_locals(extras);
        return extras;
    } catch (const std::bad_alloc&) {
        throw_no_memory_to_spawn();
    }
}

// The duty of the second of the two, the fiber's end and the handle's.
void discard_outcome(FiberCore& fiber) noexcept {
    if (fiber.has_result) fiber.routine->discard_result(fiber.storage());
    if (fiber.error == nullptr) return;
    const bool observed =
        (fiber.marks.load(std::memory_order_relaxed) & FiberCore::mark_observed) != 0;
    if (!observed) report_unhandled(fiber, fiber.error);
    fiber.error = nullptr;
}

// The fiber is over, or will never be.
void tell_joiners(FiberCore& fiber) noexcept {
    WakeList joiners;
    StopLink* links = nullptr;
    FiberCore* callbacks = nullptr;
    {
        const Held held{fiber.joiners.lock()};
        fiber.done.store(true, std::memory_order_release);
        while (auto joiner = fiber.joiners.claim_front()) joiners.add(std::move(*joiner));
        FiberExtras* const extras = fiber.extras.load(std::memory_order_acquire);
        if (extras != nullptr) {
            links = std::exchange(extras->links, nullptr);
            callbacks = std::exchange(extras->callbacks, nullptr);
            tell_all(extras->followers, joiners);
        }
    }
    if (links != nullptr) drop_links(links);
    joiners.resume_all();
    launch_all(callbacks);
}

bool has_extras(const FiberCore& fiber) noexcept {
    return fiber.extras.load(std::memory_order_relaxed) != nullptr;
}

bool comes_second(FiberCore& fiber, std::uint8_t mine, std::uint8_t other) noexcept {
    return (fiber.marks.fetch_or(mine, std::memory_order_acq_rel) & other) != 0;
}

// Of a join, for Purpose.
Party* joined(const void* fiber) noexcept {
    return const_cast<FiberCore*>(static_cast<const FiberCore*>(fiber));
}

}  // namespace

// A fiber that ends because it was cancelled does what it was asked to. One that ends by
// the Cancelled of another, out of get(), fails as by any other exception.
void report_unhandled(FiberCore& fiber, const std::exception_ptr& error) noexcept {
    if (fiber.cancel_pending() && is_cancellation(error)) return;
    fiber.scheduler->setup().unhandled(fiber.id.load(std::memory_order_relaxed), name_of(&fiber),
                                       error);
}

bool is_cancellation(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const Cancelled&) {
        return true;
    } catch (...) {
        return false;
    }
}

void throw_no_memory_for(FiberCore* unrun) {
    unrun->routine->discard_callable(unrun->storage());
    abandon_fiber(unrun);
    throw_no_memory_to_spawn();
}

FiberCore* create_fiber(Runtime* runtime, const SpawnOptions& options, const Routine& routine) {
    Scheduler& scheduler = scheduler_for(runtime);
    const std::uint8_t shift = options.stack_size == 0 ? scheduler.setup().stack_shift
                                                       : StackPool::shift_for(options.stack_size);
    return scheduler.create(routine, {shift, options.daemon, options.pinned, make_extras(options)});
}

void* storage_of(FiberCore* fiber) noexcept { return fiber->storage(); }

void abandon_fiber(FiberCore* fiber) noexcept {
    if (has_extras(*fiber)) destroy_locals(*fiber);
    tell_joiners(*fiber);  // who found it in the list of all fibers may wait for it
    fiber->scheduler->abandon(fiber);
}

void start_fiber(FiberCore* fiber) noexcept { fiber->scheduler->start_fiber(*fiber); }

void start_fiber_at(FiberCore* fiber, Deadline when) {
    if (when.passed()) return start_fiber(fiber);
    try {
        fiber->need_extras();
    } catch (const std::bad_alloc&) {
        throw_no_memory_for(fiber);
    }
    fiber->scheduler->start_fiber_at(*fiber, when);
}

void retain(FiberCore* fiber) noexcept {
    fiber->references.fetch_add(1, std::memory_order_relaxed);
}

void release(FiberCore* fiber) noexcept {
    if (fiber->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        fiber->scheduler->free_block(fiber);
    }
}

void drop_handle(FiberCore* fiber) noexcept {
    if (is_done(fiber) ||
        comes_second(*fiber, FiberCore::mark_handle_gone, FiberCore::mark_ended)) {
        tsan_acquire(fiber);
        discard_outcome(*fiber);
    }
    drop_reference(fiber);
}

void drop_reference(FiberCore* fiber) noexcept {
    tsan_release(&fiber->references);
    release(fiber);
}

void end_fiber(FiberCore& fiber) noexcept {
    if (comes_second(fiber, FiberCore::mark_ended, FiberCore::mark_handle_gone)) {
        discard_outcome(fiber);
    }
    if (has_extras(fiber)) destroy_locals(fiber);
    tell_joiners(fiber);
}

bool is_done(const FiberCore* fiber) noexcept {
    return fiber->done.load(std::memory_order_acquire);
}

bool join(FiberCore* fiber, Deadline deadline) {
    if (static_cast<Party*>(fiber) == &this_party()) {
        throw std::system_error{std::make_error_code(std::errc::resource_deadlock_would_occur),
                                "weft: a fiber joins itself"};
    }
    check_interrupt();
    if (is_done(fiber)) return true;
    Held held{fiber->joiners.lock()};
    if (fiber->done.load(std::memory_order_relaxed)) return true;
    Waiter self;
    return park_or_throw(held, fiber->joiners, self, deadline,
                         Purpose{"join", fiber, &joined, may_throw_here()});
}

void cancel(FiberCore* fiber) noexcept {
    if (is_done(fiber)) return;
    interrupt(*fiber);
    stop_tokens(*fiber);
}

void throw_in(FiberCore* fiber, std::exception_ptr error) {
    if (error == nullptr) throw std::invalid_argument{"weft: throw_in() of no exception"};
    if (!is_done(fiber)) throw_in(*fiber, std::move(error));
}

bool add_follower(FiberCore* fiber, Follower& follower) {
    FiberExtras& extras = fiber->need_extras();
    const Held held{fiber->joiners.lock()};
    if (is_done(fiber)) return false;
    add(extras.followers, follower);
    return true;
}

void remove_follower(FiberCore* fiber, Follower& follower) noexcept {
    const Held held{fiber->joiners.lock()};
    remove(fiber->extras.load(std::memory_order_acquire)->followers, follower);
}

void start_at_end(FiberCore* fiber, FiberCore* callback) {
    FiberExtras* extras = nullptr;
    try {
        extras = &fiber->need_extras();
    } catch (const std::bad_alloc&) {
        throw_no_memory_for(callback);
    }
    {
        const Held held{fiber->joiners.lock()};
        if (!is_done(fiber)) {
            callback->next = std::exchange(extras->callbacks, callback);
            return;
        }
    }
    launch(callback);
}

bool has_failed(FiberCore* fiber) noexcept {
    if (!is_done(fiber)) return false;
    tsan_acquire(fiber);
    return fiber->error != nullptr && !is_cancellation(fiber->error);
}

bool is_cancelled(const FiberCore* fiber) noexcept { return fiber->cancel_pending(); }

unsigned cancellations_swallowed(const FiberCore* fiber) noexcept {
    return fiber->cancellations_swallowed();
}

bool is_daemon(const FiberCore* fiber) noexcept { return fiber->is_daemon; }

std::uint64_t id_of(const FiberCore* fiber) noexcept {
    return fiber->id.load(std::memory_order_relaxed);
}

std::string_view name_of(const FiberCore* fiber) noexcept {
    const char* const name = fiber->name();
    return name == nullptr ? std::string_view{} : std::string_view{name};
}

void* take_result(FiberCore* fiber) {
    join(fiber, Deadline::never());
    tsan_acquire(fiber);
    if (fiber->error != nullptr) {
        // A TaskGroup that is cancelled interrupts its body first, then the child that it
        // waits for here: that may have ended since join() looked.
        check_interrupt();
        fiber->marks.fetch_or(FiberCore::mark_observed, std::memory_order_relaxed);
        std::rethrow_exception(fiber->error);
    }
    if (std::exchange(fiber->result_taken, true)) {
        throw std::logic_error{"weft: the fiber's result was taken before"};
    }
    return fiber->storage();
}

}  // namespace weft::detail
