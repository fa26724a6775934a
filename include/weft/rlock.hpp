#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/lock.hpp>

#include <chrono>
#include <cstddef>

namespace weft {

/// A Lock that its holder may lock again, and unlocks as often. (Python's
/// threading.RLock.)
///
/// Satisfies TimedLockable. As fair as Lock. What was written before the last
/// unlock() is visible after the lock() that follows.
///
/// Thread safety: every member. Lifetime: must outlive its waiters.
class WEFT_API RLock {
public:
    RLock() noexcept = default;

    /// Blocks: until locked, never when the caller holds it. Not a cancellation
    /// point. Throws Deadlock, as Lock::lock().
    void lock() { try_lock_until(Deadline::never()); }

    /// Blocks: until locked or `deadline`, never when the caller holds it. Not a
    /// cancellation point. Returns whether it was locked. Throws as lock().
    bool try_lock_until(Deadline deadline);
    template <class Clock, class Duration>
    bool try_lock_until(const std::chrono::time_point<Clock, Duration>& at) {
        return try_lock_until(Deadline{at});
    }
    template <class Rep, class Period>
    bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
        return try_lock_until(Deadline{timeout});
    }

    /// Never blocks. True also when the caller holds it.
    bool try_lock() noexcept;

    /// Undoes one lock(). Never blocks. Throws
    /// std::system_error(operation_not_permitted) when the caller does not hold
    /// it; then nothing changed.
    void unlock();

    /// Throws std::system_error(operation_not_permitted) unless the caller holds it.
    void require_held() const { lock_.require_held(); }

    /// Whether anybody holds it. Momentary.
    bool locked() const noexcept { return lock_.locked(); }

    /// How often the caller has locked it; 0 when it is not the holder.
    std::size_t depth() const noexcept { return lock_.held() ? depth_ : 0; }

private:
    friend class Condition;

    Lock lock_{Lock::Kind::rlock};
    std::size_t depth_ = 0;  // the holder's own; without a holder it means nothing
};

}  // namespace weft
