#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>

namespace weft {

namespace detail {
class Party;
}

/// Mutual exclusion between fibers and plain threads. Not re-entrant.
///
/// Satisfies TimedLockable, so std::unique_lock and std::scoped_lock work.
/// Waiters are served in order of arrival. Who held it while others ran (it waited
/// or yielded meanwhile) hands it to the first of them; nobody can take it in
/// between. Who held it for a moment only wakes the first, and until that one runs
/// others may take it; one that comes too late so is handed it the next time. What
/// was written before unlock() is visible after the lock() that follows.
///
/// (Handing over always, eight fibers on two workers that lock, count and unlock
/// form a convoy: 75 ns a turn. So it takes 14 to 21.)
///
/// Thread safety: every member. Lifetime: must outlive its waiters. A fiber must not
/// end while it holds one: nobody could unlock it, and a later fiber in the same memory
/// would be taken for its holder.
class WEFT_API Lock {
public:
    Lock() noexcept = default;
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock();

    /// Blocks: until locked; try_lock_until() takes a Deadline. Not a cancellation point, so that
    /// a destructor may lock.
    /// Throws std::system_error(resource_deadlock_would_occur) when the caller
    /// holds it; it stays locked. Throws Deadlock with Options::detect_cycles when
    /// the holder waits, through locks and joins without a deadline, for what the
    /// caller holds; then nothing changed for anybody else.
    void lock() { try_lock_until(Deadline::never()); }

    /// Blocks: until locked or `deadline`. Not a cancellation point.
    /// Returns whether it was locked. Throws as lock().
    bool try_lock_until(Deadline deadline);
    template <class Clock, class Duration>
    bool try_lock_until(const std::chrono::time_point<Clock, Duration>& at) {
        return try_lock_until(Deadline{at});
    }
    template <class Rep, class Period>
    bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
        return try_lock_until(Deadline{timeout});
    }

    /// Never blocks. False when it is held, also by the caller.
    bool try_lock() noexcept;

    /// Never blocks. Throws std::system_error(operation_not_permitted) when the
    /// caller does not hold it; then nothing changed.
    void unlock();

    /// Throws std::system_error(operation_not_permitted) unless the caller holds it.
    void require_held() const;

    /// Whether anybody holds it. Momentary.
    bool locked() const noexcept { return (word_.load(std::memory_order_relaxed) & ~flags) != 0; }

private:
    friend class Condition;
    friend class RLock;

    /// What reports call it.
    enum class Kind : std::uint8_t { lock, rlock };
    explicit Lock(Kind kind) noexcept : kind_{kind} {}
    const char* name() const noexcept { return kind_ == Kind::lock ? "Lock" : "RLock"; }

    // Whether the caller holds it.
    bool held() const noexcept;

    // In the lowest bits of word_, beside the holder's party; see src/sync/lock.cpp.
    static constexpr std::uintptr_t has_waiters = 1;
    static constexpr std::uintptr_t woken = 2;
    static constexpr std::uintptr_t overdue = 4;
    static constexpr std::uintptr_t flags = has_waiters | woken | overdue;

    struct Caller;
    enum class InCycle : bool { waits, throws };

    static detail::Party* holder(const void* lock) noexcept;
    bool take(Caller caller) noexcept;
    bool give_up(Caller caller) noexcept;
    bool lock_anyhow(Deadline deadline);
    void unlock_anyhow();
    bool take_while_it_runs(Caller caller) noexcept;
    bool take_or_announce(Caller caller, unsigned tries) noexcept;
    bool lock_slow(Caller caller, Deadline deadline, InCycle in_cycle);
    /// lock() for a wait() that cannot return without it: throws no Deadlock.
    void lock_again();
    void unlock_slow(Caller caller);

    std::atomic<std::uintptr_t> word_{0};
    std::uint32_t taken_at_ = 0;  // the holder's; see Caller
    const Kind kind_ = Kind::lock;
    detail::WaitQueue waiters_;
};

}  // namespace weft
