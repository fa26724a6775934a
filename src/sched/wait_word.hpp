// WaitWord: the one word that decides why and when a party's wait ends.
// Layer: sched. Uses: base.
//
//   epoch << 6 | cancellable | resumed | off_stack | phase
//
// A wait is one epoch. Its life:
//
//   idle --arm()--> armed --claim(why)--> notified / timed_out / cancelled / deadlocked
//   --finish()--> idle
//
// and beside it two events, in either order, after which the party may run:
//
//   commit()  its worker has left its stack           (sets off_stack)
//   resume()  the claimer has done what it had to do  (sets resumed)
//
// Whichever comes second queues the party, so nobody ever waits for the other. Each finds its
// bit clear: so adding sets it, which is one instruction where setting it and asking for the
// other's is a loop.
//
// Invariants
//  1. Exactly one claim() per epoch succeeds; it alone may resume(), once.
//  2. A claim for an epoch that is over fails: epochs never repeat (58 bits).
//  3. Exactly one of commit() and resume() of an epoch returns true.
//
// Ordering: claim() acquires and releases; resume() releases what the claimer
//  wrote, commit() acquires it when it comes second. commit() is a seq_cst
//  read-modify-write: with the cancel flag read after it, it is one half of the
//  pair whose other half is request_cancel()'s store before its load of this word.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::detail {

enum class Wake : std::uint8_t { notified = 2, timed_out = 3, cancelled = 4, deadlocked = 5 };
enum class Cancellable : bool { no, yes };

/// What claim() found. `won_parked`: the party is off its stack for good, so
/// resuming it needs no further agreement.
enum class Claim : std::uint8_t { lost, won_switching, won_parked };

template <class Sync>
class WaitWord {
public:
    using Epoch = std::uint64_t;

    /// Owner only. Begins a wait and returns its epoch.
    Epoch arm(Cancellable cancellable) noexcept {
        const Epoch epoch = (word_.load(std::memory_order_relaxed) >> epoch_shift) + 1;
        const std::uint64_t flag = cancellable == Cancellable::yes ? cancellable_bit : 0;
        word_.store(epoch << epoch_shift | flag | armed, std::memory_order_release);
        return epoch;
    }

    /// Any thread. Tries to decide why the wait of `epoch` ends.
    Claim claim(Epoch epoch, Wake why) noexcept {
        std::uint64_t now = word_.load(std::memory_order_relaxed);
        while (now >> epoch_shift == epoch && (now & phase_mask) == armed) {
            const std::uint64_t then = (now & ~phase_mask) | static_cast<std::uint64_t>(why);
            if (word_.compare_exchange_strong(now, then, std::memory_order_acq_rel,
                                              std::memory_order_relaxed)) {
                return (now & off_stack_bit) != 0 ? Claim::won_parked : Claim::won_switching;
            }
        }
        return Claim::lost;
    }

    /// The winner of claim(), once. True: the caller must queue the party.
    bool resume(Claim how) noexcept {
        if (how == Claim::won_parked) return true;
        return (word_.fetch_add(resumed_bit, std::memory_order_acq_rel) & off_stack_bit) != 0;
    }

    /// The worker that left the party's stack. True: the caller must queue it.
    bool commit() noexcept {
        return (word_.fetch_add(off_stack_bit, std::memory_order_seq_cst) & resumed_bit) != 0;
    }

    /// Owner only, once it runs again. Ends the wait and tells why it ended.
    Wake finish() noexcept {
        const std::uint64_t now = word_.load(std::memory_order_acquire);
        word_.store(now >> epoch_shift << epoch_shift, std::memory_order_relaxed);
        return static_cast<Wake>(now & phase_mask);
    }

    /// Owner only, before finish(): whether it was this that ended the wait.
    bool ended_by(Wake why) const noexcept {
        return (word_.load(std::memory_order_relaxed) & phase_mask) ==
               static_cast<std::uint64_t>(why);
    }

    /// Any thread. The epoch to claim with Wake::cancelled, or 0 when the party
    /// is not in a cancellable wait.
    Epoch cancellable_epoch() const noexcept {
        const std::uint64_t now = word_.load(std::memory_order_seq_cst);
        const bool may = (now & phase_mask) == armed && (now & cancellable_bit) != 0;
        return may ? now >> epoch_shift : 0;
    }

    /// Any thread. Takes a party that is parked and unclaimed back onto the
    /// caller's hands, as if it were still switching: claims go on, but nobody
    /// runs it before the caller's commit(). False when it is not so parked.
    bool freeze() noexcept {
        std::uint64_t now = word_.load(std::memory_order_relaxed);
        while ((now & phase_mask) == armed && (now & off_stack_bit) != 0) {
            if (word_.compare_exchange_strong(now, now & ~off_stack_bit, std::memory_order_acq_rel,
                                              std::memory_order_relaxed)) {
                return true;
            }
        }
        return false;
    }

    /// The same, with patience for who is just leaving its stack or held by another.
    bool freeze_patiently() noexcept {
        for (unsigned turn = 0; turn < most_turns; ++turn) {
            if (freeze()) return true;
            if (!is_armed()) return false;
            Sync::spin(turn);
        }
        return false;
    }

    /// Any thread; momentary. Whether a wait is not decided yet.
    bool is_armed() const noexcept {
        return (word_.load(std::memory_order_acquire) & phase_mask) == armed;
    }

    /// Any thread. The epoch of the latest wait: of the one that was frozen, say.
    Epoch epoch() const noexcept { return word_.load(std::memory_order_relaxed) >> epoch_shift; }

    /// Any thread; momentary. Whether the wait of `epoch` is not decided yet.
    bool is_armed(Epoch epoch) const noexcept {
        const std::uint64_t now = word_.load(std::memory_order_relaxed);
        return now >> epoch_shift == epoch && (now & phase_mask) == armed;
    }

    /// Any thread; momentary. Whether a wait is armed or claimed but not over.
    bool waiting() const noexcept {
        return (word_.load(std::memory_order_relaxed) & phase_mask) != 0;
    }

    /// Any thread; momentary. Whether it is waiting() and has left its stack. Then what it wrote
    /// before is seen.
    bool parked() const noexcept {
        const std::uint64_t now = word_.load(std::memory_order_acquire);
        return (now & phase_mask) != 0 && (now & off_stack_bit) != 0;
    }

private:
    static constexpr std::uint64_t armed = 1;
    static constexpr std::uint64_t phase_mask = 7;
    static constexpr std::uint64_t off_stack_bit = 8;
    static constexpr std::uint64_t resumed_bit = 16;
    static constexpr std::uint64_t cancellable_bit = 32;
    static constexpr unsigned epoch_shift = 6;
    static constexpr unsigned most_turns = 200;

    typename Sync::template atomic<std::uint64_t> word_{0};
};

}  // namespace weft::detail
