// Clock: the seam behind every reading of time.
// Layer: base. Uses: std.
//
// A simulated run replaces the clock of its one OS thread by a number.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace weft::detail {

using TimePoint = std::chrono::steady_clock::time_point;

/// A clock that stands still until it is told otherwise. One thread's, but that of fibers,
/// each of which TSan takes for one: hence the atomic.
class VirtualClock {
public:
    TimePoint now() const noexcept { return now_.load(std::memory_order_relaxed); }
    void advance_to(TimePoint then) noexcept {
        if (then > now()) now_.store(then, std::memory_order_relaxed);
    }

private:
    std::atomic<TimePoint> now_{TimePoint{std::chrono::hours{1}}};
};

/// Makes now() on the calling thread read `clock`; null: the steady clock again.
void use_virtual_clock(VirtualClock* clock) noexcept;

}  // namespace weft::detail
