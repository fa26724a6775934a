// Driver: what a worker sleeps on. The scheduler's whole knowledge of I/O.
// Layer: sched. Uses: base.
//
// One per worker. "Own worker" calls come from that worker's thread, outside
// any fiber (on the thread's own stack); the others say who may call them.
// An implementation delivers a completion by resuming the party that waits for
// it (park), from whatever thread it noticed it on.
#pragma once

#include <weft/deadline.hpp>

#include <sys/types.h>

#include <cstddef>
#include <memory>

namespace weft::detail {

class Driver {
public:
    Driver() = default;
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;
    virtual ~Driver() = default;

    /// Own worker, once, before anything else.
    virtual void attach() = 0;

    /// Own worker. Whether poll() is known to find something to do, as far as
    /// memory tells, without asking the kernel: a worker does not sleep on true.
    virtual bool ready() const noexcept = 0;

    /// Own worker. Submits what was prepared, delivers a bounded batch of what
    /// completed. Never sleeps; costs no system call when there is nothing to do
    /// that it could know of. Called at least every 61 switches.
    virtual void poll() noexcept = 0;

    /// Own worker. As poll(), but sleeps in the kernel until there is a
    /// completion, a wake(), or `deadline`. May return early.
    virtual void wait(Deadline deadline) noexcept = 0;

    /// Any thread. Ends the wait() that is going on, or else the next one.
    virtual void wake() noexcept = 0;

    /// The watchdog, while the owner is stuck in a fiber. Delivers completions
    /// that the owner should; `owner` is its thread, to be signalled with
    /// SIGURG if need be. Returns whether any was delivered.
    virtual bool rescue(pid_t owner) noexcept = 0;

    /// The stuck owner's SIGURG handler: async-signal-safe, may interrupt any
    /// of the calls above.
    virtual void on_signal() noexcept = 0;

    /// Fixed. What operations begin is handed to the kernel together, by the next poll() or
    /// wait(): how many bytes all that are under way may come to for that to cost less than a
    /// system call for each. 0: never.
    virtual std::size_t most_together() const noexcept { return 0; }

    /// Any thread; momentary. Operations begun and not yet delivered.
    virtual std::size_t in_flight() const noexcept = 0;
    /// Any thread. Whether anything of it may still wake a fiber: in flight, or out of
    /// flight and about to be told.
    virtual bool is_busy() const noexcept { return in_flight() != 0; }
};

}  // namespace weft::detail
