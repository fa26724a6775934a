// WakeList: waiters claimed under a lock, to be resumed after it.
// Layer: park. Uses: base, sched.
//
// Links through the waiters themselves, which stay put until they are resumed:
// no allocation and no limit.
#pragma once

#include "base/assert.hpp"
#include "park/park.hpp"

namespace weft::detail {

class WakeList {
public:
    WakeList() noexcept = default;
    WakeList(const WakeList&) = delete;
    WakeList& operator=(const WakeList&) = delete;
    ~WakeList() { WEFT_ASSERT(head_ == nullptr); }

    /// Takes over the duty to resume.
    void add(Claimed&& claimed) noexcept {
        Waiter* const waiter = &*claimed;
        waiter->how = std::move(claimed).surrender();
        waiter->next = nullptr;
        (tail_ == nullptr ? head_ : tail_->next) = waiter;
        tail_ = waiter;
    }

    bool empty() const noexcept { return head_ == nullptr; }

    /// They run in the order they were added. Requires: no lock is held.
    void resume_all() noexcept {
        const Turn turn = head_ == tail_ ? Turn::next : Turn::in_order;
        while (head_ != nullptr) {
            Waiter* const waiter = head_;
            head_ = waiter->next;  // before the resume: the waiter is gone after it
            Claimed{*waiter, waiter->how}.resume(turn);
        }
        tail_ = nullptr;
    }

private:
    Waiter* head_ = nullptr;
    Waiter* tail_ = nullptr;
};

}  // namespace weft::detail
