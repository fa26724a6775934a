// Stop tokens of fibers, for the rest of the room. Layer: task. Uses: sched.
#pragma once

#include "sched/fiber_core.hpp"

namespace weft::detail {

/// The fiber has ended: forgets the tokens that were to cancel it. A link whose
/// callback is running in another thread is waited for.
void drop_links(StopLink* links) noexcept;

}  // namespace weft::detail
