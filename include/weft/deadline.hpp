#pragma once

#include <weft/detail/export.hpp>

#include <chrono>
#include <compare>

namespace weft {

namespace detail {
/// The steady clock, or the virtual clock inside weft::simulate().
WEFT_API std::chrono::steady_clock::time_point now() noexcept;
}  // namespace detail

/// The moment at which a blocking call stops waiting.
///
/// Always absolute, always on the steady clock: a loop that waits again after
/// a wakeup keeps its deadline, and setting the wall clock changes nothing.
/// A duration converts implicitly, counted from the conversion:
/// `semaphore.acquire(50ms)`. Inside weft::simulate() the clock is virtual.
class Deadline {
public:
    using Clock = std::chrono::steady_clock;

    constexpr Deadline(Clock::time_point at) noexcept : at_{at} {}

    /// Saturates: a duration too long for the clock means never().
    template <class Rep, class Period>
    Deadline(std::chrono::duration<Rep, Period> from_now) noexcept
        : Deadline{from(detail::now(), from_now)} {}

    /// A moment on another clock counts as the duration until then, from now.
    template <class Other, class Duration>
    explicit Deadline(const std::chrono::time_point<Other, Duration>& at) noexcept
        : Deadline{at - Other::now()} {}
    /// A moment between two ticks counts as the later one.
    template <class Duration>
    explicit Deadline(const std::chrono::time_point<Clock, Duration>& at) noexcept
        : at_{std::chrono::ceil<Clock::duration>(at)} {}

    static constexpr Deadline never() noexcept { return Clock::time_point::max(); }

    constexpr bool is_never() const noexcept { return at_ == Clock::time_point::max(); }
    constexpr Clock::time_point at() const noexcept { return at_; }

    /// Whether the moment has come.
    bool passed() const noexcept { return !is_never() && at_ <= detail::now(); }

    friend constexpr auto operator<=>(Deadline, Deadline) noexcept = default;

private:
    template <class Rep, class Period>
    static constexpr Deadline from(Clock::time_point now,
                                   std::chrono::duration<Rep, Period> d) noexcept {
        using Seconds = std::chrono::duration<double>;
        const auto room = Seconds{Clock::time_point::max() - now};
        if (Seconds{d} >= room) return never();
        // In floating point: min() - now would overflow.
        const auto past =
            Seconds{Clock::time_point::min().time_since_epoch()} - Seconds{now.time_since_epoch()};
        if (Seconds{d} <= past) return Clock::time_point::min();
        return now + std::chrono::ceil<Clock::duration>(d);
    }

    Clock::time_point at_;
};

}  // namespace weft
