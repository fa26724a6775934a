// FiberExtras: what few fibers have, and so lies outside their control blocks.
// Layer: sched. Uses: base.
//
// Made at the spawn or when first needed, by any thread that holds a reference
// (FiberCore::need_extras()); freed with the block.
#pragma once

#include "sched/local_map.hpp"
#include "sched/timer_queue.hpp"

#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <stop_token>

namespace weft::detail {

class FiberCore;
struct Follower;

/// Exceptions to be thrown out of the fiber's next cancellation points, in order of
/// arrival. There may be any number of them.
class ThrownIn {
public:
    struct Node {
        std::exception_ptr error;
        Node* next = nullptr;
    };

    ThrownIn() noexcept = default;
    ThrownIn(const ThrownIn&) = delete;
    ThrownIn& operator=(const ThrownIn&) = delete;
    ~ThrownIn() {
        while (first_ != nullptr) take();
    }

    bool empty() const noexcept { return first_ == nullptr; }
    void add(std::unique_ptr<Node> node) noexcept {
        *end_ = node.release();
        end_ = &(*end_)->next;
    }
    /// The first. Requires: there is one.
    std::unique_ptr<Node> take() noexcept {
        std::unique_ptr<Node> first{first_};
        first_ = first->next;
        if (first_ == nullptr) end_ = &first_;
        return first;
    }
    /// The one that is `error`; null when there is none.
    std::unique_ptr<Node> remove(const std::exception_ptr& error) noexcept {
        Node** at = &first_;
        while (*at != nullptr && (*at)->error != error) at = &(*at)->next;
        std::unique_ptr<Node> found{*at};
        if (found == nullptr) return found;
        *at = found->next;
        if (*at == nullptr) end_ = at;
        return found;
    }

private:
    Node* first_ = nullptr;
    Node** end_ = &first_;
};

/// What cancels the fiber when a token of somebody else's is stopped.
struct StopLink {
    StopLink() noexcept = default;
    StopLink(const StopLink&) = delete;
    StopLink& operator=(const StopLink&) = delete;
    virtual ~StopLink() = default;
    StopLink* next = nullptr;
};

struct FiberExtras {
    FiberExtras() noexcept = default;
    FiberExtras(const FiberExtras&) = delete;
    FiberExtras& operator=(const FiberExtras&) = delete;
    ~FiberExtras() { delete stop.load(std::memory_order_relaxed); }

    // --- fixed from the spawn to the end ---
    std::unique_ptr<char[]> name;  // null-terminated; null: it has none

    // --- owner only ---
    LocalMap locals;

    // --- the spawner, then the fiber's first step ---
    TimerQueue* delayed_by = nullptr;  // where its start is an entry, if it is
    TimerQueue::Spare delay;

    // --- any thread ---
    SpinLock lock;
    ThrownIn thrown_in;                            // guarded by lock
    std::atomic<std::stop_source*> stop{nullptr};  // null: nobody asked for a token
    // Guarded by joiners.lock(), null once done.
    StopLink* links = nullptr;
    Follower* followers = nullptr;   // told of the end
    FiberCore* callbacks = nullptr;  // started at the end
};

}  // namespace weft::detail
