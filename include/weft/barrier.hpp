#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/action.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>

namespace weft {

/// Thrown out of Barrier::wait() when the parties will not meet.
class WEFT_API BrokenBarrier : public std::exception {
public:
    const char* what() const noexcept override;
};

/// A number of parties wait for each other, again and again. (Python's
/// threading.Barrier.)
///
/// All parties of a round pass, or none does. A barrier that broke stays broken
/// until reset(). What happened before each wait() of a round is visible to the
/// action, and what the action did after each wait().
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters; the destructor asserts that none wait.
class WEFT_API Barrier {
public:
    /// Throws std::invalid_argument when `parties` is less than one.
    explicit Barrier(std::ptrdiff_t parties);

    /// `action()` is run in each round by the party that came last, before any
    /// passes. It may wait, for anything but this barrier. Throws also what copying it throws.
    template <class F>
    requires std::is_invocable_v < std::decay_t<F>
    & > Barrier(std::ptrdiff_t parties, F&& action)
        : parties_{checked(parties)},
    action_{std::forward<F>(action)} {}

    /// Waits for the other parties.
    ///
    /// Blocks: until all have come and the action has returned. Cancellation point.
    /// Returns how many came before, from 0 to parties() - 1.
    /// Throws BrokenBarrier if the barrier is broken, or breaks or is reset
    /// meanwhile, or if `deadline` passes before all have come, which breaks it.
    /// Throws Cancelled, also if that was before the wait; it breaks the barrier.
    /// Throws what the action threw, to the one who ran it; it breaks the barrier.
    /// Once all have come, deadlines and cancellations do not count any more. Who
    /// comes while the action runs is of the next round, and breaks that, as soon as
    /// the action has returned, if its own deadline or cancellation comes before.
    std::ptrdiff_t wait(Deadline deadline = Deadline::never());

    /// Breaks it: those who wait, and all who come, get BrokenBarrier. If the
    /// action is running, those who wait for it get that when it returns. Never
    /// blocks.
    void abort() noexcept;

    /// Makes it as new. Those who wait get BrokenBarrier, as after abort(). Never
    /// blocks.
    void reset() noexcept;

    /// Whether it is broken. Momentary.
    bool broken() const noexcept;
    /// How many wait. Momentary.
    std::ptrdiff_t waiting() const noexcept;
    /// How many must wait for all to pass.
    std::ptrdiff_t parties() const noexcept { return parties_; }

private:
    static std::ptrdiff_t checked(std::ptrdiff_t parties);

    class Visit;

    // --- fixed after construction ---
    const std::ptrdiff_t parties_;
    detail::Action action_;  // run by one party at a time

    // --- guarded by waiters_.lock() ---
    mutable detail::WaitQueue waiters_;
    std::ptrdiff_t arrived_ = 0;  // of this round
    std::uint64_t round_ = 0;     // changes when one ends, however it does
    bool acting_ = false;         // all have come, and the action runs
    bool broken_ = false;
    bool next_broken_ = false;  // will be when the action has returned
};

}  // namespace weft
