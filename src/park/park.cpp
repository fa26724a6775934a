// Layer: park. Uses: base, sched.
#include "park/park.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "park/deadlock.hpp"
#include "park/interrupt.hpp"
#include "park/thread_party.hpp"
#include "sched/scheduler.hpp"

namespace weft::detail {

namespace {

// The calling fiber, or null on a plain thread.
FiberCore* this_fiber() noexcept {
    Worker* const worker = Worker::current();
    return worker == nullptr ? nullptr : worker->fiber();
}

// Suspends an armed party until it is resumed; tells why it was.
Wake suspend(Party& me, Ticket ticket, Deadline deadline, const Purpose& purpose) noexcept {
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
    return why;
}

}  // namespace

void make_ready(Party& party, Turn turn) noexcept {
    if (party.kind() == Party::Kind::thread) return static_cast<ThreadParty&>(party).make_ready();
    auto& fiber = static_cast<FiberCore&>(party);
    fiber.scheduler->make_ready(fiber, turn);
}

Party& this_party() noexcept {
    FiberCore* const fiber = this_fiber();
    if (fiber != nullptr) return *fiber;
    return ThreadParty::of_this_thread();
}

Wake park(Held& held, WaitQueue& queue, Waiter& self, Deadline deadline, Cancellable cancellable,
          const Purpose& purpose) noexcept {
    return park_erased(held, queue, self, deadline, cancellable, purpose, nullptr, nullptr);
}

Wake park_erased(Held& held, WaitQueue& queue, Waiter& self, Deadline deadline,
                 Cancellable cancellable, const Purpose& purpose, void (*release)(void*),
                 void* context) noexcept {
    WEFT_ASSERT(held.owns_lock() && held.mutex() == &queue.lock());
    Party& me = this_party();
    const Limit limit{me, deadline, cancellable};
    if (limit.cancellable() == Cancellable::yes && me.interrupt_pending()) {
        held.unlock();
        return Wake::cancelled;
    }
    if (limit.deadline().passed()) {
        held.unlock();
        return limit.meaning();
    }
    // One with a deadline ends by itself.
    const bool awaits_owner = purpose.owner != nullptr && limit.deadline().is_never();
    me.set_awaits_owner(awaits_owner);
    self.ticket = Ticket{&me, me.word().arm(limit.cancellable())};
    self.goes_first ? queue.push_front(self) : queue.push_back(self);
    held.unlock();
    if (release != nullptr) release(context);

    const bool watched = awaits_owner && cycles_watched.load(std::memory_order_relaxed);
    const bool broken = watched && closes_cycle(self.ticket, purpose);
    const Wake why =
        broken ? me.word().finish() : suspend(me, self.ticket, limit.deadline(), purpose);
    if (why != Wake::notified) {
        const Held again{queue.lock()};
        queue.remove(self);
    }
    return why == Wake::timed_out ? limit.meaning() : why;
}

bool park_or_throw(Held& held, WaitQueue& queue, Waiter& self, Deadline deadline,
                   const Purpose& purpose) {
    const Wake why = park(held, queue, self, deadline, Cancellable::yes, purpose);
    if (why == Wake::cancelled) throw_interrupt();
    if (why == Wake::deadlocked) throw_deadlock();
    // Who asks again and again, with deadlines in the past, leaves room for others.
    if (why == Wake::timed_out) Worker::consume_budget();
    return why == Wake::notified;
}

void sleep_until_deadline(Deadline deadline, const Purpose& purpose) {
    Party& me = this_party();
    check_interrupt();
    if (deadline.passed()) return;
    const Limit limit{me, deadline, Cancellable::yes};
    me.set_awaits_owner(false);
    const Ticket ticket{&me, me.word().arm(limit.cancellable())};
    Wake why = suspend(me, ticket, limit.deadline(), purpose);
    if (why == Wake::timed_out) why = limit.meaning();
    if (why == Wake::cancelled) throw_interrupt();
}

// --- Claimed ---

Claimed::~Claimed() { WEFT_ASSERT(waiter_ == nullptr); }

void Claimed::resume(Turn turn) && noexcept {
    Party& party = *std::exchange(waiter_, nullptr)->ticket.party;
    tsan_release(&party);
    if (party.word().resume(how_)) make_ready(party, turn);
}

// --- SpinLock ---

void SpinLock::lock_contended() noexcept {
    unsigned turn = 0;
    do {
        while (held_.load(std::memory_order_relaxed)) spin_pause(turn++);
    } while (held_.exchange(true, std::memory_order_acquire));
}

// --- WaitQueue ---

WaitQueue::~WaitQueue() { WEFT_ASSERT(empty()); }

void WaitQueue::push_back(Waiter& w) noexcept {
    WEFT_ASSERT(w.queue == nullptr);
    w.queue = this;
    w.prev = tail_;
    w.next = nullptr;
    (tail_ != nullptr ? tail_->next : head_) = &w;
    tail_ = &w;
}

void WaitQueue::push_front(Waiter& w) noexcept {
    WEFT_ASSERT(w.queue == nullptr);
    w.queue = this;
    w.prev = nullptr;
    w.next = head_;
    (head_ != nullptr ? head_->prev : tail_) = &w;
    head_ = &w;
}

void WaitQueue::remove(Waiter& w) noexcept {
    if (w.queue == nullptr) return;
    WEFT_ASSERT(w.queue == this);
    (w.prev != nullptr ? w.prev->next : head_) = w.next;
    (w.next != nullptr ? w.next->prev : tail_) = w.prev;
    w.queue = nullptr;
}

std::optional<Claimed> WaitQueue::claim_front() noexcept {
    while (head_ != nullptr) {
        if (auto claimed = claim(*head_)) return claimed;
    }
    return std::nullopt;
}

std::optional<Claimed> WaitQueue::claim(Waiter& w) noexcept {
    remove(w);
    const Claim how = w.ticket.party->word().claim(w.ticket.epoch, Wake::notified);
    if (how == Claim::lost) return std::nullopt;
    return std::optional<Claimed>{std::in_place, w, how};
}

}  // namespace weft::detail
