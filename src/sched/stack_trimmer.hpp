// StackTrimmer: gives back what waiting fibers have touched of their stacks and do not need.
// Layer: sched. Uses: base, context.
//
// A fiber that went deep once, to connect or to shake hands, and now waits for long would keep
// those pages. So somebody (the watchdog) goes round all fibers, a few at a time. Whom it meets in
// the same wait as the round before loses all pages below the frame it stopped in, once a
// wait; frozen meanwhile (WaitWord::freeze), so that nobody resumes it. The pages are zeroes when
// they are touched again. A fiber that waits inside of a generator keeps its own. (One that by
// itself has switched to a stack inside of its own, and waits there, would lose frames that
// are below: such stacks have to be elsewhere.)
//
// A round begins `pause` after the one before began, and not before a hundred times as long
// has passed as that took: it costs at most a hundredth of a CPU.
//
// No reference is held: blocks stay as long as the table, and who is frozen cannot end.
#pragma once

#include "base/clock.hpp"
#include "sched/fiber_table.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft::detail {

/// One thread's.
class StackTrimmer {
public:
    static constexpr std::chrono::nanoseconds usual_pause = std::chrono::seconds{1};

    /// A pause of 0: one round after the other, for tests.
    explicit StackTrimmer(FiberTable& table, std::chrono::nanoseconds pause = usual_pause) noexcept
        : table_{table}, pause_{pause} {}

    /// Looks at a few fibers, unless no round is due yet. Returns whether that ended a round.
    bool step() noexcept;
    /// When the next step() will find something to do.
    TimePoint due() const noexcept { return next_ == 0 ? next_round_ : TimePoint{}; }

private:
    static constexpr std::size_t most_looks = 64;              // in a step
    static constexpr std::chrono::microseconds most_time{50};  // and then no more of them
    static constexpr int share = 100;

    bool make_room(std::size_t slots) noexcept;
    void end_round() noexcept;
    bool look_at(FiberCore& fiber, std::uint32_t& seen) noexcept;

    FiberTable& table_;
    const std::chrono::nanoseconds pause_;
    std::vector<std::uint32_t> seen_;  // of each slot: the epoch of its wait, and trimmed or not
    std::size_t next_ = 0;             // slot
    TimePoint round_begin_{};
    std::chrono::nanoseconds spent_{0};  // in this round
    TimePoint next_round_{};
};

}  // namespace weft::detail
