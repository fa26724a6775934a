#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>
#include <weft/lock.hpp>
#include <weft/rlock.hpp>

#include <cstddef>
#include <type_traits>

namespace weft {

/// Waiting for something that a lock protects. (Python's threading.Condition.)
///
/// No spurious wake-ups: a wait ends by a notification, its deadline or a
/// cancellation. Waiters are notified in order of arrival.
///
/// Waiting or notifying without the lock is an error. A Condition made with a
/// lock belongs to it; one made without belongs, while anybody waits, to the
/// lock they wait with, and to none when nobody does.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters; the destructor asserts that none wait.
///  The lock it was made with must outlive it.
class WEFT_API Condition {
public:
    Condition() noexcept = default;
    explicit Condition(Lock& lock) noexcept : bound_{&lock}, lock_{&lock} {}
    explicit Condition(RLock& lock) noexcept
        : bound_{&lock.lock_}, bound_rlock_{&lock}, lock_{&lock.lock_} {}

    /// Releases `lock`, waits, and takes it again, however the wait ends. An
    /// RLock is released whole, and comes back as deep as it was.
    ///
    /// Requires: the caller holds `lock`; else throws
    /// std::system_error(operation_not_permitted). It is the lock that the
    /// Condition belongs to; else throws std::invalid_argument. Then nothing changed.
    /// Blocks: until notified. Cancellation point; taking the lock again is not.
    /// Returns false if `deadline` passed first. Throws Cancelled, holding `lock`.
    bool wait(Lock& lock, Deadline deadline = Deadline::never());
    bool wait(RLock& lock, Deadline deadline = Deadline::never());

    /// The same with the lock it was made with; throws std::logic_error if it
    /// was made without.
    bool wait(Deadline deadline = Deadline::never());

    /// Waits until `predicate()`, tested with the lock held, at once and after
    /// each notification. Returns its last value; false only at the deadline.
    /// Otherwise as wait() without it.
    template <class AnyLock, class Predicate>
    requires((std::is_same_v<AnyLock, Lock> ||
              std::is_same_v<AnyLock, RLock>)&&requires(Predicate& p) {
        static_cast<bool>(p());
    }) bool wait(AnyLock& lock, Predicate predicate, Deadline deadline = Deadline::never()) {
        return wait_until_true(lock, predicate, [&] { return wait(lock, deadline); });
    }
    template <class Predicate>
    requires requires(Predicate& p) { static_cast<bool>(p()); }
    bool wait(Predicate predicate, Deadline deadline = Deadline::never()) {
        return wait_until_true(require_bound(), predicate, [&] { return wait(deadline); });
    }

    /// The same for a std::unique_lock of either, and the like.
    template <class Guard, class... Rest>
    requires requires(Guard& g) { g.mutex()->locked(); }
    bool wait(Guard& guard, Rest&&... rest) {
        return wait(*guard.mutex(), static_cast<Rest&&>(rest)...);
    }

    /// Wakes the first waiter, if any. Never blocks.
    ///
    /// Requires: the caller holds the lock that the Condition belongs to; else
    /// throws std::system_error(operation_not_permitted) and wakes nobody. With
    /// no such lock (made without one, and nobody waits) there is nothing to do.
    void notify_one() { notify(1); }
    /// Wakes at most `count` waiters. Otherwise as notify_one().
    void notify(std::size_t count);
    /// Wakes all who wait now. Otherwise as notify_one().
    void notify_all() { notify(static_cast<std::size_t>(-1)); }

private:
    template <class AnyLock, class Predicate, class Wait>
    static bool wait_until_true(const AnyLock& lock, Predicate& predicate, Wait&& wait) {
        if (predicate()) {
            lock.require_held();  // otherwise wait() does
            return true;
        }
        do {
            if (!wait()) return predicate();
        } while (!predicate());
        return true;
    }
    Lock& require_bound() const;

    // --- fixed after construction ---
    Lock* const bound_ = nullptr;         // the lock it was made with, or that one's Lock
    RLock* const bound_rlock_ = nullptr;  // the same, if it is one

    detail::WaitQueue waiters_;
    Lock* lock_ = nullptr;  // guarded by waiters_.lock(); of those who wait, else outdated
};

}  // namespace weft
