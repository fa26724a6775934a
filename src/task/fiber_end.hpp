// How a fiber ends, and one that never runs. Layer: task. Uses: sched.
#pragma once

#include "sched/fiber_core.hpp"

#include <exception>

namespace weft::detail {

/// On the fiber's own stack, last thing: tells its joiners, and reports an
/// exception nobody can take any more.
void end_fiber(FiberCore& fiber) noexcept;

/// Tells it of the end. False: it has ended. Throws std::bad_alloc.
bool add_follower(FiberCore* fiber, Follower& follower);
void remove_follower(FiberCore* fiber, Follower& follower) noexcept;

/// There was none to start it with: it never runs.
[[noreturn]] void throw_no_memory_for(FiberCore* unrun);

/// To the runtime's handler: what nobody takes from `fiber`, unless that was cancelled and
/// it is Cancelled.
void report_unhandled(FiberCore& fiber, const std::exception_ptr& error) noexcept;

/// Whether `error` is Cancelled.
bool is_cancellation(const std::exception_ptr& error) noexcept;

/// Whether it has ended by an exception other than Cancelled, which its handle keeps.
bool has_failed(FiberCore* fiber) noexcept;

}  // namespace weft::detail
