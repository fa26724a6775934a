// Event. Layer: sync. Uses: base, park.
//
// Invariant: while it is set nobody is queued but those set() has not come to
// yet; a later clear() does not keep them, for set() takes the queue over whole.
#include <weft/event.hpp>

#include "park/park.hpp"
#include "park/wake_list.hpp"
#include "sched/worker.hpp"

namespace weft {

void Event::set() noexcept {
    detail::WakeList woken;
    {
        const detail::Held held{waiters_.lock()};
        set_.store(true, std::memory_order_release);
        while (auto waiter = waiters_.claim_front()) woken.add(std::move(*waiter));
    }
    woken.resume_all();
}

void Event::clear() noexcept {
    const detail::Held held{waiters_.lock()};
    set_.store(false, std::memory_order_relaxed);
}

bool Event::wait(Deadline deadline) {
    detail::check_interrupt();
    detail::Held held{waiters_.lock()};
    if (set_.load(std::memory_order_relaxed)) {
        held.unlock();
        detail::Worker::consume_budget();
        return true;
    }
    detail::Waiter self;
    return park_or_throw(held, waiters_, self, deadline, detail::Purpose{"Event::wait", this});
}

}  // namespace weft
