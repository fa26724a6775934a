// InjectQueue: runnable fibers that belong to no worker yet, in order of arrival.
// Layer: sched. Uses: base.
//
// From plain threads, from full run queues, from the watchdog. A spin lock over
// an intrusive list: it is touched once per batch, so the lock is not what costs.
//
// Invariant: size_ is the list's length whenever lock_ is free; without the lock
// it is a hint that errs only for a moment, and never after a fence on both sides.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::detail {

template <class Sync, class T, T* T::*next>
class InjectQueue {
public:
    /// Any thread.
    void push(T* item) noexcept { push_chain(item, item, 1); }

    /// Any thread. `first` to `last` are linked through `next`.
    void push_chain(T* first, T* last, std::size_t count) noexcept {
        last->*next = nullptr;
        lock();
        if (tail_ == nullptr) {
            head_ = first;
        } else {
            tail_->*next = first;
        }
        tail_ = last;
        size_.store(size_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
        unlock();
    }

    /// Any thread. The same, behind those pushed so before and ahead of all others: for what
    /// is late already.
    void push_urgent(T* first, T* last, std::size_t count) noexcept {
        lock();
        T*& before = urgent_ == nullptr ? head_ : urgent_->*next;
        last->*next = before;
        before = first;
        if (last->*next == nullptr) tail_ = last;
        urgent_ = last;
        size_.store(size_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
        unlock();
    }

    /// Any thread. Takes up to `most` from the head as a chain that ends in
    /// null; null when empty.
    T* pop(std::size_t most) noexcept {
        if (empty()) return nullptr;
        lock();
        T* first = head_;
        if (first == nullptr) {
            unlock();
            return nullptr;
        }
        T* last = first;
        std::size_t count = 1;
        if (last == urgent_) urgent_ = nullptr;
        while (count < most && last->*next != nullptr) {
            last = last->*next;
            if (last == urgent_) urgent_ = nullptr;
            ++count;
        }
        head_ = last->*next;
        if (head_ == nullptr) tail_ = nullptr;
        last->*next = nullptr;
        size_.store(size_.load(std::memory_order_relaxed) - count, std::memory_order_relaxed);
        unlock();
        return first;
    }

    /// Any thread; a hint.
    bool empty() const noexcept { return size_.load(std::memory_order_relaxed) == 0; }
    std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

private:
    void lock() noexcept {
        for (unsigned turn = 0; held_.exchange(true, std::memory_order_acquire); ++turn) {
            Sync::spin(turn);
        }
    }
    void unlock() noexcept { held_.store(false, std::memory_order_release); }

    typename Sync::template atomic<bool> held_{false};
    typename Sync::template atomic<std::size_t> size_{0};  // written under the lock
    T* head_ = nullptr;                                    // guarded by held_
    T* tail_ = nullptr;                                    // guarded by held_
    T* urgent_ = nullptr;  // the last of the urgent ones, if any; guarded by held_
};

}  // namespace weft::detail
