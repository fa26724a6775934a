// SharedLock. Layer: sync. Uses: base, park.
//
// Invariants
//  1. writer_ == nullptr or readers_ == 0.
//  2. The first in the queue could not be let in, unless it has left or is about
//     to (its deadline passed); so nobody but a newcomer can find it open.
//  3. A waiter that is notified holds the lock already.
//
// A writer that leaves by its deadline, or told of a deadlock, may have been all that kept the
// readers behind it waiting; hence it lets them in.
#include <weft/shared_lock.hpp>

#include "base/assert.hpp"
#include "park/deadlock.hpp"
#include "park/park.hpp"
#include "park/wake_list.hpp"
#include "sched/scheduler.hpp"
#include "sync/lock_order.hpp"

#include <system_error>

namespace weft {

namespace {
using detail::lock_order::Orders;
}

SharedLock::~SharedLock() {
    const bool held = writer_.load(std::memory_order_relaxed) != nullptr || readers_ != 0;
    WEFT_REQUIRE(detail::Scheduler::any_halted() || !held,
                 "a SharedLock is destroyed while it is held");
    detail::note_destroyed(this);
}

bool SharedLock::acquire(Mode mode, Deadline deadline) {
    detail::Party& me = detail::this_party();
    const auto orders = deadline.is_never() ? Orders::yes : Orders::no;
    detail::Held held{waiters_.lock()};
    if (writer_.load(std::memory_order_relaxed) == &me) {
        throw std::system_error{std::make_error_code(std::errc::resource_deadlock_would_occur),
                                "weft: SharedLock locked by the one who holds it to write"};
    }
    if (waiters_.empty() && open_to(mode)) {
        take(mode, me);
        held.unlock();
        detail::note_locked(this, "SharedLock", orders);
        return true;
    }
    detail::Waiter self;
    self.slot = &mode;
    const detail::Wake why =
        park(held, waiters_, self, deadline, detail::Cancellable::no,
             detail::Purpose{"SharedLock::lock", this, &writer, detail::may_throw_here()});
    if (why == detail::Wake::notified) {
        detail::note_locked(this, "SharedLock", orders);
        return true;
    }
    detail::WakeList woken;
    held.lock();
    let_in(woken);
    held.unlock();
    woken.resume_all();
    if (why == detail::Wake::deadlocked) detail::throw_deadlock();
    return false;
}

bool SharedLock::try_acquire(Mode mode) noexcept {
    {
        const detail::Held held{waiters_.lock()};
        if (!waiters_.empty() || !open_to(mode)) return false;
        take(mode, detail::this_party());
    }
    detail::note_locked(this, "SharedLock", Orders::no);
    return true;
}

void SharedLock::unlock() {
    detail::note_unlocked(this);
    detail::WakeList woken;
    {
        const detail::Held held{waiters_.lock()};
        if (writer_.load(std::memory_order_relaxed) != &detail::this_party()) {
            throw std::system_error{std::make_error_code(std::errc::operation_not_permitted),
                                    "weft: SharedLock::unlock() by another than its writer"};
        }
        writer_.store(nullptr, std::memory_order_relaxed);
        let_in(woken);
    }
    woken.resume_all();
}

void SharedLock::unlock_shared() {
    detail::note_unlocked(this);
    detail::WakeList woken;
    {
        const detail::Held held{waiters_.lock()};
        if (readers_ == 0) {
            throw std::system_error{std::make_error_code(std::errc::operation_not_permitted),
                                    "weft: SharedLock::unlock_shared() without a reader"};
        }
        if (--readers_ == 0) let_in(woken);
    }
    woken.resume_all();
}

bool SharedLock::open_to(Mode mode) const noexcept {
    return writer_.load(std::memory_order_relaxed) == nullptr &&
           (mode == Mode::read || readers_ == 0);
}

// The readers are not known: a cycle over one of them is left to who looks for a standstill.
detail::Party* SharedLock::writer(const void* lock) noexcept {
    return static_cast<const SharedLock*>(lock)->writer_.load(std::memory_order_relaxed);
}

void SharedLock::take(Mode mode, detail::Party& party) noexcept {
    WEFT_ASSERT(open_to(mode));
    if (mode == Mode::write) {
        writer_.store(&party, std::memory_order_relaxed);
    } else {
        ++readers_;
    }
}

// Requires waiters_.lock().
void SharedLock::let_in(detail::WakeList& woken) noexcept {
    while (detail::Waiter* const first = waiters_.front()) {
        const Mode mode = *static_cast<const Mode*>(first->slot);
        if (!open_to(mode)) return;
        auto next = waiters_.claim(*first);
        if (!next) continue;
        take(mode, *(*next)->ticket.party);
        woken.add(std::move(*next));
    }
}

}  // namespace weft
