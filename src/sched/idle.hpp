// Idle: who sleeps, who searches, and whom new work wakes.
// Layer: sched. Uses: base.
//
// The problem: somebody makes a fiber runnable in a queue while a worker, having
// looked there just before, goes to sleep. Rejected: a lock around queue and
// sleep (every push would pay it); a wake-up per push (a system call each);
// waking at sleep's end by a timer (polling). The way taken is Dekker's, with
// the costs on the sleeper's side:
//
//   who makes work:  1. push it                     who goes to sleep:  1. announce()
//                    2. light fence                                     2. heavy fence
//                    3. notify(): anybody asleep,                       3. look into every queue
//                       nobody searching? wake one                      4. sleep, or retract()
//
// One of the two sees the other. A searcher counts as awake and will find the
// work: so notify() wakes nobody while one searches, and the last searcher that
// finds some looks whether there is more (leave_search). Searchers are at most
// half the workers.
//
// Invariants
//  1. sleeping_ is the number of slots that are `asleep`.
//  2. A slot leaves `asleep` by one compare-exchange: its worker's retract() or
//     one waker's, who alone then calls that worker's Driver::wake().
//  3. A woken worker searches: the waker counted it in searching_ for it.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::detail {

template <class Sync, std::uint32_t max_workers = 1024>
class Idle {
public:
    static constexpr std::uint32_t nobody = ~std::uint32_t{0};

    explicit Idle(std::uint32_t workers) noexcept : workers_{workers} {}

    /// Own worker. Whether it may search; then it must leave_search().
    bool begin_search() noexcept {
        if (2 * searching_.load(std::memory_order_relaxed) >= workers_) return false;
        searching_.fetch_add(1, std::memory_order_seq_cst);
        return true;
    }

    /// Own worker: its search is over. True for the last searcher: one that found
    /// work then fences heavily, looks for more, and wakes a sleeper if it sees
    /// any, for whoever pushed meanwhile relied on it.
    bool leave_search() noexcept { return searching_.fetch_sub(1, std::memory_order_seq_cst) == 1; }

    /// Own worker, before it looks into every queue a last time.
    void announce(std::uint32_t me) noexcept {
        slots_[me].store(asleep, std::memory_order_relaxed);
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        // Alone, the only pushers from elsewhere are outsiders, who fence fully.
        if (workers_ > 1) Sync::heavy_fence();
    }

    /// Own worker, when it does not sleep or no longer. True: a waker was
    /// faster, and the worker now counts as searching.
    bool retract(std::uint32_t me) noexcept {
        std::uint32_t expected = asleep;
        if (slots_[me].compare_exchange_strong(expected, awake, std::memory_order_seq_cst,
                                               std::memory_order_seq_cst)) {
            sleeping_.fetch_sub(1, std::memory_order_seq_cst);
            return false;
        }
        slots_[me].store(awake, std::memory_order_relaxed);
        return true;
    }

    /// Any thread, after it made work. Returns whose Driver to wake(), if anybody's.
    std::uint32_t notify() noexcept {
        Sync::light_fence();
        if (sleeping_.load(std::memory_order_relaxed) == 0) return nobody;
        if (searching_.load(std::memory_order_relaxed) != 0) return nobody;
        return claim_sleeper();
    }

    /// Any thread. Takes `who` out of its sleep. Returns whom to wake: `who`,
    /// nobody, or somebody else whom a notify() missed meanwhile (see Attempt).
    std::uint32_t claim(std::uint32_t who) noexcept {
        switch (try_claim(who)) {
            case Attempt::won: return who;
            case Attempt::lost: return nobody;
            case Attempt::lost_as_last: return claim_sleeper();
        }
        return nobody;
    }

    /// Any thread. Takes some sleeper out of its sleep.
    std::uint32_t claim_sleeper() noexcept {
        bool look_again = true;
        while (look_again && sleeping_.load(std::memory_order_seq_cst) != 0) {
            look_again = false;
            for (std::uint32_t i = 0; i < workers_; ++i) {
                const Attempt attempt = try_claim(i);
                if (attempt == Attempt::won) return i;
                look_again = look_again || attempt == Attempt::lost_as_last;
            }
        }
        return nobody;
    }

    /// Any thread; momentary.
    std::uint32_t sleeping() const noexcept { return sleeping_.load(std::memory_order_seq_cst); }
    bool is_asleep(std::uint32_t who) const noexcept {
        return slots_[who].load(std::memory_order_relaxed) == asleep;
    }

private:
    // A claim that loses has been counted as a search for a moment, and a
    // notify() that saw only that search has woken nobody. `lost_as_last`: the
    // count fell to 0 with it, so the loser looks for a sleeper in its place.
    enum class Attempt : std::uint8_t { won, lost, lost_as_last };

    Attempt try_claim(std::uint32_t who) noexcept {
        if (slots_[who].load(std::memory_order_seq_cst) != asleep) return Attempt::lost;
        // Counted before the slot changes, so that the woken worker's
        // leave_search() never comes first.
        searching_.fetch_add(1, std::memory_order_seq_cst);
        std::uint32_t expected = asleep;
        if (slots_[who].compare_exchange_strong(expected, notified, std::memory_order_seq_cst,
                                                std::memory_order_seq_cst)) {
            sleeping_.fetch_sub(1, std::memory_order_seq_cst);
            return Attempt::won;
        }
        return leave_search() ? Attempt::lost_as_last : Attempt::lost;
    }

    static constexpr std::uint32_t awake = 0;
    static constexpr std::uint32_t asleep = 1;
    static constexpr std::uint32_t notified = 2;

    const std::uint32_t workers_;
    typename Sync::template atomic<std::uint32_t> searching_{0};
    typename Sync::template atomic<std::uint32_t> sleeping_{0};
    typename Sync::template atomic<std::uint32_t> slots_[max_workers] = {};
};

}  // namespace weft::detail
