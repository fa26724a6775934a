// Layer: task. Uses: sched.
#pragma once

#include "sched/scheduler.hpp"

#include <weft/fiber_ref.hpp>

namespace weft::detail {

/// Those that have not ended. Any thread. Throws std::bad_alloc.
FiberList list_fibers(Scheduler& scheduler);

}  // namespace weft::detail
