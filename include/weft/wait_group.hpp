#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/countdown.hpp>
#include <weft/detail/export.hpp>

#include <cstddef>

namespace weft {

/// Waiting for a changing number of jobs to be done. (Go's sync.WaitGroup.)
///
/// A wait() ends when the count is zero, even if add() follows at once; after
/// that it may be used again. What happened before done() is visible after the
/// wait() it ended.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters; whoever saw the last job done may destroy it.
class WEFT_API WaitGroup {
public:
    WaitGroup();

    /// Counts `jobs` more, or fewer when negative. Never blocks. Wakes all
    /// waiters at zero. Throws std::logic_error when the count would be negative
    /// or too large; then nothing changed.
    void add(std::ptrdiff_t jobs) { jobs_.change(jobs); }

    /// add(-1).
    void done() { jobs_.change(-1); }

    /// Blocks: until the count is zero. Cancellation point. Throws Cancelled.
    /// Returns true, or false if `deadline` passes first.
    bool wait(Deadline deadline = Deadline::never()) { return jobs_.wait(deadline); }

private:
    detail::Countdown jobs_;
};

}  // namespace weft
