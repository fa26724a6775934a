#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <cstddef>

namespace weft {

/// A counter of free units; acquire() waits while there are none.
///
/// Fair: units go to waiters in order of arrival. A released unit is handed to
/// the first waiter directly and is never visible to a later try_acquire().
/// What happened before release() is visible after the acquire() it served.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters; the destructor asserts that none wait.
class WEFT_API Semaphore {
public:
    /// Throws std::invalid_argument when `units` is negative.
    explicit Semaphore(std::ptrdiff_t units);

    /// Takes one unit.
    ///
    /// Blocks: until a unit is free. Cancellation point.
    /// Returns false if `deadline` passes first; then no unit was taken.
    /// Throws Cancelled; then no unit was taken.
    bool acquire(Deadline deadline = Deadline::never());

    /// Takes one unit if that needs no waiting. Never blocks.
    bool try_acquire() noexcept;

    /// Gives `units` back and wakes at most as many waiters. Never blocks.
    /// Throws std::invalid_argument when `units` is negative, std::logic_error
    /// when there would be more units than it can count; then nothing changed.
    void release(std::ptrdiff_t units = 1);

    /// The same as a Lockable, so that `std::lock_guard unit{semaphore};` takes a unit
    /// for a scope. (Python's `with semaphore:`.) Blocks and throws as acquire(),
    /// try_acquire() and release(); unlike Lock's, this lock() is a cancellation point.
    void lock() { acquire(); }
    bool try_lock() noexcept { return try_acquire(); }
    void unlock() { release(); }

private:
    friend class BoundedSemaphore;
    Semaphore(std::ptrdiff_t units, std::ptrdiff_t most);

    detail::WaitQueue waiters_;
    std::ptrdiff_t units_;  // guarded by waiters_.lock(); 0 whenever somebody waits
    const std::ptrdiff_t most_;
};

}  // namespace weft
