// TimerQueue: a worker's deadlines, soonest first.
// Layer: sched. Uses: base.
//
// A 4-ary heap of {time, ticket}. A wait that ends early leaves its entry
// behind: an entry whose epoch is over claims nothing when its time comes, so
// it need not be found and taken out, and no entry points into a stack. What is
// left behind is counted, and swept once it is more than half of the heap.
// (Rejected: a kernel timer per wait, 600 ns and O(n) to cancel; a heap whose
// nodes lie on the waiters' stacks, a cache miss for each level sifted.)
//
// A wait needs no memory: an entry that the heap has no room for, nor memory to
// grow, is linked through a Spare on its waiter's stack instead, in no order.
//
// Locking: every member may be called from any thread; add() and left_behind()
// come from the owner's fibers, expire() also from the watchdog.
// Lifetime of what a ticket names: see party.hpp. Only fibers have entries.
#pragma once

#include "base/clock.hpp"
#include "sched/party.hpp"

#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft::detail {

class TimerQueue {
public:
    TimerQueue();
    TimerQueue(const TimerQueue&) = delete;
    TimerQueue& operator=(const TimerQueue&) = delete;

    /// Where an entry lies for which there is no memory.
    struct Spare {
        TimePoint when;
        Ticket ticket;
        Spare* next = nullptr;
        Spare** link = nullptr;  // what points here; guarded by the queue's lock, once added
    };

    /// `spare` lives until the time came or left_behind() was called.
    void add(TimePoint when, Ticket ticket, Spare& spare) noexcept;

    /// A wait with an entry here ended before its time.
    void left_behind(Spare& spare) noexcept;

    /// Takes up to `most` tickets whose time has come, in order of time.
    std::size_t expire(TimePoint now, Ticket* out, std::size_t most) noexcept;

    /// The earliest time, which may be that of an entry left behind;
    /// TimePoint::max() when there is none. Momentary.
    TimePoint next() const noexcept {
        return TimePoint{TimePoint::duration{next_.load(std::memory_order_relaxed)}};
    }

    /// Entries whose wait is not over. For tests and counters; momentary.
    std::size_t live() noexcept;
    /// Whether a wait with a deadline is going on. Momentary.
    bool any_live() noexcept;

private:
    struct Entry {
        TimePoint when;
        Ticket ticket;
    };

    static bool is_over(const Entry& entry) noexcept;
    void sift_up(std::size_t index) noexcept;
    void sift_down(std::size_t index) noexcept;
    void pop_front() noexcept;
    void sweep() noexcept;
    void publish_next() noexcept;
    bool push(const Entry& entry) noexcept;
    void link(Spare& spare, TimePoint when, const Ticket& ticket) noexcept;
    void unlink(Spare& spare) noexcept;
    std::size_t expire_spares(TimePoint now, Ticket* out, std::size_t most) noexcept;

    SpinLock lock_;
    Spare* spares_ = nullptr;  // guarded by lock_
    /// No spare is due before. Guarded by lock_.
    TimePoint next_spare_ = TimePoint::max();
    std::atomic<bool> has_spares_{false};  // written under lock_, before the waiter parks
    std::vector<Entry> heap_;              // guarded by lock_
    std::atomic<TimePoint::rep> next_{TimePoint::max().time_since_epoch().count()};
    std::atomic<std::uint32_t> left_behind_{0};
};

}  // namespace weft::detail
