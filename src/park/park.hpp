// Park: the one way to wait, and so the one place where waiting ends.
// Layer: park. Uses: base, sched.
//
// Everything in weft that blocks is: take a WaitQueue's lock, test a
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

#include "park/interrupt.hpp"
#include "sched/fiber_core.hpp"
#include "sched/party.hpp"

#include <weft/deadline.hpp>
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
    WaitQueue* queue = nullptr;  // null when not linked
    Claim how = Claim::lost;     // of a claimed waiter in a WakeList
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

/// Queues `self` on `queue`, releases `held` (queue.lock()) and suspends the
/// caller until one of the three wakes it. Returns with `held` released. With
/// an interruption pending or a deadline in the past it does not suspend.
/// Requires: `held` owns queue.lock(); no other weft lock is held.
Wake park(Held& held, WaitQueue& queue, Waiter& self, Deadline deadline, Cancellable cancellable,
          const Purpose& purpose) noexcept;

Wake park_erased(Held& held, WaitQueue& queue, Waiter& self, Deadline deadline,
                 Cancellable cancellable, const Purpose& purpose, void (*release)(void*),
                 void* context) noexcept;

/// park() that calls `release()` once `self` is queued, so that a notification
/// given from then on is not missed. It must neither park nor throw.
template <class Release>
Wake park_releasing(Held& held, WaitQueue& queue, Waiter& self, Deadline deadline,
                    Cancellable cancellable, const Purpose& purpose, Release&& release) noexcept {
    return park_erased(
        held, queue, self, deadline, cancellable, purpose,
        [](void* r) { (*static_cast<std::remove_reference_t<Release>*>(r))(); }, &release);
}
/// park() for a cancellation point: true if notified, false at the deadline.
/// Throws what interrupts it (interrupt.hpp), and Deadlock if `purpose` is breakable.
bool park_or_throw(Held& held, WaitQueue& queue, Waiter& self, Deadline deadline,
                   const Purpose& purpose);

/// Waits for nothing but the deadline. Throws what interrupts it.
void sleep_until_deadline(Deadline deadline, const Purpose& purpose);

/// Queues a party whose wait was claimed and is over.
void make_ready(Party& party, Turn turn) noexcept;

/// Ends the wait of `epoch` from outside its queue. False when it was over.
bool end_wait(Party& party, std::uint64_t epoch, Wake why) noexcept;

/// The calling fiber's, or the calling thread's own.
Party& this_party() noexcept;

}  // namespace weft::detail
