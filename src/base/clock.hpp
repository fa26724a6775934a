// Clock: the seam behind every reading of time.
// Layer: base. Uses: std.
//
// A simulated run replaces the clock of its one OS thread by a number.
#pragma once

#include <chrono>
#include <cstdint>

namespace weft::detail {

using TimePoint = std::chrono::steady_clock::time_point;

/// A clock that stands still until it is told otherwise.
class VirtualClock {
public:
    TimePoint now() const noexcept { return now_; }
    void advance_to(TimePoint then) noexcept {
        if (then > now_) now_ = then;
    }

private:
    TimePoint now_{std::chrono::hours{1}};
};

/// Makes now() on the calling thread read `clock`; null: the steady clock again.
void use_virtual_clock(VirtualClock* clock) noexcept;

}  // namespace weft::detail
