// Deadlock: finds waits that nobody will end, and ends them.
// Layer: park. Uses: base, sched.
//
// Cycles. A party that begins a wait without a time limit for something with an
// owner (a lock's holder, a joined fiber) looks, after it has armed its wait and
// before it leaves its stack, whether the owner waits so, too, and for whom. If
// the way comes back to the party, it is a cycle, and the party's own wait is
// ended with Wake::deadlocked. An owner was running when it became one, so the
// last step that closes a cycle is always the arming of a wait.
//
// Of several that close a cycle at once, one sees all of it: each arms its wait,
// fences, and then looks at the owner's, so the last of them sees the others'.
// The look at one owner needs no lock, and is all there is in the common case.
// Who sees its owner wait so sets `checking` and takes the detector's lock.
//
// The walk, under that lock, from party to owner:
//   1. freezes the owner in its wait. One that is armed but not yet off its
//      stack will be so in a moment, unless it is `checking`: then it waits for
//      this lock, walks after us, and finds us armed; so we leave it to it.
//   2. asks the object for its owner once more. A party that is armed and frozen
//      gives nothing away: from here on the edge is sure. (Asked only before, it
//      might have released the lock, and begun its wait after that.)
//   3. with the cycle closed: looks whether all are still armed. Frozen, none
//      has run since; so at that moment there was a cycle. No false alarm.
// One report each: the next walk along this cycle meets the claimed party and
// stops there, for its wait was claimed before the detector's lock was released.
//
// A waiter that takes no Deadlock (Purpose::breakable), such as one that locks
// again after Condition::wait(), closes a cycle like any other; then one of the
// others is told. A wait that a cancellation could end counts like any other.
//
// Lifetime: a frozen party keeps its purpose and what it waits for. Its owner's
// word may be looked at after the owner is gone: blocks and thread parties are
// there for good. (A fiber of another runtime, which would have to release, end
// and have its runtime destroyed between two loads, is not provided for.)
//
#pragma once

#include "park/park.hpp"
#include "sched/party.hpp"

#include <atomic>
#include <cstddef>
#include <string>

namespace weft::detail {

class Scheduler;

/// Whether cycles are looked for; off by default, for it makes a contended lock a
/// fifth dearer (figures in ARCHITECTURE.md). For the whole process.
extern std::atomic<bool> cycles_watched [[gnu::visibility("hidden")]];
/// From now on.
void watch_cycles() noexcept;

/// Own party, which has armed the wait of `ticket`, for something that has an
/// owner. True: it closes a cycle of waits and was ended with Wake::deadlocked.
bool closes_cycle(Ticket ticket, const Purpose& purpose) noexcept;

/// In a wait that Wake::deadlocked has ended: throws what was left for the caller.
[[noreturn]] void throw_deadlock();

/// A paragraph for each fiber that waits, up to a thousand of them. Requires: no fiber runs
/// meanwhile.
void append_waits(std::string& text, Scheduler& scheduler);

/// No fiber of `scheduler` can run: ends the waits of some, so that they unwind
/// and let others go on. Called again at the next standstill it ends others.
/// Returns how many waits it ended; 0 when they are all shielded.
///
/// Those first that wait for nobody in particular, the oldest of them last, for
/// the others may use what lies on its stack; then those for locks, then joins.
std::size_t end_some_waits(Scheduler& scheduler, const std::string& report);

}  // namespace weft::detail
