// Party: whoever can wait. A fiber, or a plain OS thread standing in for one.
// Layer: sched. Uses: base.
//
// Parties are never destroyed while a ticket to them may be in use: control
// blocks of fibers lie in memory that is never given back (fiber_table.hpp), so
// a stale claim finds a later epoch and fails; a thread's party is used again by
// a later thread.
#pragma once

#include "base/sync.hpp"
#include "sched/wait_word.hpp"

#include <atomic>
#include <cstdint>

namespace weft {
class Timeout;
}

namespace weft::detail {

class Party;

/// What a wait is for: shown in dumps. `reason` is a literal, unique to its call.
struct Purpose {
    const char* reason = nullptr;
    const void* object = nullptr;
    /// Tells who alone can end the wait, such as the holder of a lock, or null
    /// for the moment; null where anybody can, or the wait ends by itself.
    Party* (*owner)(const void* object) noexcept = nullptr;
    /// Whether the waiter takes Wake::deadlocked for an answer.
    bool breakable = false;
};

class Party {
public:
    enum class Kind : std::uint8_t { fiber, thread };

    explicit Party(Kind kind) noexcept : kind_{kind} {}
    Party(const Party&) = delete;
    Party& operator=(const Party&) = delete;

    Kind kind() const noexcept { return kind_; }
    WaitWord<StdSync>& word() noexcept { return word_; }
    const WaitWord<StdSync>& word() const noexcept { return word_; }

    // Interrupts; see park/interrupt.hpp. After the setters, any thread, the caller
    // claims the wait of word().cancellable_epoch(), if there is one. Both pair with
    // WaitWord::commit(), after which the bits are looked at.

    /// Stays until the fiber ends.
    void set_cancelled() noexcept { interrupt_.fetch_or(cancelled, std::memory_order_seq_cst); }
    /// The same by a standstill, whoever gets it then.
    void set_cancelled_at_standstill() noexcept {
        interrupt_.fetch_or(cancelled | at_standstill, std::memory_order_seq_cst);
    }
    /// Stays until clear_thrown_in(); both under the lock of its FiberExtras.
    void set_thrown_in() noexcept { interrupt_.fetch_or(thrown_in, std::memory_order_seq_cst); }
    void clear_thrown_in() noexcept {
        interrupt_.fetch_and(static_cast<std::uint16_t>(~thrown_in), std::memory_order_relaxed);
    }
    bool interrupt_pending() const noexcept {
        return interrupt_.load(std::memory_order_seq_cst) != 0;
    }
    bool cancel_pending() const noexcept { return is_set(cancelled); }
    bool cancelled_at_standstill() const noexcept { return is_set(at_standstill); }
    bool thrown_in_pending() const noexcept { return is_set(thrown_in); }
    /// Any thread; momentary. How often Cancelled was thrown although it had been before.
    unsigned cancellations_swallowed() const noexcept {
        const unsigned thrown = interrupt_.load(std::memory_order_relaxed) / one_throw;
        return thrown == 0 ? 0 : thrown - 1;
    }
    void clear_interrupts() noexcept { interrupt_.store(0, std::memory_order_relaxed); }

    // Own party.
    /// Is about to throw Cancelled. Counted as far as there is room.
    void count_cancelled() noexcept {
        if (interrupt_.load(std::memory_order_relaxed) / one_throw == most_throws) return;
        interrupt_.fetch_add(one_throw, std::memory_order_relaxed);
    }
    bool may_be_interrupted() const noexcept {
        return interrupt_.load(std::memory_order_relaxed) != 0 || timeouts_ != nullptr;
    }
    void open_shield() noexcept { ++shields_; }
    void close_shield() noexcept { --shields_; }
    unsigned shields() const noexcept { return shields_; }
    void set_shields(unsigned count) noexcept { shields_ = static_cast<std::uint16_t>(count); }
    /// The innermost open Timeout, or null.
    Timeout* timeouts() const noexcept { return timeouts_; }
    void set_timeouts(Timeout* innermost) noexcept { timeouts_ = innermost; }

    /// Own party, before it arms a wait: whether Purpose::owner is known.
    void set_awaits_owner(bool awaits) noexcept {
        awaits_owner_.store(awaits, std::memory_order_relaxed);
    }
    /// Any thread; momentary. Whether it is in a wait, not decided yet, that
    /// another party alone can end.
    bool awaits_owner() const noexcept {
        return word_.is_armed() && awaits_owner_.load(std::memory_order_relaxed);
    }

    /// Own party. Its look for a cycle is to come; see park/deadlock.hpp.
    void set_checking(bool checking) noexcept {
        checking_.store(checking, std::memory_order_seq_cst);
    }
    bool checking() const noexcept { return checking_.load(std::memory_order_seq_cst); }

private:
    static constexpr std::uint16_t cancelled = 1;
    static constexpr std::uint16_t thrown_in = 2;
    static constexpr std::uint16_t at_standstill = 4;
    // Above the bits: how often Cancelled was thrown.
    static constexpr std::uint16_t one_throw = 8;
    static constexpr unsigned most_throws = 8191;

    bool is_set(std::uint16_t bit) const noexcept {
        return (interrupt_.load(std::memory_order_seq_cst) & bit) != 0;
    }

    WaitWord<StdSync> word_;
    Timeout* timeouts_ = nullptr;  // own party only
    std::atomic<std::uint16_t> interrupt_{0};
    std::uint16_t shields_ = 0;  // own party only
    const Kind kind_;
    std::atomic<bool> awaits_owner_{false};
    std::atomic<bool> checking_{false};
};

/// One wait of one party. Worthless once its epoch is over.
struct Ticket {
    Party* party = nullptr;
    std::uint64_t epoch = 0;
};

}  // namespace weft::detail
