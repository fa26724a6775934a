// WakeOnce under the model checker.
// Layer: tests. Uses: io, model.
//
// Goal: no wake is lost, however many share a signal.
// Method: three wakers, each with something to tell, and a sleeper that must
// learn it all. A signal stays until it is drained, as an eventfd in an epoll.
#include "model/expect.hpp"

#include "io/wake_once.hpp"
#include "wake_once_clears_first.hpp"
#include "wake_once_signals_first.hpp"

namespace {

class Signal {
public:
    void signal() { token_.wake(); }
    void sleep() {
        token_.wait();
        token_.wake();
    }
    void drain() {
        if (token_.is_set()) token_.wait();
    }

private:
    model::WakeToken token_;
};

template <class Wakes>
class Telling {
    static constexpr unsigned wakers = 3;

public:
    static constexpr unsigned threads = 1 + wakers;
    static constexpr bool may_sleep_for_ever = false;

    void run(unsigned thread) { thread == 0 ? learn() : tell(thread - 1); }
    void check() { model::require(knows_all(), "something was not told"); }

private:
    void learn() {
        while (!knows_all()) {
            signal_.sleep();
            wakes_.settle(signal_);
        }
    }

    void tell(unsigned waker) {
        told_[waker].store(true, std::memory_order_relaxed);
        wakes_.wake(signal_);
    }

    bool knows_all() const {
        for (const auto& each : told_) {
            if (!each.load(std::memory_order_relaxed)) return false;
        }
        return true;
    }

    model::Atomic<bool> told_[wakers];
    Wakes wakes_;
    Signal signal_;
};

}  // namespace

TEST_CASE("WakeOnce loses no wake", "[model][wake_once]") {
    model::expect_kept<Telling<weft::detail::WakeOnce<model::Sync>>>("WakeOnce");
}

TEST_CASE("the checker finds what is planted in WakeOnce", "[model][wake_once][mutant]") {
    model::expect_found<Telling<variant::wake_once_clears_first::WakeOnce<model::Sync>>>(
        "WakeOnce: cleared before the signal is drained");
    model::expect_found<Telling<variant::wake_once_signals_first::WakeOnce<model::Sync>>>(
        "WakeOnce: signalled before it is set");
}
