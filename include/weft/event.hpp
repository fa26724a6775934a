#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>

namespace weft {

namespace detail {
class EventCase;
}

/// A flag to wait for. (Python's threading.Event.)
///
/// set() wakes everybody who waits at that moment, even if clear() follows at
/// once. What happened before set() is visible after the wait() it ended.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters; the destructor asserts that none wait. Whom
/// wait() let through may destroy it, not who only saw is_set(): set() may be at it still.
class WEFT_API Event {
public:
    Event() noexcept = default;

    /// Whether it is set. Never blocks.
    bool is_set() const noexcept { return set_.load(std::memory_order_acquire); }

    /// Sets it and wakes all waiters, in order of arrival. Never blocks.
    void set() noexcept;

    /// Never blocks.
    void clear() noexcept;

    /// Blocks: until it is set. Cancellation point. Throws Cancelled.
    /// Returns true, or false if `deadline` passes first.
    bool wait(Deadline deadline = Deadline::never());

private:
    friend class detail::EventCase;

    detail::WaitQueue waiters_;
    std::atomic<bool> set_{false};  // written under waiters_.lock(); false while somebody waits
};

}  // namespace weft
