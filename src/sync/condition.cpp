// Condition. Layer: sync. Uses: park.
//
// A waiter is queued before it releases the lock, so whoever takes the lock
// after it and notifies finds it.
//
// Invariant: while somebody is queued, lock_ is the lock that he and all others
// queued will hold again before their wait() returns; so it exists. Of an RLock
// it is the Lock inside.
#include <weft/condition.hpp>

#include "park/park.hpp"
#include "park/wake_list.hpp"

#include <weft/this_fiber.hpp>

#include <stdexcept>

namespace weft {

bool Condition::wait(Lock& lock, Deadline deadline) {
    lock.require_held();
    detail::Waiter self;
    detail::Held held{waiters_.lock()};
    if (lock_ != &lock) {
        if (bound_ != nullptr || !waiters_.empty()) {
            throw std::invalid_argument{"weft: Condition::wait() with another lock than its own"};
        }
        lock_ = &lock;
    }
    const detail::Wake why =
        park_releasing(held, waiters_, self, deadline, detail::Cancellable::yes,
                       detail::Purpose{"Condition::wait", this}, [&] { lock.unlock(); });
    if (self.ticket.party != nullptr) {
        lock.lock_again();
    } else if (why == detail::Wake::timed_out) {
        // Begun too late, it has not unlocked; who asks again and again lets others lock.
        lock.unlock();
        this_fiber::yield();
        lock.lock_again();
    }
    if (why == detail::Wake::cancelled) detail::throw_interrupt();
    return why == detail::Wake::notified;
}

bool Condition::wait(RLock& lock, Deadline deadline) {
    // Whoever locks it meanwhile counts its own depth there.
    struct Depth {
        explicit Depth(RLock& l) : lock{l}, depth{l.depth_} {}
        Depth(const Depth&) = delete;
        Depth& operator=(const Depth&) = delete;
        ~Depth() { lock.depth_ = depth; }
        RLock& lock;
        const std::size_t depth;
    };
    lock.require_held();
    const Depth whole{lock};
    return wait(lock.lock_, deadline);
}

bool Condition::wait(Deadline deadline) {
    Lock& lock = require_bound();
    if (bound_rlock_ != nullptr) return wait(*bound_rlock_, deadline);
    return wait(lock, deadline);
}

void Condition::notify(std::size_t count) {
    detail::WakeList woken;
    {
        const detail::Held held{waiters_.lock()};
        if (bound_ != nullptr || !waiters_.empty()) lock_->require_held();
        for (; count > 0; --count) {
            auto waiter = waiters_.claim_front();
            if (!waiter) break;
            woken.add(std::move(*waiter));
        }
    }
    woken.resume_all();
}

Lock& Condition::require_bound() const {
    if (bound_ != nullptr) return *bound_;
    throw std::logic_error{"weft: Condition::wait() without a lock, of one made without a lock"};
}

}  // namespace weft
