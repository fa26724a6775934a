// Lock. Layer: sync. Uses: base, park.
//
// word_ is the holder's party, or 0, and three flags:
//   has_waiters  somebody may be in waiters_
//   woken        one that was there is on its way to try again
//   overdue      the first in waiters_ tried in vain: it must be handed the lock
// Uncontended it is all there is.
//
// unlock() with waiters does one of three things:
//   hands over   word_ names the first waiter before it runs. When the holder was
//                off its worker meanwhile, for it will be so again: whoever took
//                the lock in between would make the waiter's wake-up a vain one.
//                And when a waiter is overdue.
//   wakes        frees the lock, takes the first waiter out and lets it try again.
//                Others can take the lock until it runs.
//   frees it     one that was woken is on its way.
// So a waiter is overtaken during one wake-up at most. (Rejected: handing over
// always, as before. Each hand-over holds the lock for as long as it takes the
// next holder to run, so with brief holds everybody comes to wait for everybody.)
//
// Invariants
//  1. Whoever waits is in waiters_, and has_waiters was set before it parked; so
//     an unlock() that sees the flag clear leaves nobody behind. The flag may be
//     set with nobody waiting (its last waiter's deadline passed).
//  2. Flags change only under waiters_.lock(); the holder comes and goes without
//     it, except that it is handed over under it.
//  3. While `woken` is set one waiter is between its wake-up and its next look,
//     which clears it. It takes the lock then or sees a holder, whose unlock()
//     will find has_waiters set. So if its deadline has passed, nobody is forgotten.
//  4. A waiter that is notified and named by word_ holds the lock.
#include <weft/lock.hpp>

#include "base/assert.hpp"
#include "park/deadlock.hpp"
#include "park/park.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"
#include "sync/lock_order.hpp"

#include <system_error>

namespace weft {

namespace {

using detail::lock_order::Orders;

// The pauses between two looks at a holder on another worker; about a microsecond
// in all.
constexpr unsigned first_pauses = 8;
constexpr unsigned most_pauses = 64;

// Whether some worker of the caller's runtime runs the fiber at this moment.
bool is_running(std::uintptr_t party) noexcept {
    detail::Scheduler& scheduler = detail::Worker::current()->scheduler();
    for (std::uint32_t i = 0; i < scheduler.workers(); ++i) {
        const detail::Party* const running = scheduler.worker(i).fiber();
        if (reinterpret_cast<std::uintptr_t>(running) == party) return true;
    }
    return false;
}

}  // namespace

// Who calls, and which switch of which worker it runs by: if that is the same later, the
// fiber was on its worker all the time. (The count wraps around: once in four million it
// may be the same by chance; then an unlock() wakes where it should hand over.)
struct Lock::Caller {
    static Caller here() noexcept {
        const Caller caller = fiber();
        if (caller.party != 0) [[likely]]
            return caller;
        return {reinterpret_cast<std::uintptr_t>(&detail::this_party()), 0};
    }
    /// A party of 0 on a plain thread. Calls nothing.
    static Caller fiber() noexcept {
        const detail::Worker* const worker = detail::Worker::current();
        if (worker == nullptr) return {0, 0};
        return {reinterpret_cast<std::uintptr_t>(static_cast<detail::Party*>(worker->fiber())),
                static_cast<std::uint32_t>(worker->ticks()) ^ worker->index() << worker_shift};
    }

    static constexpr unsigned worker_shift = 22;

    std::uintptr_t party;
    std::uint32_t switches;
};

// lock() and unlock() of a lock that is free, in a fiber, call nothing and so save
// no register: a step that is atomic waits for every store before it.

inline bool Lock::take(Caller caller) noexcept {
    std::uintptr_t now = word_.load(std::memory_order_relaxed);
    if ((now & ~flags) != 0) return false;
    if (!word_.compare_exchange_strong(now, now | caller.party, std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return false;
    }
    taken_at_ = caller.switches;
    return true;
}

/// Frees it if the caller holds it and nobody has to be woken.
inline bool Lock::give_up(Caller caller) noexcept {
    std::uintptr_t now = word_.load(std::memory_order_relaxed);
    const std::uintptr_t marks = now ^ caller.party;
    if (marks > (has_waiters | woken) || marks == has_waiters) return false;
    // Freed last and by one step, for whoever locks after that may destroy the lock.
    return word_.compare_exchange_strong(now, marks, std::memory_order_release,
                                         std::memory_order_relaxed);
}

Lock::~Lock() {
    WEFT_REQUIRE(detail::Scheduler::any_halted() || !locked(),
                 "a Lock or RLock is destroyed while it is held");
    detail::note_destroyed(this);
}

bool Lock::try_lock_until(Deadline deadline) {
    const Caller caller = Caller::fiber();
    const bool simple = caller.party != 0 && !detail::lock_order_is_watched();
    if (simple && take(caller)) [[likely]]
        return true;
    return lock_anyhow(deadline);
}

bool Lock::lock_anyhow(Deadline deadline) {
    const Caller caller = Caller::here();
    if (!take(caller) && !lock_slow(caller, deadline, InCycle::throws)) return false;
    detail::note_locked(this, name(), deadline.is_never() ? Orders::yes : Orders::no);
    return true;
}

void Lock::lock_again() {
    const Caller caller = Caller::here();
    if (!take(caller)) lock_slow(caller, Deadline::never(), InCycle::waits);
    detail::note_locked(this, name(), Orders::yes);
}

detail::Party* Lock::holder(const void* lock) noexcept {
    const auto word = static_cast<const Lock*>(lock)->word_.load(std::memory_order_relaxed);
    return reinterpret_cast<detail::Party*>(word & ~flags);
}

bool Lock::try_lock() noexcept {
    if (!take(Caller::here())) return false;
    detail::note_locked(this, name(), Orders::no);
    return true;
}

void Lock::unlock() {
    const Caller caller = Caller::fiber();
    if (caller.party == 0 || detail::lock_order_is_watched()) [[unlikely]]
        return unlock_anyhow();
    if (!give_up(caller)) unlock_slow(caller);
}

void Lock::unlock_anyhow() {
    const Caller caller = Caller::here();
    detail::note_unlocked(this);
    if (!give_up(caller)) unlock_slow(caller);
}

/// Waits for a holder that is running on another worker, for a moment. Looks ever
/// more rarely: each look takes the word's cache line from the holder.
bool Lock::take_while_it_runs(Caller caller) noexcept {
    if (detail::Worker::current() == nullptr) return false;
    for (unsigned pauses = first_pauses; pauses <= most_pauses; pauses *= 2) {
        const std::uintptr_t now = word_.load(std::memory_order_relaxed);
        if ((now & ~flags) == 0) {
            if (take(caller)) return true;
        } else if ((now & overdue) != 0 || !is_running(now & ~flags)) {
            return false;
        }
        for (unsigned i = 0; i < pauses; ++i) detail::cpu_relax();
    }
    return false;
}

/// Takes it if it is free, else sees to it that its holder knows of the caller, who
/// was woken `tries` times. Requires: waiters_.lock().
bool Lock::take_or_announce(Caller caller, unsigned tries) noexcept {
    const std::uintptr_t arrived = tries > 0 ? woken : 0;
    const std::uintptr_t waits = has_waiters | (tries > 0 ? overdue : 0);
    std::uintptr_t now = word_.load(std::memory_order_relaxed);
    for (;;) {
        const bool free = (now & ~flags) == 0;
        const std::uintptr_t then = (now & ~arrived) | (free ? caller.party : waits);
        if (word_.compare_exchange_weak(now, then, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
            return free;
        }
    }
}

bool Lock::lock_slow(Caller caller, Deadline deadline, InCycle in_cycle) {
    if (held()) {
        throw std::system_error{std::make_error_code(std::errc::resource_deadlock_would_occur),
                                "weft: Lock::lock() by its holder"};
    }
    if (take_while_it_runs(caller)) return true;
    const bool breakable = in_cycle == InCycle::throws && detail::may_throw_here();
    const char* const reason = kind_ == Kind::lock ? "Lock::lock" : "RLock::lock";
    for (unsigned tries = 0;; ++tries) {
        detail::Held held_queue{waiters_.lock()};
        if (take_or_announce(caller, tries)) break;
        detail::Waiter self;
        self.goes_first = tries > 0;
        const detail::Wake why = park(held_queue, waiters_, self, deadline, detail::Cancellable::no,
                                      detail::Purpose{reason, this, &holder, breakable});
        if (why == detail::Wake::deadlocked) detail::throw_deadlock();
        if (why != detail::Wake::notified) return false;
        if (held()) break;  // handed over
    }
    taken_at_ = Caller::here().switches;
    return true;
}

bool Lock::held() const noexcept {
    return (word_.load(std::memory_order_relaxed) & ~flags) == Caller::here().party;
}

void Lock::require_held() const {
    if (held()) return;
    throw std::system_error{std::make_error_code(std::errc::operation_not_permitted),
                            "weft: the caller does not hold the Lock"};
}

void Lock::unlock_slow(Caller caller) {
    require_held();
    for (;;) {
        std::uintptr_t now = word_.load(std::memory_order_relaxed);
        const std::uintptr_t marks = now & flags;
        if ((marks & has_waiters) == 0 || (marks & (woken | overdue)) == woken) {
            // Freed last and by one step, for whoever locks after that may destroy the lock.
            if (word_.compare_exchange_strong(now, marks, std::memory_order_release,
                                              std::memory_order_relaxed)) {
                return;
            }
            continue;
        }
        detail::Held held_queue{waiters_.lock()};
        now = word_.load(std::memory_order_relaxed);
        auto first = waiters_.claim_front();
        if (!first) {
            word_.store(caller.party | (now & woken), std::memory_order_relaxed);
            continue;
        }
        const bool hands_over = (now & overdue) != 0 || taken_at_ != caller.switches;
        const auto next = reinterpret_cast<std::uintptr_t>((*first)->ticket.party);
        std::uintptr_t then = (now & woken) | (hands_over ? next : woken);
        if (!waiters_.empty()) then |= has_waiters;
        word_.store(then, std::memory_order_release);
        held_queue.unlock();
        return std::move(*first).resume();
    }
}

}  // namespace weft
