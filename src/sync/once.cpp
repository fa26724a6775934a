// Once. Layer: sync. Uses: park.
//
// Invariant: whoever waits, waits for a runner. A runner that failed makes the
// first waiter the next runner, or it is idle again; one that succeeded wakes
// everybody.
#include <weft/once.hpp>

#include "park/deadlock.hpp"
#include "park/park.hpp"
#include "park/wake_list.hpp"

#include <system_error>

namespace weft {

bool Once::call_erased(void (*run)(void*), void* context, Deadline deadline) {
    const Turn turn = wait_for_turn(deadline);
    if (turn != Turn::mine) return turn == Turn::over;
    try {
        run(context);
    } catch (...) {
        pass_on();
        throw;
    }
    finish();
    return true;
}

// Turn::mine: the caller is the runner now.
Once::Turn Once::wait_for_turn(Deadline deadline) {
    detail::Party* const me = &detail::this_party();
    detail::Held held{waiters_.lock()};
    if (done()) return Turn::over;
    if (state_.load(std::memory_order_relaxed) == State::idle) {
        state_.store(State::running, std::memory_order_relaxed);
        runner_.store(me, std::memory_order_relaxed);
        return Turn::mine;
    }
    if (runner(this) == me) {
        throw std::system_error{std::make_error_code(std::errc::resource_deadlock_would_occur),
                                "weft: Once::call() out of the function it runs"};
    }
    Turn turn = Turn::over;
    detail::Waiter self;
    self.slot = &turn;
    const detail::Wake why =
        park(held, waiters_, self, deadline, detail::Cancellable::no,
             detail::Purpose{"Once::call", this, &runner, detail::may_throw_here()});
    if (why == detail::Wake::deadlocked) detail::throw_deadlock();
    return why == detail::Wake::notified ? turn : Turn::late;
}

detail::Party* Once::runner(const void* once) noexcept {
    return static_cast<const Once*>(once)->runner_.load(std::memory_order_relaxed);
}

void Once::pass_on() noexcept {
    detail::Held held{waiters_.lock()};
    auto next = waiters_.claim_front();
    if (!next) {
        state_.store(State::idle, std::memory_order_relaxed);
        runner_.store(nullptr, std::memory_order_relaxed);
        return;
    }
    runner_.store((*next)->ticket.party, std::memory_order_relaxed);
    *static_cast<Turn*>((*next)->slot) = Turn::mine;
    held.unlock();
    std::move(*next).resume();
}

void Once::finish() noexcept {
    detail::WakeList woken;
    {
        const detail::Held held{waiters_.lock()};
        runner_.store(nullptr, std::memory_order_relaxed);
        state_.store(State::done, std::memory_order_release);
        while (auto waiter = waiters_.claim_front()) woken.add(std::move(*waiter));
    }
    woken.resume_all();
}

}  // namespace weft
