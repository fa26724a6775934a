// Layer: park. Uses: base, sched.
#include "park/park.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "park/completion.hpp"
#include "park/deadlock.hpp"
#include "park/interrupt.hpp"
#include "park/thread_party.hpp"
#include "sched/scheduler.hpp"

namespace weft::detail {

void make_thread_ready(Party& party) noexcept { static_cast<ThreadParty&>(party).make_ready(); }

Party& party_of_this_thread() noexcept { return ThreadParty::of_this_thread(); }

void suspend_otherwise(Ticket ticket, Deadline deadline, const Purpose& purpose) noexcept {
    Party& me = *ticket.party;
    purpose_of(me) = &purpose;
    if (me.kind() == Party::Kind::thread) {
        return static_cast<ThreadParty&>(me).suspend(ticket, deadline);
    }
    Worker* const worker = Worker::current();
    TimerQueue::Spare spare;
    worker->timers().add(deadline.at(), ticket, spare);
    worker->park_fiber();
    // `worker` may be another one's by now; the timer's entry is still there.
    if (!me.word().ended_by(Wake::timed_out)) worker->timers().left_behind(spare);
}

Wake park(Held& held, WaitList& queue, Waiter& self, Deadline deadline, Cancellable cancellable,
          const Purpose& purpose) noexcept {
    return park_erased(held, queue, self, deadline, cancellable, purpose, nullptr, nullptr);
}

Wake park_erased(Held& held, WaitList& queue, Waiter& self, Deadline deadline,
                 Cancellable cancellable, const Purpose& purpose, void (*release)(void*),
                 void* context) noexcept {
    WEFT_ASSERT(held.owns_lock());
    Party& me = this_party();
    const Limit limit{me, deadline, cancellable};
    if (const auto over = limit.over()) {
        held.unlock();
        // Who asks again and again so leaves room for others.
        if (*over == Wake::timed_out) Worker::consume_budget();
        return *over;
    }
    // One with a deadline ends by itself.
    const bool awaits_owner = purpose.owner != nullptr && limit.deadline().is_never();
    me.set_awaits_owner(awaits_owner);
    self.ticket = Ticket{&me, me.word().arm(limit.cancellable())};
    queue.push(self);
    held.unlock();
    if (release != nullptr) release(context);

    const bool watched = awaits_owner && cycles_watched.load(std::memory_order_relaxed);
    const bool broken = watched && closes_cycle(self.ticket, purpose);
    const Wake why = broken ? me.word().finish() : suspend(self.ticket, limit, purpose);
    if (why != Wake::notified) {
        held.lock();
        queue.remove(self);
        held.unlock();
    }
    return why;
}

bool park_or_throw(Held& held, WaitList& queue, Waiter& self, Deadline deadline,
                   const Purpose& purpose) {
    return notified_or_throw(park(held, queue, self, deadline, Cancellable::yes, purpose));
}

bool notified_or_throw(Wake why) {
    if (why == Wake::cancelled) throw_interrupt();
    if (why == Wake::deadlocked) throw_deadlock();
    return why == Wake::notified;
}

void sleep_until_deadline(Deadline deadline, const Purpose& purpose) {
    Party& me = this_party();
    check_interrupt();
    if (deadline.passed()) return;
    const Limit limit{me, deadline, Cancellable::yes};
    me.set_awaits_owner(false);
    const Ticket ticket{&me, me.word().arm(limit.cancellable())};
    const Wake why = suspend(ticket, limit, purpose);
    if (why == Wake::cancelled) throw_interrupt();
}

// --- Completion ---

Wake Completion::wait_any(std::span<Completion* const> all, Deadline deadline,
                          Cancellable cancellable, const Purpose& purpose) noexcept {
    for (const Completion* each : all) {
        if (each->happened()) return Wake::notified;
    }
    Party& me = this_party();
    const Limit limit{me, deadline, cancellable};
    if (const auto ended = limit.over()) return *ended;
    me.set_awaits_owner(false);
    const Ticket ticket{&me, me.word().arm(limit.cancellable())};
    // One happened meanwhile: unless a canceller or another one was faster, who will resume
    // us, there is nobody to wait for. Those that know the ticket by then find it over.
    for (Completion* each : all) {
        if (each->publish(ticket)) continue;
        if (me.word().claim(ticket.epoch, Wake::notified) == Claim::lost) break;
        tsan_acquire(each);
        return me.word().finish();
    }
    return suspend(ticket, limit, purpose);
}

// --- SpinLock ---

void SpinLock::lock_contended() noexcept {
    unsigned turn = 0;
    do {
        while (held_.load(std::memory_order_relaxed)) spin_pause(turn++);
    } while (held_.exchange(true, std::memory_order_acquire));
}

// --- WaitList ---

WaitList::~WaitList() {
    WEFT_REQUIRE(Scheduler::any_halted() || empty(),
                 "what somebody waits for is destroyed: a lock, an Event, a Queue or the like");
}

}  // namespace weft::detail
