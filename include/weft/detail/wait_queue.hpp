#pragma once

#include <weft/detail/export.hpp>

#include <atomic>
#include <optional>

namespace weft::detail {

struct Waiter;
class Claimed;

/// Protects a WaitQueue and the few words beside it. Held for tens of
/// instructions, never across a suspension.
class WEFT_API SpinLock {
public:
    void lock() noexcept {
        if (held_.exchange(true, std::memory_order_acquire)) lock_contended();
    }
    bool try_lock() noexcept {
        return !held_.load(std::memory_order_relaxed) &&
               !held_.exchange(true, std::memory_order_acquire);
    }
    void unlock() noexcept { held_.store(false, std::memory_order_release); }

private:
    void lock_contended() noexcept;
    std::atomic<bool> held_{false};
};

/// Those who wait for one object, in order of arrival. See src/park/park.hpp.
class WEFT_API WaitQueue {
public:
    WaitQueue() noexcept = default;
    WaitQueue(const WaitQueue&) = delete;
    WaitQueue& operator=(const WaitQueue&) = delete;
    ~WaitQueue();  // asserts that nobody waits

    SpinLock& lock() noexcept { return lock_; }

    // All of these require lock() to be held.
    bool empty() const noexcept { return head_ == nullptr; }
    void push_back(Waiter&) noexcept;
    void push_front(Waiter&) noexcept;
    void remove(Waiter&) noexcept;                  // no-op when not linked
    std::optional<Claimed> claim_front() noexcept;  // skips those already claimed
    Waiter* front() const noexcept { return head_; }
    std::optional<Claimed> claim(Waiter&) noexcept;  // unlinks it; empty if already claimed

private:
    SpinLock lock_;
    Waiter* head_ = nullptr;
    Waiter* tail_ = nullptr;
};

}  // namespace weft::detail
