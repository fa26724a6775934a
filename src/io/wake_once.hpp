// WakeOnce: of all wakes of one sleep, the first alone makes a signal.
// Layer: io. Uses: base.
//
// Invariant: pending_ is set before the signal is made, and cleared after it was
// drained: so it is never left set with no signal there to end a sleep. (Cleared
// first, a wake in between would have its signal drained, and no later wake
// would make another. That order is a mutant in tests/model.)
#pragma once

#include <atomic>

namespace weft::detail {

template <class Sync>
class WakeOnce {
public:
    /// Any thread. `signal`: what ends sleeps, until it is drained.
    template <class Signal>
    void wake(Signal& signal) noexcept {
        if (!pending_.exchange(true, std::memory_order_acq_rel)) signal.signal();
    }

    /// The sleeper, when the signal ended its sleep: sees what was written before
    /// every wake() that made none.
    template <class Signal>
    void settle(Signal& signal) noexcept {
        signal.drain();
        pending_.exchange(false, std::memory_order_acq_rel);
    }

    /// Any thread; momentary.
    bool pending() const noexcept { return pending_.load(std::memory_order_relaxed); }

private:
    typename Sync::template atomic<bool> pending_{false};
};

}  // namespace weft::detail
