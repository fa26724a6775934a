// Layer: sched. Uses: std.
#include "sched/fiber_extras.hpp"

#include "sched/fiber_core.hpp"

namespace weft::detail {

FiberExtras& extras_of(FiberCore& fiber) {
    FiberExtras* there = fiber.extras.load(std::memory_order_acquire);
    if (there != nullptr) return *there;
    auto made = std::make_unique<FiberExtras>();
    // Two may make some at once: the first stay.
    if (fiber.extras.compare_exchange_strong(there, made.get(), std::memory_order_acq_rel)) {
        return *made.release();
    }
    return *there;
}

}  // namespace weft::detail
