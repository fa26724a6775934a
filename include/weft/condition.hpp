#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>
#include <weft/lock.hpp>

#include <cstddef>

namespace weft {

/// Waiting for something that a lock protects. (Python's threading.Condition.)
///
/// No spurious wake-ups: a wait ends by a notification, its deadline or a
/// cancellation. Waiters are notified in order of arrival.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters; the destructor asserts that none wait.
class WEFT_API Condition {
public:
    Condition() noexcept = default;

    /// Releases `lock`, waits, and takes it again, however the wait ends.
    ///
    /// Requires: the caller holds `lock`; else throws
    /// std::system_error(operation_not_permitted) and nothing changed.
    /// Blocks: until notified. Cancellation point; taking the lock again is not.
    /// Returns false if `deadline` passed first. Throws Cancelled, holding `lock`.
    bool wait(Lock& lock, Deadline deadline = Deadline::never());

    /// Waits until `predicate()`, tested with the lock held, at once and after
    /// each notification. Returns its last value; false only at the deadline.
    template <class Predicate>
    bool wait(Lock& lock, Predicate predicate,
              Deadline deadline = Deadline::never()) requires requires {
        static_cast<bool>(predicate());
    }
    {
        while (!predicate()) {
            if (!wait(lock, deadline)) return predicate();
        }
        return true;
    }

    /// The same for a std::unique_lock<Lock> and the like.
    template <class Guard, class... Rest>
    requires requires(Guard& g) { g.mutex()->locked(); }
    bool wait(Guard& guard, Rest&&... rest) {
        return wait(*guard.mutex(), static_cast<Rest&&>(rest)...);
    }

    /// Wakes the first waiter, if any. Never blocks.
    void notify_one() noexcept { notify(1); }
    /// Wakes at most `count` waiters.
    void notify(std::size_t count) noexcept;
    /// Wakes all who wait now.
    void notify_all() noexcept { notify(static_cast<std::size_t>(-1)); }

private:
    detail::WaitQueue waiters_;
};

}  // namespace weft
