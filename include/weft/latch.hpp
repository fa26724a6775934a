#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/countdown.hpp>
#include <weft/detail/export.hpp>

#include <cstddef>

namespace weft {

/// A counter that only goes down; to wait for zero. (std::latch, with deadlines.)
///
/// What happened before count_down() is visible after the wait() it ended.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters; whoever saw it at zero may destroy it.
class WEFT_API Latch {
public:
    /// Throws std::invalid_argument when `expected` is negative.
    explicit Latch(std::ptrdiff_t expected);

    /// Never blocks. Wakes all waiters at zero. Throws std::invalid_argument when
    /// `count` is negative, std::logic_error when fewer are expected; then
    /// nothing changed.
    void count_down(std::ptrdiff_t count = 1);

    /// Whether it is at zero. Never blocks.
    bool try_wait() const noexcept { return expected_.count() == 0; }

    /// Blocks: until it is at zero. Cancellation point. Throws Cancelled.
    /// Returns true, or false if `deadline` passes first.
    bool wait(Deadline deadline = Deadline::never()) { return expected_.wait(deadline); }

    /// count_down(count), and wait(deadline) if that did not throw. What is
    /// counted stays counted, however the wait ends.
    bool arrive_and_wait(std::ptrdiff_t count = 1, Deadline deadline = Deadline::never());

private:
    detail::Countdown expected_;
};

}  // namespace weft
