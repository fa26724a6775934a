// RunQueue: a worker's own runnable fibers, in order of arrival, and open to thieves.
// Layer: sched. Uses: base.
//
// A ring of `capacity` slots. The owner pushes at the tail and takes at the
// head; thieves take half at the head. (Go's runq; the batch steal is Go's.)
//
// Invariants
//  1. Only the owner writes tail_. Whoever moves head_ owns what it passed over,
//     because it moved it by a compare-exchange and read the slots before.
//  2. tail_ - head_ <= capacity, as unsigned numbers that wrap around.
//  3. The owner overwrites slot i only after head_ passed it; a thief that read
//     it too late fails its compare-exchange and forgets what it read.
//
// Ordering: tail_ is released by push() and acquired by thieves (the slots and
//  the fibers). head_ is released by takers and acquired by push(): a slot is
//  not overwritten before its reader is done.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::detail {

/// `exclusive`: there are no thieves, so nothing needs to be atomic.
enum class Thieves : bool { none, possible };

template <class Sync, class T, std::uint32_t capacity>
class RunQueue {
    static_assert((capacity & (capacity - 1)) == 0);

public:
    /// Owner only. False when full.
    bool push(T* item) noexcept {
        const std::uint32_t head = head_.load(std::memory_order_acquire);
        const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
        if (tail - head == capacity) return false;
        slot(tail).store(item, std::memory_order_relaxed);
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }

    /// Owner only. The oldest, or null.
    T* pop(Thieves thieves) noexcept {
        std::uint32_t head = head_.load(std::memory_order_acquire);
        for (;;) {
            if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
            T* item = slot(head).load(std::memory_order_relaxed);
            if (thieves == Thieves::none) {
                head_.store(head + 1, std::memory_order_release);
                return item;
            }
            if (head_.compare_exchange_strong(head, head + 1, std::memory_order_acq_rel,
                                              std::memory_order_acquire)) {
                return item;
            }
        }
    }

    /// Any thread. Moves the older half of this queue into `into`, which is the
    /// caller's own and empty, and returns one of them to run; null when there
    /// was nothing. `taken` says how many in all.
    T* steal_into(RunQueue& into, std::uint32_t& taken) noexcept {
        const std::uint32_t to = into.tail_.load(std::memory_order_relaxed);
        std::uint32_t count = grab(into, to);
        taken = count;
        if (count == 0) return nullptr;
        --count;
        T* last = into.slot(to + count).load(std::memory_order_relaxed);
        if (count > 0) into.tail_.store(to + count, std::memory_order_release);
        return last;
    }

    /// Owner only, when full: takes the older half out through `out(item)`.
    template <class Out>
    void shed_half(Out&& out) noexcept {
        std::uint32_t head = head_.load(std::memory_order_acquire);
        for (;;) {
            const std::uint32_t size = tail_.load(std::memory_order_relaxed) - head;
            const std::uint32_t count = size / 2;
            if (!head_.compare_exchange_strong(head, head + count, std::memory_order_acq_rel,
                                               std::memory_order_acquire)) {
                continue;
            }
            // Ours, and nobody but us would overwrite them.
            for (std::uint32_t i = 0; i < count; ++i) {
                out(slot(head + i).load(std::memory_order_relaxed));
            }
            return;
        }
    }

    /// Owner only. What pop() would return after `skip` others, or null. A hint:
    /// a thief may be faster.
    T* peek(std::uint32_t skip) noexcept {
        const std::uint32_t index = head_.load(std::memory_order_relaxed) + skip;
        const std::uint32_t left = tail_.load(std::memory_order_relaxed) - index;
        if (left == 0 || left > capacity) return nullptr;
        return slot(index).load(std::memory_order_relaxed);
    }

    /// Any thread; momentary.
    bool empty() const noexcept {
        return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_acquire);
    }
    std::uint32_t size() const noexcept {
        const std::uint32_t head = head_.load(std::memory_order_acquire);
        return tail_.load(std::memory_order_acquire) - head;
    }

private:
    using Slot = typename Sync::template atomic<T*>;

    Slot& slot(std::uint32_t index) noexcept { return slots_[index & (capacity - 1)]; }

    // Copies the older half to `into` from `to` on, unpublished. Returns how many.
    std::uint32_t grab(RunQueue& into, std::uint32_t to) noexcept {
        std::uint32_t head = head_.load(std::memory_order_acquire);
        for (;;) {
            const std::uint32_t size = tail_.load(std::memory_order_acquire) - head;
            const std::uint32_t count = size - size / 2;
            if (count == 0) return 0;
            if (count > capacity / 2) {  // head and tail are of different moments
                head = head_.load(std::memory_order_acquire);
                continue;
            }
            for (std::uint32_t i = 0; i < count; ++i) {
                into.slot(to + i).store(slot(head + i).load(std::memory_order_relaxed),
                                        std::memory_order_relaxed);
            }
            if (head_.compare_exchange_strong(head, head + count, std::memory_order_acq_rel,
                                              std::memory_order_acquire)) {
                return count;
            }
        }
    }

    alignas(64) typename Sync::template atomic<std::uint32_t> head_{0};  // any thread
    alignas(64) typename Sync::template atomic<std::uint32_t> tail_{0};  // written by the owner
    Slot slots_[capacity] = {};
};

}  // namespace weft::detail
