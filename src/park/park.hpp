// Park: the one way to wait, and so the one place where waiting ends.
// Layer: park. Uses: base, sched.
//
// Everything in weft that blocks is: take the lock of a WaitList, test a
// condition, park(). Everything that wakes is: take the lock, change the
// condition, claim_front(), unlock, resume(). Deadlines and cancellation are
// dealt with here and nowhere else.
//
// Invariants
//  1. A parked party wakes for exactly one reason, and the reason is the one
//     whose claim() on its wait word won. Clocks and flags are read to start a
//     claim, never to report its outcome.
//  2. A notifier that loses a claim to a deadline or a cancellation goes on to
//     the next waiter: no notification is spent on one that has left.
//  3. A claim holds for one epoch, that is one park(). A late timer or a stale
//     ticket fails its claim and does nothing.
//  4. Whoever claims a waiter has unlinked it, except the waiter's own timer
//     and canceller; after those the waiter unlinks itself before it returns.
//
// Locking: a Waiter's links and its queue are guarded by that queue's lock.
//  resume() is called with no lock held.
// Ordering: what the notifier wrote before resume() is seen after park() returns.
// Lifetime: a Waiter lives on the stack of the parked party. Nobody may touch
//  it after resume(), nor after a failed claim once the lock is released.
#pragma once

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "park/interrupt.hpp"
#include "park/this_party.hpp"
#include "sched/fiber_core.hpp"
#include "sched/party.hpp"
#include "sched/scheduler.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <mutex>
#include <utility>

namespace weft::detail {

struct Waiter {
    Ticket ticket;
    void* slot = nullptr;     // the two sides' own: where to put what is handed over
    bool goes_first = false;  // queued before the others: it has waited already
    Waiter* next = nullptr;
    Waiter* prev = nullptr;
    WaitList* queue = nullptr;  // null when not linked
    Claim how = Claim::lost;    // how it was claimed, if it was
};

/// A waiter won by the caller, who may fill its slot and must resume it, once.
class [[nodiscard]] Claimed {
public:
    Claimed(Waiter& w, Claim how) noexcept : waiter_{&w}, how_{how} {}
    Claimed(Claimed&& other) noexcept
        : waiter_{std::exchange(other.waiter_, nullptr)}, how_{other.how_} {}
    Claimed& operator=(Claimed&&) = delete;
    ~Claimed();  // asserts that it was resumed
    Waiter& operator*() const noexcept { return *waiter_; }
    Waiter* operator->() const noexcept { return waiter_; }
    void resume(Turn turn = Turn::next) && noexcept;
    /// Gives the duty to resume up, to whoever makes a Claimed of it again.
    Claim surrender() && noexcept {
        waiter_ = nullptr;
        return how_;
    }

private:
    Waiter* waiter_;
    Claim how_;
};

using Held = std::unique_lock<SpinLock>;

/// Queues `self` on `queue`, releases `held` and suspends the caller until one of
/// the three wakes it. Returns with `held` released. With an interruption pending
/// or a deadline in the past it does not suspend, though by a deadline
/// it is now and then a yield.
/// Requires: `held` owns the lock that guards `queue`; no other weft lock is held.
Wake park(Held& held, WaitList& queue, Waiter& self, Deadline deadline, Cancellable cancellable,
          const Purpose& purpose) noexcept;

WEFT_API Wake park_erased(Held& held, WaitList& queue, Waiter& self, Deadline deadline,
                          Cancellable cancellable, const Purpose& purpose, void (*release)(void*),
                          void* context) noexcept;

/// park() that calls `release()` once `self` is queued, so that a notification
/// given from then on is not missed. It must neither park nor throw.
template <class Release>
Wake park_releasing(Held& held, WaitList& queue, Waiter& self, Deadline deadline,
                    Cancellable cancellable, const Purpose& purpose, Release&& release) noexcept {
    return park_erased(
        held, queue, self, deadline, cancellable, purpose,
        [](void* r) { (*static_cast<std::remove_reference_t<Release>*>(r))(); }, &release);
}
/// park() for a cancellation point: true if notified, false at the deadline.
/// Throws what interrupts it (interrupt.hpp), and Deadlock if `purpose` is breakable.
bool park_or_throw(Held& held, WaitList& queue, Waiter& self, Deadline deadline,
                   const Purpose& purpose);

/// Waits for nothing but the deadline. Throws what interrupts it.
void sleep_until_deadline(Deadline deadline, const Purpose& purpose);

/// Of a wait that ended so, at a cancellation point: true if notified, false at the deadline.
/// Throws what interrupted it, and Deadlock.
bool notified_or_throw(Wake why);

/// Own party, which armed the wait of `ticket` with `limit` and holds no lock:
/// until it is resumed. Tells why it was.
Wake suspend(Ticket ticket, const Limit& limit, const Purpose& purpose) noexcept;
/// The same, but neither ends the wait nor tells why: with a deadline, or on a plain thread.
WEFT_API void suspend_otherwise(Ticket ticket, Deadline deadline, const Purpose& purpose) noexcept;

/// Queues a party whose wait was claimed and is over.
void make_ready(Party& party, Turn turn) noexcept;
WEFT_API void make_thread_ready(Party& party) noexcept;

/// Ends the wait of `epoch` from outside its queue. False when it was over.
bool end_wait(Party& party, std::uint64_t epoch, Wake why) noexcept;

// --- inline: the way of every wait and every notification ---

inline void make_ready(Party& party, Turn turn) noexcept {
    if (party.kind() == Party::Kind::thread) [[unlikely]]
        return make_thread_ready(party);
    auto& fiber = static_cast<FiberCore&>(party);
    fiber.scheduler->make_ready(fiber, turn);
}

inline bool end_wait(Party& party, std::uint64_t epoch, Wake why) noexcept {
    const Claim claim = party.word().claim(epoch, why);
    if (claim == Claim::lost) return false;
    tsan_release(&party);
    if (party.word().resume(claim)) make_ready(party, Turn::next);
    return true;
}

inline Wake suspend(Ticket ticket, const Limit& limit, const Purpose& purpose) noexcept {
    Party& me = *ticket.party;
    if (me.kind() == Party::Kind::fiber && limit.deadline().is_never()) [[likely]] {
        static_cast<FiberCore&>(me).purpose = &purpose;
        Worker::current()->park_fiber();
    } else {
        suspend_otherwise(ticket, limit.deadline(), purpose);
    }
    const Wake why = me.word().finish();
    tsan_acquire(&me);
    return why == Wake::timed_out ? limit.meaning() : why;
}

inline Claimed::~Claimed() { WEFT_ASSERT(waiter_ == nullptr); }

inline void Claimed::resume(Turn turn) && noexcept {
    Party& party = *std::exchange(waiter_, nullptr)->ticket.party;
    tsan_release(&party);
    if (party.word().resume(how_)) make_ready(party, turn);
}

inline void WaitList::push(Waiter& w) noexcept { w.goes_first ? push_front(w) : push_back(w); }

inline void WaitList::push_back(Waiter& w) noexcept {
    WEFT_ASSERT(w.queue == nullptr);
    w.queue = this;
    w.prev = tail_;
    w.next = nullptr;
    (tail_ != nullptr ? tail_->next : head_) = &w;
    tail_ = &w;
}

inline void WaitList::push_front(Waiter& w) noexcept {
    WEFT_ASSERT(w.queue == nullptr);
    w.queue = this;
    w.prev = nullptr;
    w.next = head_;
    (head_ != nullptr ? head_->prev : tail_) = &w;
    head_ = &w;
}

inline void WaitList::remove(Waiter& w) noexcept {
    if (w.queue == nullptr) return;
    WEFT_ASSERT(w.queue == this);
    (w.prev != nullptr ? w.prev->next : head_) = w.next;
    (w.next != nullptr ? w.next->prev : tail_) = w.prev;
    w.queue = nullptr;
}

inline std::optional<Claimed> WaitList::claim_front() noexcept {
    while (head_ != nullptr) {
        if (auto claimed = claim(*head_)) return claimed;
    }
    return std::nullopt;
}

inline std::optional<Claimed> WaitList::claim(Waiter& w) noexcept {
    remove(w);
    const Claim how = w.ticket.party->word().claim(w.ticket.epoch, Wake::notified);
    if (how == Claim::lost) return std::nullopt;
    w.how = how;
    return std::optional<Claimed>{std::in_place, w, how};
}

}  // namespace weft::detail
