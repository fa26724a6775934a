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

/// An exception to be thrown out of the fiber's next cancellation point.
struct ThrownIn {
    std::exception_ptr error;
    std::unique_ptr<ThrownIn> next;
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
    std::unique_ptr<ThrownIn> thrown_in;           // guarded by lock; in order of arrival
    std::atomic<std::stop_source*> stop{nullptr};  // null: nobody asked for a token
    StopLink* links = nullptr;                     // guarded by joiners.lock(); null once done
};

}  // namespace weft::detail
