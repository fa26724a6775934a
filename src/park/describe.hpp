// Describe: fibers and waits in words, for dumps and reports.
// Layer: park. Uses: base, sched.
#pragma once

#include "sched/fiber_core.hpp"
#include "sched/stack_trace.hpp"

#include <string>

namespace weft::detail {

/// A wait as it was while its party was frozen: what it is for, who has that, where.
struct FrozenWait {
    explicit FrozenWait(Party& frozen) noexcept;

    const Purpose purpose;
    const Party* const owner;  // null: none, or nobody knows
    const bool cancelled;      // though not to be ended by that
    const StackTrace stack;    // empty of a plain thread
};

/// `fiber 7 "name" daemon, swallowed its cancellation 3 times`. Requires: a fiber is held by a
/// reference, or cannot end.
void append(std::string& text, const Party& party);
/// Lines.
void append(std::string& text, const FrozenWait& wait);
/// `waits: Lock::lock 0x1234  held by fiber 8`. `owner` may be running, and ending.
void append(std::string& text, const Purpose& purpose, const Party* owner);

}  // namespace weft::detail
