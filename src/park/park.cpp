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

void make_ready(Party& party, Turn turn) noexcept {
    if (party.kind() == Party::Kind::thread) return static_cast<ThreadParty&>(party).make_ready();
    auto& fiber = static_cast<FiberCore&>(party);
    fiber.scheduler->make_ready(fiber, turn);
}

Party& party_of_this_thread() noexcept { return ThreadParty::of_this_thread(); }

Wake suspend(Ticket ticket, const Limit& limit, const Purpose& purpose) noexcept {
    Party& me = *ticket.party;
    const Deadline deadline = limit.deadline();
    purpose_of(me) = &purpose;
    if (me.kind() == Party::Kind::thread) {
        static_cast<ThreadParty&>(me).suspend(ticket, deadline);
    } else {
        Worker* const worker = Worker::current();
        TimerQueue::Spare spare;
        if (!deadline.is_never()) worker->timers().add(deadline.at(), ticket, spare);
        worker->park_fiber();
        // `worker` may be another one's by now; the timer's entry is still there.
        const bool early = !deadline.is_never() && !me.word().ended_by(Wake::timed_out);
        if (early) worker->timers().left_behind(spare);
    }
    const Wake why = me.word().finish();
    tsan_acquire(&me);
    return why == Wake::timed_out ? limit.meaning() : why;
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

void Completion::happen() noexcept {
    tsan_release(this);
    Party* party = nullptr;
    std::uint64_t awaited = state_.load(std::memory_order_acquire);
    do {
        WEFT_ASSERT(awaited != over);
        party = party_.load(std::memory_order_relaxed);
    } while (!state_.compare_exchange_weak(awaited, over, std::memory_order_acq_rel,
                                           std::memory_order_acquire));
    if (awaited != nobody) end_wait(*party, awaited, Wake::notified);
}

bool Completion::happened() const noexcept {
    if (state_.load(std::memory_order_acquire) != over) return false;
    tsan_acquire(this);
    return true;
}

bool Completion::publish(const Ticket& ticket) noexcept {
    party_.store(ticket.party, std::memory_order_relaxed);
    // Failing, it is the acquire that pairs with happen().
    std::uint64_t before = state_.load(std::memory_order_acquire);
    while (before != over) {
        if (state_.compare_exchange_weak(before, ticket.epoch, std::memory_order_release,
                                         std::memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

Wake Completion::wait(Deadline deadline, Cancellable cancellable, const Purpose& purpose) noexcept {
    Completion* const alone = this;
    return wait_any({&alone, 1}, deadline, cancellable, purpose);
}

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
