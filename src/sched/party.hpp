// Party: whoever can wait. A fiber, or a plain OS thread standing in for one.
// Layer: sched. Uses: base.
//
// Parties are never destroyed while a ticket to them may be in use: control
// blocks of fibers lie in memory that is never given back (fiber_table.hpp), so
// a stale claim finds a later epoch and fails; a thread's party ends with its
// thread, which has no waiters left then.
#pragma once

#include "base/sync.hpp"
#include "sched/wait_word.hpp"

#include <atomic>
#include <cstdint>

namespace weft::detail {

/// What a wait is for: shown in dumps. `reason` is a literal, unique to its call.
struct Purpose {
    const char* reason;
    const void* object = nullptr;
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

    /// Own party. Whether its next cancellation point must throw.
    bool interrupted() const noexcept {
        return interrupt_.load(std::memory_order_relaxed) != 0 && shields_ == 0;
    }

    /// Any thread; level-triggered: it stays set until the fiber ends. After
    /// it, the caller claims the wait of word().cancellable_epoch(), if any.
    void set_interrupted() noexcept {
        interrupt_.store(1, std::memory_order_seq_cst);  // pairs with WaitWord::commit()
    }
    bool interrupt_pending() const noexcept {
        return interrupt_.load(std::memory_order_seq_cst) != 0;
    }
    void clear_interrupted() noexcept { interrupt_.store(0, std::memory_order_relaxed); }

    // Own party.
    void open_shield() noexcept { ++shields_; }
    void close_shield() noexcept { --shields_; }
    unsigned shields() const noexcept { return shields_; }

private:
    WaitWord<StdSync> word_;
    std::atomic<std::uint16_t> interrupt_{0};
    std::uint16_t shields_ = 0;  // own party only
    const Kind kind_;
};

/// One wait of one party. Worthless once its epoch is over.
struct Ticket {
    Party* party = nullptr;
    std::uint64_t epoch = 0;
};

}  // namespace weft::detail
