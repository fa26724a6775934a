#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace weft {

namespace detail {
class Party;
class WakeList;
}  // namespace detail

/// A lock for one writer or any number of readers. (std::shared_timed_mutex.)
///
/// Satisfies SharedTimedLockable: std::unique_lock locks it to write,
/// std::shared_lock to read. Fair: in order of arrival, so that a reader who
/// comes after a waiting writer waits behind it; readers that come one after
/// another are let in together. What was written before an unlock is visible
/// after the locks that follow.
///
/// Thread safety: every member. Lifetime: must outlive its waiters; the
/// destructor asserts that nobody holds it.
class WEFT_API SharedLock {
public:
    SharedLock() noexcept = default;
    SharedLock(const SharedLock&) = delete;
    SharedLock& operator=(const SharedLock&) = delete;
    ~SharedLock();

    // --- to write ---

    /// Blocks: until locked. Not a cancellation point.
    /// Requires: the caller does not hold it to read; it would wait for itself.
    /// Throws std::system_error(resource_deadlock_would_occur) when the caller
    /// holds it to write; it stays locked. Throws Deadlock as Lock::lock(), where
    /// it is held to write.
    void lock() { acquire(Mode::write, Deadline::never()); }

    /// Blocks: until locked or `deadline`. Otherwise as lock().
    /// Returns whether it was locked.
    bool try_lock_until(Deadline deadline) { return acquire(Mode::write, deadline); }
    template <class Clock, class Duration>
    bool try_lock_until(const std::chrono::time_point<Clock, Duration>& at) {
        return try_lock_until(Deadline{at});
    }
    template <class Rep, class Period>
    bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
        return try_lock_until(Deadline{timeout});
    }

    /// Never blocks. False when it is held, also by the caller, or waited for.
    bool try_lock() noexcept { return try_acquire(Mode::write); }

    /// Never blocks. Throws std::system_error(operation_not_permitted) when the
    /// caller does not hold it to write; then nothing changed.
    void unlock();

    // --- to read ---

    /// Blocks: until locked. Not a cancellation point. Throws
    /// std::system_error(resource_deadlock_would_occur) when the caller holds it
    /// to write; it stays locked. Throws Deadlock as lock(). A reader that locks it once more waits
    /// for itself if a writer came in between.
    void lock_shared() { acquire(Mode::read, Deadline::never()); }

    /// Blocks: until locked or `deadline`. Otherwise as lock_shared().
    /// Returns whether it was locked.
    bool try_lock_shared_until(Deadline deadline) { return acquire(Mode::read, deadline); }
    template <class Clock, class Duration>
    bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& at) {
        return try_lock_shared_until(Deadline{at});
    }
    template <class Rep, class Period>
    bool try_lock_shared_for(std::chrono::duration<Rep, Period> timeout) {
        return try_lock_shared_until(Deadline{timeout});
    }

    /// Never blocks. False when it is held to write or waited for.
    bool try_lock_shared() noexcept { return try_acquire(Mode::read); }

    /// Never blocks. Throws std::system_error(operation_not_permitted) when
    /// nobody holds it to read; then nothing changed. Who the readers are it
    /// does not know.
    void unlock_shared();

private:
    enum class Mode : std::uint8_t { read, write };

    bool acquire(Mode mode, Deadline deadline);
    bool try_acquire(Mode mode) noexcept;
    bool open_to(Mode mode) const noexcept;
    void take(Mode mode, detail::Party& party) noexcept;
    static detail::Party* writer(const void* lock) noexcept;
    void let_in(detail::WakeList& woken) noexcept;

    // --- guarded by waiters_.lock() ---
    detail::WaitQueue waiters_;
    std::atomic<detail::Party*> writer_{nullptr};  // who holds it to write; read by any thread
    std::size_t readers_ = 0;                      // how many hold it to read
};

}  // namespace weft
