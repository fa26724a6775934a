// Semaphore. Layer: sync. Uses: base, park.
//
// Invariant: units_ == 0 or nobody waits. So a unit is never both free and
// wanted: release() gives it to the first waiter, or else counts it. And
// 0 <= units_ <= most_, which for a BoundedSemaphore is what it began with.
#include <weft/semaphore.hpp>

#include "base/assert.hpp"
#include "park/park.hpp"
#include "park/wake_list.hpp"
#include "sched/worker.hpp"

#include <limits>
#include <stdexcept>
#include <string>

namespace weft {

Semaphore::Semaphore(std::ptrdiff_t units)
    : Semaphore{units, std::numeric_limits<std::ptrdiff_t>::max()} {}

Semaphore::Semaphore(std::ptrdiff_t units, std::ptrdiff_t most) : units_{units}, most_{most} {
    if (units < 0) {
        throw std::invalid_argument{"weft: a Semaphore cannot begin with " + std::to_string(units) +
                                    " units"};
    }
}

bool Semaphore::acquire(Deadline deadline) {
    detail::check_interrupt();
    detail::Held held{waiters_.lock()};
    if (units_ > 0) {
        --units_;
        held.unlock();
        detail::Worker::consume_budget();
        return true;
    }
    detail::Waiter self;
    return park_or_throw(held, waiters_, self, deadline,
                         detail::Purpose{"Semaphore::acquire", this});
}

bool Semaphore::try_acquire() noexcept {
    const detail::Held held{waiters_.lock()};
    if (units_ == 0) return false;
    --units_;
    return true;
}

void Semaphore::release(std::ptrdiff_t units) {
    if (units < 0) {
        throw std::invalid_argument{"weft: Semaphore::release() of " + std::to_string(units) +
                                    " units"};
    }
    detail::WakeList served;
    {
        const detail::Held held{waiters_.lock()};
        if (units > most_ - units_) {
            throw std::logic_error{"weft: a Semaphore of at most " + std::to_string(most_) +
                                   " units was released too often"};
        }
        for (; units > 0; --units) {
            auto first = waiters_.claim_front();
            if (!first) break;
            served.add(std::move(*first));
        }
        WEFT_ASSERT(units == 0 || waiters_.empty());
        units_ += units;
    }
    // From here on *this may be gone: who was served may destroy it.
    served.resume_all();
}

}  // namespace weft
