// StackTrace: where a fiber stands. Layer: sched. Uses: base, context.
//
// A parked fiber's stack is read by its owner's own means: a visitor is run on
// top of it, which collects the return addresses and comes back. Sanitizers
// would take the visitor's frames for the caller's: under them such a trace is
// empty.
#pragma once

#include "sched/fiber_core.hpp"

#include <string>

namespace weft::detail {

struct StackTrace {
    static constexpr int most_frames = 48;
    void* frames[most_frames];
    int count = 0;
};

/// Of a fiber that the caller has frozen in its wait (WaitWord::freeze).
StackTrace stack_of(FiberCore& frozen) noexcept;
/// Of the caller.
StackTrace stack_here() noexcept;
/// A line for each frame.
void append(std::string& text, const StackTrace& stack);

}  // namespace weft::detail
