// Condition. Layer: sync. Uses: park.
//
// A waiter is queued before it releases the lock, so whoever takes the lock
// after it and notifies finds it.
#include <weft/condition.hpp>

#include "park/park.hpp"
#include "park/wake_list.hpp"

namespace weft {

bool Condition::wait(Lock& lock, Deadline deadline) {
    lock.require_held();
    detail::Waiter self;
    detail::Held held{waiters_.lock()};
    const detail::Wake why =
        park_releasing(held, waiters_, self, deadline, detail::Cancellable::yes,
                       detail::Purpose{"Condition::wait", this}, [&] { lock.unlock(); });
    // A wait that never began (cancelled before, or too late) has not unlocked.
    if (self.ticket.party != nullptr) lock.lock_again();
    if (why == detail::Wake::cancelled) detail::throw_interrupt();
    return why == detail::Wake::notified;
}

void Condition::notify(std::size_t count) noexcept {
    detail::WakeList woken;
    {
        const detail::Held held{waiters_.lock()};
        for (; count > 0; --count) {
            auto waiter = waiters_.claim_front();
            if (!waiter) break;
            woken.add(std::move(*waiter));
        }
    }
    woken.resume_all();
}

}  // namespace weft
