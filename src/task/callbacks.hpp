// Callbacks: fibers made beforehand, to be started when something is done.
// Layer: task. Uses: sched.
//
// Kept in a list by FiberCore::next, the last that came first, guarded by the lock
// of what they wait for.
#pragma once

#include "sched/fiber_core.hpp"

#include <utility>

namespace weft::detail {

/// Takes its handle.
inline void launch(FiberCore* callback) noexcept {
    start_fiber(callback);
    drop_handle(callback);
}

/// In the order they came.
inline void launch_all(FiberCore* last) noexcept {
    FiberCore* first = nullptr;
    while (last != nullptr) {
        FiberCore* const before = last->next;
        last->next = std::exchange(first, last);
        last = before;
    }
    while (first != nullptr) launch(std::exchange(first, first->next));
}

}  // namespace weft::detail
