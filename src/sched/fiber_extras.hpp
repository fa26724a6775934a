// FiberExtras: what few fibers have, and so lies outside their control blocks.
// Layer: sched. Uses: std.
//
// Made at the spawn or when first needed, by any thread; freed with the block.
#pragma once

#include <weft/detail/wait_queue.hpp>

#include <exception>
#include <memory>

namespace weft::detail {

class FiberCore;

/// An exception to be thrown out of the fiber's next cancellation point.
struct ThrownIn {
    std::exception_ptr error;
    std::unique_ptr<ThrownIn> next;
};

struct FiberExtras {
    // --- fixed from the spawn to the end ---
    std::unique_ptr<char[]> name;  // null-terminated; null: it has none

    // --- any thread ---
    SpinLock lock;
    std::unique_ptr<ThrownIn> thrown_in;  // guarded by lock; in order of arrival
};

/// Those of `fiber`, made now if there were none. Any thread that keeps the
/// fiber from being freed. Throws std::bad_alloc.
FiberExtras& extras_of(FiberCore& fiber);

}  // namespace weft::detail
