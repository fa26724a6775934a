// Times as system calls take them. Layer: io. Uses: base.
#pragma once

#include "base/clock.hpp"

#include <weft/deadline.hpp>

#include <sys/time.h>
#include <time.h>

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

/// Of what a system call takes: seconds, and parts of one that need not be fewer than it
/// has. As much as there is room for, some 292 years.
inline std::chrono::nanoseconds duration_of(std::chrono::seconds whole,
                                            std::chrono::nanoseconds part) noexcept {
    constexpr auto most = std::chrono::nanoseconds::max();
    if (whole >= std::chrono::floor<std::chrono::seconds>(most) / 2) return most;
    return whole + std::min(part, most / 2);
}
inline std::chrono::nanoseconds duration_of(const timespec& time) noexcept {
    return duration_of(std::chrono::seconds{time.tv_sec}, std::chrono::nanoseconds{time.tv_nsec});
}
inline std::chrono::nanoseconds duration_of(const timeval& time) noexcept {
    constexpr std::int64_t most = 1'000'000'000'000;
    const std::chrono::microseconds part{std::min<std::int64_t>(time.tv_usec % 1'000'000, most)};
    const std::int64_t more = time.tv_usec / 1'000'000;
    const std::int64_t whole =
        time.tv_sec < std::int64_t{1} << 61 ? time.tv_sec + more : time.tv_sec;
    return duration_of(std::chrono::seconds{whole}, part);
}

/// As the kernel sees it.
inline bool is_valid(const timespec& time) noexcept {
    return time.tv_sec >= 0 && time.tv_nsec >= 0 && time.tv_nsec < 1'000'000'000;
}

}  // namespace weft::detail
