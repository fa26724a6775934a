// Stop tokens of fibers, for the rest of the room. Layer: task. Uses: sched.
#pragma once

#include "sched/fiber_core.hpp"

namespace weft::detail {

/// The fiber was interrupted: stops its token, if anybody has one.
void stop_tokens(FiberCore& fiber) noexcept;

/// The fiber has ended: forgets the tokens that were to cancel it. A link whose
/// callback is running in another thread is waited for.
void drop_links(StopLink* links) noexcept;

}  // namespace weft::detail
