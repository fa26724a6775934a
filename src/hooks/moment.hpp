// Times as libc takes them, and what they are in deadlines. Layer: hooks. Uses: io.
#pragma once

#include "io/timespec.hpp"

#include <weft/deadline.hpp>

#include <chrono>
#include <ctime>

namespace weft::hooks::detail {

using weft::detail::duration_of;
using weft::detail::is_valid;

inline std::chrono::nanoseconds now_of(clockid_t clock) noexcept {
    timespec now{};
    ::clock_gettime(clock, &now);
    return duration_of(now);
}

/// When a caller wants a wait to end. Null: never.
struct Until {
    clockid_t clock = CLOCK_MONOTONIC;
    const timespec* at = nullptr;
};

/// That moment.
class Moment {
public:
    explicit Moment(const Until& until) noexcept {
        const auto& [clock, at] = until;
        if (at == nullptr) return;
        is_valid_ = at->tv_nsec >= 0 && at->tv_nsec < 1'000'000'000;
        // Long ago; left to right it would overflow.
        if (at->tv_sec < 0) deadline_ = Deadline::Clock::time_point::min();
        if (at->tv_sec < 0 || !is_valid_) return;
        const auto now = now_of(clock);
        if (clock != CLOCK_MONOTONIC) offset_ = now - now_of(CLOCK_MONOTONIC);
        clock_ = clock;
        deadline_ = Deadline{duration_of(*at) - now};
    }

    /// So long from now. Null: never.
    static Moment in(const timespec* time) noexcept {
        Moment moment{Until{}};
        if (time != nullptr) moment.deadline_ = Deadline{duration_of(*time)};
        return moment;
    }

    bool is_valid() const noexcept { return is_valid_; }
    Deadline deadline() const noexcept { return deadline_; }

    /// deadline() has come. False when the clock was set back meanwhile: then there is a
    /// later one. (Set forth, it is not noticed.)
    bool came() noexcept {
        using namespace std::chrono_literals;
        if (clock_ == CLOCK_MONOTONIC) return true;
        const auto offset = now_of(clock_) - now_of(CLOCK_MONOTONIC);
        const auto back = offset_ - offset;
        if (back < 1ms) return true;
        offset_ = offset;
        deadline_ = Deadline{back};
        return false;
    }

private:
    clockid_t clock_ = CLOCK_MONOTONIC;
    bool is_valid_ = true;
    Deadline deadline_ = Deadline::never();
    std::chrono::nanoseconds offset_{0};  // of clock_ to the steady one
};

}  // namespace weft::hooks::detail
