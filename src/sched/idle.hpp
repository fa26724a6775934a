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
// finds some wakes the next (end_search). Searchers are at most half the workers.
//
// Invariants
//  1. sleeping_ is the number of slots that are `asleep`.
//  2. A slot leaves `asleep` by one compare-exchange: its worker's retract() or
//     one waker's, who alone then calls that worker's Driver::wake().
//  3. A woken worker searches: the waker counted it in searching_ for it.
#pragma once

#include <cstdint>

namespace weft::detail {

template <class Sync, std::uint32_t max_workers = 1024>
class Idle {
public:
    static constexpr std::uint32_t nobody = ~std::uint32_t{0};

    explicit Idle(std::uint32_t workers) noexcept : workers_{workers} {}

    /// Own worker. Whether it may search; then it must end_search().
    bool begin_search() noexcept {
        if (2 * searching_.load(std::memory_order_relaxed) >= workers_) return false;
        searching_.fetch_add(1, std::memory_order_seq_cst);
        return true;
    }

    /// Own worker. Returns whom to wake, so that somebody goes on searching: the
    /// last searcher that found work must not be the last to look.
    std::uint32_t end_search(bool found) noexcept {
        return leave_search() && found ? claim_sleeper() : nobody;
    }

    /// Own worker: end_search() in two steps. True for the last searcher, which
    /// looks for more work only now, and wakes somebody if it sees any.
    bool leave_search() noexcept {
        return searching_.fetch_sub(1, std::memory_order_seq_cst) == 1;
    }

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

    /// Any thread. Wakes `who` if it sleeps: true if the caller must wake() it.
    bool claim(std::uint32_t who) noexcept {
        if (slots_[who].load(std::memory_order_seq_cst) != asleep) return false;
        // Counted before the slot changes, so that the woken worker's
        // end_search() never comes first.
        searching_.fetch_add(1, std::memory_order_seq_cst);
        std::uint32_t expected = asleep;
        if (slots_[who].compare_exchange_strong(expected, notified, std::memory_order_seq_cst,
                                                std::memory_order_seq_cst)) {
            sleeping_.fetch_sub(1, std::memory_order_seq_cst);
            return true;
        }
        searching_.fetch_sub(1, std::memory_order_seq_cst);
        return false;
    }

    /// Any thread. Takes some sleeper out of its sleep.
    std::uint32_t claim_sleeper() noexcept {
        if (sleeping_.load(std::memory_order_seq_cst) == 0) return nobody;
        for (std::uint32_t i = 0; i < workers_; ++i) {
            if (claim(i)) return i;
        }
        return nobody;
    }

    /// Any thread; momentary.
    std::uint32_t sleeping() const noexcept { return sleeping_.load(std::memory_order_relaxed); }
    bool is_asleep(std::uint32_t who) const noexcept {
        return slots_[who].load(std::memory_order_relaxed) == asleep;
    }

private:
    static constexpr std::uint32_t awake = 0;
    static constexpr std::uint32_t asleep = 1;
    static constexpr std::uint32_t notified = 2;

    const std::uint32_t workers_;
    typename Sync::template atomic<std::uint32_t> searching_{0};
    typename Sync::template atomic<std::uint32_t> sleeping_{0};
    typename Sync::template atomic<std::uint32_t> slots_[max_workers] = {};
};

}  // namespace weft::detail
