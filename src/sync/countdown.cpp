// Countdown: the core of Latch and WaitGroup. Layer: sync. Uses: park.
//
// Invariant: count_ >= 0, and nobody is queued at zero but those change() has
// not come to yet; raising it again does not keep them, for change() takes the
// queue over whole.
//
// Lifetime: whoever sees zero may destroy it. So the lock is taken even to read,
// and change() touches nothing after its unlock.
#include <weft/detail/countdown.hpp>

#include "park/park.hpp"
#include "park/wake_list.hpp"
#include "sched/worker.hpp"

#include <limits>
#include <stdexcept>
#include <string>

namespace weft::detail {

Countdown::Countdown(std::ptrdiff_t count, const Names& names) : count_{count}, names_{names} {
    if (count < 0) {
        throw std::invalid_argument{std::string{"weft: a "} + names.owner +
                                    " cannot begin below zero"};
    }
}

void Countdown::change(std::ptrdiff_t difference) {
    WakeList woken;
    {
        const Held held{waiters_.lock()};
        const bool fits = difference <= std::numeric_limits<std::ptrdiff_t>::max() - count_;
        if (!fits || count_ + difference < 0) {
            throw std::logic_error{std::string{"weft: a "} + names_.owner +
                                   (fits ? " cannot count below zero" : " cannot count so far")};
        }
        count_ += difference;
        if (count_ > 0) return;
        while (auto waiter = waiters_.claim_front()) woken.add(std::move(*waiter));
    }
    woken.resume_all();
}

std::ptrdiff_t Countdown::count() const noexcept {
    const Held held{waiters_.lock()};
    return count_;
}

bool Countdown::wait(Deadline deadline) {
    check_interrupt();
    Held held{waiters_.lock()};
    if (count_ == 0) {
        held.unlock();
        Worker::consume_budget();
        return true;
    }
    Waiter self;
    return park_or_throw(held, waiters_, self, deadline, Purpose{names_.wait, this});
}

}  // namespace weft::detail
