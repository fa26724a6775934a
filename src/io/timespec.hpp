// Times as system calls take them. Layer: io. Uses: base.
#pragma once

#include "base/clock.hpp"

#include <weft/deadline.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace weft::detail {

/// Until `deadline` passes; 0 when it has.
inline std::chrono::nanoseconds time_left(Deadline deadline) noexcept {
    const auto moment = now();
    return deadline.at() > moment ? deadline.at() - moment : std::chrono::nanoseconds{0};
}

/// A timespec or __kernel_timespec; 0 for what is negative.
template <class Timespec>
Timespec to_timespec(std::chrono::nanoseconds time) noexcept {
    const std::int64_t ns = std::max<std::int64_t>(0, time.count());
    return {ns / 1'000'000'000, ns % 1'000'000'000};
}

}  // namespace weft::detail
