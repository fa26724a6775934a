// A clock that a test moves, in a real runtime.
#pragma once

#include "base/clock.hpp"

#include <weft/deadline.hpp>

#include <chrono>

namespace weft::test {

/// For a fiber of a runtime with one worker, while it lives: time stands still there
/// until it is told otherwise. It must not let the worker become idle meanwhile.
class HandClock {
public:
    HandClock() {
        // The watchdog has a clock of its own, by which no deadline here ever passes.
        clock_.advance_to(detail::now() + std::chrono::hours{10'000});
        detail::use_virtual_clock(&clock_);
    }
    HandClock(const HandClock&) = delete;
    HandClock& operator=(const HandClock&) = delete;
    ~HandClock() { detail::use_virtual_clock(nullptr); }

    void pass(Deadline deadline) { clock_.advance_to(deadline.at()); }

private:
    detail::VirtualClock clock_;
};

}  // namespace weft::test
