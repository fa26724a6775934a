// Lock. Layer: sync. Uses: base, park.
//
// word_ is the holder's party, or 0. Uncontended it is all there is.
//
// Invariants
//  1. Whoever waits is in waiters_, and has_waiters was set before it parked;
//     so an unlock() that sees the flag clear leaves nobody behind. The flag may
//     be set with nobody waiting (its last waiter's deadline passed).
//  2. has_waiters is set, and word_ is changed while it is set, only under
//     waiters_.lock().
//  3. A waiter that is notified holds the lock already: word_ names it.
#include <weft/lock.hpp>

#include "base/assert.hpp"
#include "park/deadlock.hpp"
#include "park/park.hpp"
#include "sync/lock_order.hpp"

#include <system_error>

namespace weft {

namespace {

using detail::lock_order::Orders;

std::uintptr_t caller() noexcept { return reinterpret_cast<std::uintptr_t>(&detail::this_party()); }

}  // namespace

Lock::~Lock() {
    WEFT_ASSERT(word_.load(std::memory_order_relaxed) == 0);
    detail::note_destroyed(this);
}

bool Lock::try_lock_until(Deadline deadline) {
    const std::uintptr_t me = caller();
    if (!take(me) && !lock_slow(me, deadline, InCycle::throws)) return false;
    detail::note_locked(this, "Lock", deadline.is_never() ? Orders::yes : Orders::no);
    return true;
}

void Lock::lock_again() {
    const std::uintptr_t me = caller();
    if (!take(me)) lock_slow(me, Deadline::never(), InCycle::waits);
    detail::note_locked(this, "Lock", Orders::yes);
}

detail::Party* Lock::holder(const void* lock) noexcept {
    const auto word = static_cast<const Lock*>(lock)->word_.load(std::memory_order_relaxed);
    return reinterpret_cast<detail::Party*>(word & ~has_waiters);
}

bool Lock::try_lock() noexcept {
    if (!take(caller())) return false;
    detail::note_locked(this, "Lock", Orders::no);
    return true;
}

void Lock::unlock() {
    const std::uintptr_t me = caller();
    detail::note_unlocked(this);
    std::uintptr_t held_by_me = me;
    if (word_.compare_exchange_strong(held_by_me, 0, std::memory_order_release,
                                      std::memory_order_relaxed)) {
        return;
    }
    unlock_slow();
}

bool Lock::lock_slow(std::uintptr_t me, Deadline deadline, InCycle in_cycle) {
    detail::Held held{waiters_.lock()};
    std::uintptr_t now = word_.load(std::memory_order_relaxed);
    for (;;) {
        if ((now & ~has_waiters) == me) {
            throw std::system_error{std::make_error_code(std::errc::resource_deadlock_would_occur),
                                    "weft: Lock::lock() by its holder"};
        }
        const std::uintptr_t then = now == 0 ? me : now | has_waiters;
        if (word_.compare_exchange_weak(now, then, std::memory_order_acquire,
                                        std::memory_order_relaxed)) {
            if (now == 0) return true;
            break;
        }
    }
    detail::Waiter self;
    const detail::Wake why =
        park(held, waiters_, self, deadline, detail::Cancellable::no,
             detail::Purpose{"Lock::lock", this, &holder, in_cycle == InCycle::throws});
    if (why == detail::Wake::deadlocked) detail::throw_deadlock();
    return why == detail::Wake::notified;
}

bool Lock::held() const noexcept {
    return (word_.load(std::memory_order_relaxed) & ~has_waiters) == caller();
}

void Lock::require_held() const {
    if (held()) return;
    throw std::system_error{std::make_error_code(std::errc::operation_not_permitted),
                            "weft: the caller does not hold the Lock"};
}

void Lock::unlock_slow() {
    require_held();
    const std::uintptr_t me = caller();
    std::uintptr_t mine = me;
    do {
        detail::Held held{waiters_.lock()};
        if (auto first = waiters_.claim_front()) {
            auto next = reinterpret_cast<std::uintptr_t>((*first)->ticket.party);
            if (!waiters_.empty()) next |= has_waiters;
            word_.store(next, std::memory_order_release);
            held.unlock();
            return std::move(*first).resume();
        }
        // Nobody waits any more. Unlocked last and by one step, for whoever locks
        // after that may destroy the lock.
        word_.store(me, std::memory_order_relaxed);
        held.unlock();
        mine = me;
    } while (!word_.compare_exchange_strong(mine, 0, std::memory_order_release,
                                            std::memory_order_relaxed));
}

}  // namespace weft
