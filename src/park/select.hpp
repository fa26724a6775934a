// Select: one wait in several queues at once.
// Layer: park. Uses: base, sched.
//
// A party arms one wait and queues one waiter with that ticket in each of the
// queues, while it holds the locks of all: so whoever changes anything that it
// waits for comes before it has looked, or finds it queued. The first claim wins.
// The other waiters are stale from then on: claims of them fail, and notifiers go
// on to the next. The party unlinks them, one lock after the other, before its
// wait returns, so nothing of it is left behind on any path.
//
// Invariants
//  1. At most one waiter of a wait is ever claimed; it alone is resumed.
//  2. No waiter is linked when park_any() returns.
//
// Locking: in order of address, whatever the order of the branches; a lock that
//  several have in common is taken once. That is the only place where two locks
//  of wait queues are held, so there is no cycle of them.
// Two that face each other over the same queues: whoever comes second holds all
//  locks, finds the first one queued, and claims it, being no waiter itself.
#pragma once

#include "base/random.hpp"
#include "park/park.hpp"

namespace weft::detail {

/// One of the queues to wait in. On the waiting party's stack.
struct Branch {
    explicit Branch(WaitQueue& own) noexcept : lock{&own.lock()}, queue{&own} {}
    Branch(SpinLock& guard, WaitList& list) noexcept : lock{&guard}, queue{&list} {}
    Branch(const Branch&) = delete;
    Branch& operator=(const Branch&) = delete;

    bool was_claimed() const noexcept { return waiter.how != Claim::lost; }

    SpinLock* const lock;
    WaitList* const queue;
    Waiter waiter;
    Branch* next = nullptr;  // in Branches
};

/// Branches, and their locks: held from lock() to unlock().
class Branches {
public:
    Branches() noexcept = default;
    Branches(const Branches&) = delete;
    Branches& operator=(const Branches&) = delete;
    ~Branches() {
        if (locked_) unlock();
    }

    /// Before lock().
    void add(Branch& branch) noexcept;

    void lock() noexcept;
    void unlock() noexcept;

private:
    friend Wake park_any(Branches&, Branch*&, Deadline, Cancellable, const Purpose&) noexcept;

    void queue_all(Ticket ticket) noexcept;
    Branch* unlink_all() noexcept;

    Branch* first_ = nullptr;  // from lock() on in order of address of their locks
    Branch* last_ = nullptr;
    bool sorted_ = true;
    bool locked_ = false;
};

/// Queues the caller on each of `branches`, releases their locks and suspends the
/// caller until a claim or one of the other two wakes it. If notified, `claimed`
/// is where. With an interruption pending or a deadline in the past it does not
/// suspend; without branches it waits for those two alone.
/// Requires: `branches` are locked, and not used again; no other weft lock is held.
Wake park_any(Branches& branches, Branch*& claimed, Deadline deadline, Cancellable cancellable,
              const Purpose& purpose) noexcept;

/// park_any() for a cancellation point: null at the deadline. Throws what
/// interrupts it.
Branch* park_any_or_throw(Branches& branches, Deadline deadline, const Purpose& purpose);

/// A source of chance for this call, from the caller's own; inside weft::simulate()
/// the seed decides.
Random draw_random() noexcept;

}  // namespace weft::detail
