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

/// Those who wait, in order of arrival, guarded by a lock beside it. See
/// src/park/park.hpp.
class WEFT_API WaitList {
public:
    WaitList() noexcept = default;
    WaitList(const WaitList&) = delete;
    WaitList& operator=(const WaitList&) = delete;
    ~WaitList();  // asserts that nobody waits

    // All of these require the lock to be held.
    bool empty() const noexcept { return head_ == nullptr; }
    void push(Waiter&) noexcept;                    // at the end, or where it says
    void remove(Waiter&) noexcept;                  // no-op when not linked
    std::optional<Claimed> claim_front() noexcept;  // skips those already claimed
    Waiter* front() const noexcept { return head_; }
    std::optional<Claimed> claim(Waiter&) noexcept;  // unlinks it; empty if already claimed

private:
    void push_back(Waiter&) noexcept;
    void push_front(Waiter&) noexcept;

    Waiter* head_ = nullptr;
    Waiter* tail_ = nullptr;
};

/// The same with a lock of its own: those who wait for one object.
class WaitQueue : public WaitList {
public:
    SpinLock& lock() noexcept { return lock_; }

private:
    SpinLock lock_;
};

}  // namespace weft::detail
