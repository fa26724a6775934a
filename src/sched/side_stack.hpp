// SideStack: another stack that a party runs on for a while, as itself.
// Layer: sched. Uses: base, context.
//
// A generator's body runs on one. To the scheduler it is still the party that
// resumed it: if that parks there, its context is one on this stack. Only who
// needs to know the bounds of the running stack, and the sanitizers, look here.
//
// Owner: the party that runs on it; while nobody does, whoever has it.
#pragma once

#include "context/stack.hpp"

#include <weft/detail/jump.hpp>

namespace weft::detail {

struct SideStack {
    Stack stack;
    SideStack* below = nullptr;         // what its party ran on before; null: the party's own stack
    const JumpPoint* caller = nullptr;  // where that stopped; fixed after construction
#if defined(WEFT_TSAN)
    void* tsan_fiber = nullptr;
#endif
};

}  // namespace weft::detail
