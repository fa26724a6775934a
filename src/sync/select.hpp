// Selection: one call of select(). Layer: sync. Uses: base, park.
//
// It asks its cases, in this order:
//   lock()     what guards what it waits for, if it waits for anything
//   begin()    with its lock held, a few in random order, until one says that it is taken
//   enlist()   where to wait: wait_at(), wait_until(), never_wait(), or nothing
//   begin()    again, of all, with all locks held, for it may have become ready
//   settle()   instead, of the case whose waiter was claimed: false if it was for
//              nothing, and the selection begins anew
//   run()      its callback, when nothing is locked or queued any more
// What is between begin() and run() is the Exchange's to finish.
#pragma once

#include "park/select.hpp"
#include "sync/channel.hpp"

#include <weft/detail/select_case.hpp>

#include <span>

namespace weft::detail {

class Selection {
public:
    explicit Selection(std::span<SelectCase* const> cases) noexcept : cases_{cases} {}
    Selection(const Selection&) = delete;
    Selection& operator=(const Selection&) = delete;

    /// Waits, and runs the case that is chosen. Returns its index.
    std::size_t run();

    // For enlist().
    void wait_at(SelectCase& which, SpinLock& lock, WaitList& list, Meeting* meeting = nullptr);
    void wait_until(SelectCase& which, Deadline deadline);
    void never_wait(SelectCase& which);

    // For begin().
    Exchange& exchange() noexcept { return exchange_; }

private:
    SelectCase* begin_or_wait();
    SelectCase* begin_one_by_one();
    SelectCase* begin_locked();
    SelectCase* finish(SelectCase& begun);
    void shuffle() noexcept;
    SelectCase& drawn(std::size_t turn) noexcept;
    SelectCase& case_of(const Branch& branch) const noexcept;

    const std::span<SelectCase* const> cases_;
    Random random_ = draw_random();
    Exchange exchange_;
    // Of one round.
    std::size_t drawn_ = 0;  // how many of the random order are
    Branches* branches_ = nullptr;
    SelectCase* otherwise_ = nullptr;
    SelectCase* late_ = nullptr;  // chosen at deadline_
    Deadline deadline_ = Deadline::never();
};

}  // namespace weft::detail
