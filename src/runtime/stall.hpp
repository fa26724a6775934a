// Stall: no fiber can run, and nothing is left that could wake one.
// Layer: runtime. Uses: base, sched, park.
//
// The watchdog of a runtime asks when all its workers have been asleep for a
// while, and never while one is awake. The whole process is looked at, for a
// fiber may be woken from another runtime or from a plain thread. The verdict
// falls when
//   1. every worker of every runtime is asleep, every other watchdog rests;
//   2. no queue holds a fiber, no timer is armed, no operation is in flight;
//   3. every other thread of the process is blocked in a wait of weft's that has
//      no time limit and that nobody has ended yet (blocked_threads());
//   4. 1 and 3 are as before when they are looked at again: no worker has made a
//      round, no thread has begun another wait;
//   5. a fiber is alive whose end is waited for: one that is no daemon or, once the
//      daemons were cancelled, any.
//
// Why it is never wrong: what can make a fiber runnable is a worker, a driver's
// completion, a timer or a plain thread. By 4 there was a moment, between the
// two looks, at which all threads but this one stood still at once, each in a
// wait that only another could end (one that was about to return had its futex
// changed, and does not count as blocked; one that had taken a completion still
// counts it in flight). By 2, looked at between the two, nothing was under way
// at that moment. So nothing changes any more. A thread that is not known, of
// whatever kind, means no verdict; so does one inside a time limit.
//
// Signal handlers cannot wake fibers; another process can, only by I/O.
#pragma once

namespace weft::detail {

class Scheduler;

/// The watchdog of `scheduler`, all of whose workers sleep. On a verdict: writes
/// the report to stderr, and ends waits (end_some_waits). Ends the process when
/// none can be ended. Returns whether to look again later: fibers wait that some
/// thread may still wake, or that the end of other waits has not helped.
bool look_for_stall(Scheduler& scheduler) noexcept;

}  // namespace weft::detail
