// TaskGroup: who waits for whom, and who cancels whom. Layer: task. Uses: sched, park.
//
// Invariants
//  1. alive_ counts the children until they are done, told by the fiber's own end, and
//     whoever is about to interrupt the owner. At zero, and closed, nobody has the group.
//  2. A child's node is in active_, in condemned_, or, without a child, in spent_.
//     That of one that failed and has ended is kept for its error.
//  3. From cancelled_ on no node comes into active_, and whoever set it empties it.
//
// The owner is interrupted by a Cancelled thrown in, once, since its own cancellation
// would outlast the scope. If it was not delivered by the end of the body it is taken
// back; if it was, it goes no further than that.
//
// Locking: waiters_.lock() comes after a fiber's joiners.lock(). Children are cancelled
//  without it, each held by a reference.
#include <weft/task_group.hpp>

#include "task/fiber_end.hpp"
#include "task/follower.hpp"

#include "base/assert.hpp"
#include "park/interrupt.hpp"
#include "park/park.hpp"
#include "sched/scheduler.hpp"

#include <weft/cancelled.hpp>
#include <weft/timeout.hpp>

#include <stdexcept>

namespace weft {

namespace detail {

struct Child : Follower {
    explicit Child(TaskGroup& its_group) noexcept : group{&its_group} { told = &ended; }

    static void ended(Follower& follower, WakeList& woken) noexcept;
    void move_to(Child*& other) noexcept;
    void leave_list() noexcept;

    TaskGroup* const group;
    FiberCore* core = nullptr;  // null: the body
    std::exception_ptr error;   // then `core` is held by a reference
    Child* next_failed = nullptr;

private:
    Child** list_ = nullptr;  // which of the group's it is in
    Child* before_ = nullptr;
    Child* after_ = nullptr;
};

void Child::leave_list() noexcept {
    if (list_ == nullptr) return;
    (before_ != nullptr ? before_->after_ : *list_) = after_;
    if (after_ != nullptr) after_->before_ = before_;
    list_ = nullptr;
}

void Child::move_to(Child*& other) noexcept {
    leave_list();
    list_ = &other;
    before_ = nullptr;
    after_ = other;
    if (other != nullptr) other->before_ = this;
    other = this;
}

// The fiber is done, and its end holds its joiners.lock().
void Child::ended(Follower& follower, WakeList& woken) noexcept {
    auto& child = static_cast<Child&>(follower);
    TaskGroup& group = *child.group;
    const Held held{group.waiters_.lock()};
    child.error == nullptr ? child.move_to(group.spent_) : child.leave_list();
    if (--group.alive_ > 0) return;
    if (auto owner = group.waiters_.claim_front()) woken.add(std::move(*owner));
}

Child* prepare_child(TaskGroup& group) {
    {
        const Held held{group.waiters_.lock()};
        if (group.closed_) throw std::logic_error{"weft: start_soon() in a TaskGroup that ended"};
        ++group.alive_;
        if (Child* const again = group.spent_) {
            again->leave_list();
            return again;
        }
    }
    try {
        return new Child{group};
    } catch (...) {
        group.release();
        throw;
    }
}

void forget_child(Child* child) noexcept {
    TaskGroup& group = *child->group;
    {
        const Held held{group.waiters_.lock()};
        child->move_to(group.spent_);
    }
    group.release();
}

void start_child(Child* child, FiberCore* core) {
    TaskGroup& group = *child->group;
    child->core = core;
    try {
        add_follower(core, *child);
    } catch (const std::bad_alloc&) {
        forget_child(child);
        throw_no_memory_for(core);
    }
    bool cancelled = false;
    {
        const Held held{group.waiters_.lock()};
        cancelled = group.cancelled_;
        child->move_to(cancelled ? group.condemned_ : group.active_);
    }
    if (cancelled) cancel(core);
    start_fiber(core);
}

void child_failed(Child* child, std::exception_ptr error) noexcept {
    FiberCore& me = *child->core;
    // The group's, whoever has the handle.
    me.marks.fetch_or(FiberCore::mark_observed, std::memory_order_relaxed);
    if (is_cancellation(error)) return;
    retain(&me);
    child->group->note_failure(*child, std::move(error));
}

void run_task_group(void (*body)(void*, TaskGroup&), void* context) {
    TaskGroup group;
    group.run_body(body, context);
}

namespace {

FiberCore* this_fiber_or_throw() {
    Worker* const worker = Worker::current();
    if (worker == nullptr || worker->fiber() == nullptr) {
        throw std::logic_error{"weft: a TaskGroup outside a fiber"};
    }
    return worker->fiber();
}

bool is_timeout(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const TimedOut&) {
        return true;
    } catch (...) {
        return false;
    }
}

}  // namespace
}  // namespace detail

using detail::Child;
using detail::Held;

TaskGroup::TaskGroup() : owner_{detail::this_fiber_or_throw()}, body_{new Child{*this}} {}

TaskGroup::~TaskGroup() {
    if (!closed_) {
        end_all();
        wait_for_children(std::make_exception_ptr(Cancelled{}));
    }
    report_failures();
    if (body_->error == nullptr) delete body_;
    while (Child* const failed = first_failed_) {
        first_failed_ = failed->next_failed;
        if (failed->core != nullptr) detail::drop_reference(failed->core);
        delete failed;
    }
    while (Child* const spent = spent_) {
        spent->leave_list();
        delete spent;
    }
}

// --- ending ---

void TaskGroup::note_failure(Child& whose, std::exception_ptr error) noexcept {
    {
        const Held held{waiters_.lock()};
        whose.error = std::move(error);
        (first_failed_ == nullptr ? first_failed_ : last_failed_->next_failed) = &whose;
        last_failed_ = &whose;
        ++failure_count_;
    }
    end_all();
}

void TaskGroup::cancel() noexcept {
    {
        const Held held{waiters_.lock()};
        if (closed_) return;
        ++alive_;
    }
    end_all();
    release();
}

void TaskGroup::end_all() noexcept {
    {
        const Held held{waiters_.lock()};
        if (std::exchange(cancelled_, true)) return;
    }
    // First, lest a body that waits for a child's result gets that child's Cancelled.
    interrupt_owner();
    while (detail::FiberCore* const child = condemn_one()) {
        detail::cancel(child);
        detail::drop_reference(child);
    }
}

// With a reference; null: all are.
detail::FiberCore* TaskGroup::condemn_one() noexcept {
    const Held held{waiters_.lock()};
    Child* const child = active_;
    if (child == nullptr) return nullptr;
    child->move_to(condemned_);
    detail::retain(child->core);
    return child->core;
}

void TaskGroup::interrupt_owner() noexcept {
    {
        const Held held{waiters_.lock()};
        if (!interrupts_owner_) return;
        interrupted_owner_ = true;
    }
    try {
        detail::throw_in(*owner_, interrupt_);
    } catch (const std::bad_alloc&) {
        // The body goes on to its end.
    }
}

// Of a count in alive_.
void TaskGroup::release() noexcept {
    Held held{waiters_.lock()};
    if (--alive_ > 0) return;
    auto owner = waiters_.claim_front();
    held.unlock();
    if (owner) std::move(*owner).resume();
}

bool TaskGroup::cancelled() const noexcept {
    const Held held{waiters_.lock()};
    return cancelled_;
}

std::size_t TaskGroup::size() const noexcept {
    const Held held{waiters_.lock()};
    return alive_;
}

// --- the owner ---

// Returns what interrupted it, at first or in between.
std::exception_ptr TaskGroup::wait_for_children(std::exception_ptr interrupted) noexcept {
    for (;;) {
        try {
            if (interrupted == nullptr) detail::check_interrupt();
            if (close_or_park(interrupted == nullptr)) return interrupted;
        } catch (...) {
            interrupted = std::current_exception();
            end_all();
        }
    }
}

// True: all have ended, and no others will begin.
bool TaskGroup::close_or_park(bool may_throw) {
    constexpr detail::Purpose purpose{"TaskGroup::join"};
    Held held{waiters_.lock()};
    if (alive_ == 0) {
        closed_ = true;
        return true;
    }
    detail::Waiter self;
    if (may_throw) {
        park_or_throw(held, waiters_, self, Deadline::never(), purpose);
    } else {
        park(held, waiters_, self, Deadline::never(), detail::Cancellable::no, purpose);
    }
    return false;
}

void TaskGroup::join() {
    if (detail::this_fiber_or_throw() != owner_) {
        throw std::logic_error{"weft: join() of another fiber's TaskGroup"};
    }
    throw_outcome(wait_for_children(nullptr));
}

void TaskGroup::run_body(void (*body)(void*, TaskGroup&), void* context) {
    interrupt_ = std::make_exception_ptr(Cancelled{});
    set_interrupts_owner(true);
    std::exception_ptr left;
    try {
        body(context, *this);
    } catch (...) {
        left = std::current_exception();
    }
    set_interrupts_owner(false);
    if (left != nullptr) {
        const bool failed = !detail::is_cancellation(left) && !detail::is_timeout(left);
        failed ? note_failure(*body_, left) : end_all();
    }
    left = wait_for_children(std::move(left));
    // What it threw itself, if that was delivered, goes no further.
    const bool own = interrupted_owner_ && !detail::take_back(*owner_, interrupt_);
    const bool ends_here =
        own && left != nullptr && detail::is_cancellation(left) && !owner_->cancel_pending();
    throw_outcome(ends_here ? nullptr : std::move(left));
}

void TaskGroup::set_interrupts_owner(bool does) noexcept {
    const Held held{waiters_.lock()};
    interrupts_owner_ = does;
}

void TaskGroup::throw_outcome(std::exception_ptr interrupted) {
    if (first_failed_ != nullptr) {
        if (told_ == 0) told_ = 1;
        std::rethrow_exception(first_failed_->error);
    }
    if (interrupted != nullptr) std::rethrow_exception(std::move(interrupted));
}

std::exception_ptr TaskGroup::failure(std::size_t index) noexcept {
    WEFT_ASSERT(index < failure_count_);
    told_ = failure_count_;
    const Child* failed = first_failed_;
    while (index-- > 0) failed = failed->next_failed;
    return failed->error;
}

void TaskGroup::report_failures() noexcept {
    std::size_t index = 0;
    for (const Child* failed = first_failed_; failed != nullptr; failed = failed->next_failed) {
        if (index++ < told_) continue;
        const detail::FiberCore* const core = failed->core != nullptr ? failed->core : owner_;
        core->scheduler->setup().unhandled(detail::id_of(core), detail::name_of(core),
                                           failed->error);
    }
}

}  // namespace weft
