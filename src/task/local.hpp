// What the rest of the room does about FiberLocals. Layer: task. Uses: sched.
#pragma once

#include "sched/fiber_core.hpp"

#include <atomic>
#include <cstdint>
#include <memory>

namespace weft::detail {

/// How many InheritableFiberLocals there are.
extern std::atomic<std::uint32_t> inheritable_locals;

/// Copies what a fiber spawned by the caller inherits to `extras`, which are
/// made if there is anything. Throws what copying throws.
void inherit_locals(std::unique_ptr<FiberExtras>& extras);

/// At the fiber's end, by itself; or by its spawner, when it is abandoned.
/// Requires: it has extras.
void destroy_locals(FiberCore& fiber) noexcept;

}  // namespace weft::detail
