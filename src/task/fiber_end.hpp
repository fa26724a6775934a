// What happens when a fiber's routine is over. Layer: task. Uses: sched.
#pragma once

#include "sched/fiber_core.hpp"

namespace weft::detail {

/// On the fiber's own stack, last thing: tells its joiners, and reports an
/// exception nobody can take any more.
void end_fiber(FiberCore& fiber) noexcept;

}  // namespace weft::detail
