// Who calls: the first thing that every wait asks. Layer: park. Uses: sched.
#pragma once

#include <weft/detail/export.hpp>

#include "sched/worker.hpp"

#include <exception>

namespace weft::detail {

/// The calling thread's own, until it ends.
WEFT_API Party& party_of_this_thread() noexcept;

/// The calling fiber's, or the calling thread's own.
inline Party& this_party() noexcept {
    Worker* const worker = Worker::current();
    FiberCore* const fiber = worker == nullptr ? nullptr : worker->fiber();
    if (fiber == nullptr) [[unlikely]]
        return party_of_this_thread();
    return *fiber;
}

/// Whether an exception is on its way through the caller.
inline bool unwinding() noexcept {
    Worker* const worker = Worker::current();
    if (worker != nullptr && worker->fiber() != nullptr) [[likely]]
        return worker->unwinding();
    return std::uncaught_exceptions() > 0;
}

}  // namespace weft::detail
