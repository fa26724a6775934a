// Deadlock: ends waits that nobody else will end. Layer: park. Uses: base, sched.
#pragma once

#include "park/park.hpp"

#include <cstddef>
#include <string>

namespace weft::detail {

class Scheduler;

/// In a wait that Wake::deadlocked has ended: throws what was left for the caller.
[[noreturn]] void throw_deadlock();

/// A paragraph for each fiber that waits. Requires: no fiber runs meanwhile.
void append_waits(std::string& text, Scheduler& scheduler);

/// No fiber of `scheduler` can run: ends the waits of some, so that they unwind
/// and let others go on. Called again at the next standstill it ends others.
/// Returns how many waits it ended; 0 when they are all shielded.
///
/// Those first that wait for nobody in particular, the oldest of them last, for
/// the others may use what lies on its stack; then those for locks, then joins.
std::size_t end_some_waits(Scheduler& scheduler, const std::string& report);

}  // namespace weft::detail
