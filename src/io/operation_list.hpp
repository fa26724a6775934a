// OperationList: operations in order of arrival. Layer: io. Uses: base.
//
// Intrusive, through Operation::next and prev; so an operation is in at most
// one. Locking: that of whoever owns the list.
//
// Unobserved: a fiber that links its operation writes to the one before it, of
// another fiber, and a worker's loop takes that out. TSan, which does not see
// the loop's locks, would not know that it was out before its stack was used
// again.
#pragma once

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "io/operation.hpp"

namespace weft::detail {

class OperationList {
public:
    OperationList() = default;
    OperationList(const OperationList&) = delete;
    OperationList& operator=(const OperationList&) = delete;

    bool empty() const noexcept { return head_ == nullptr; }
    Operation* front() const noexcept { return head_; }

    /// Whether `operation` is in this list. Requires: it is in no other.
    bool contains(const Operation& operation) const noexcept {
        return operation.prev != nullptr || head_ == &operation;
    }

    void push_back(Operation& operation) noexcept {
        const Unobserved quiet;
        operation.next = nullptr;
        operation.prev = tail_;
        (tail_ != nullptr ? tail_->next : head_) = &operation;
        tail_ = &operation;
    }

    void remove(Operation& operation) noexcept {
        const Unobserved quiet;
        WEFT_ASSERT(contains(operation));
        (operation.prev != nullptr ? operation.prev->next : head_) = operation.next;
        (operation.next != nullptr ? operation.next->prev : tail_) = operation.prev;
        operation.next = nullptr;
        operation.prev = nullptr;
    }

    Operation* pop_front() noexcept {
        Operation* first = head_;
        if (first != nullptr) remove(*first);
        return first;
    }

private:
    Operation* head_ = nullptr;
    Operation* tail_ = nullptr;
};

/// Operations on their way from a list to complete(), taken out under a lock and
/// completed after it. Leaves prev alone, so no list contains() them.
class OperationChain {
public:
    OperationChain() = default;
    OperationChain(const OperationChain&) = delete;
    OperationChain& operator=(const OperationChain&) = delete;
    ~OperationChain() { WEFT_ASSERT(head_ == nullptr); }

    void push_back(Operation& operation) noexcept {
        operation.next = nullptr;
        *end_ = &operation;
        end_ = &operation.next;
    }

    Operation* pop_front() noexcept {
        Operation* first = head_;
        if (first == nullptr) return nullptr;
        head_ = first->next;
        if (head_ == nullptr) end_ = &head_;
        return first;
    }

private:
    Operation* head_ = nullptr;
    Operation** end_ = &head_;
};

}  // namespace weft::detail
