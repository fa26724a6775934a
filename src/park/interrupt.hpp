// Interrupts: what is thrown out of a cancellation point: Cancelled, an exception
// thrown in from outside, or an open Timeout whose time has come.
// Layer: park. Uses: base, sched.
//
// A Timeout is no timer: it is a deadline in a list of its party's, and a wait
// takes the earliest of that list and of its own. So a scope that ends early
// leaves nothing behind, and nobody else ever touches it.
//
// An interrupt that comes from outside is: note it, then claim the wait, if there
// is one. Cancelled stays noted until the fiber ends. What is thrown in is taken
// once; so it is noted and claimed for in one step, under a lock, lest its claim
// hits a wait that began after it was taken.
//
// Order: Cancelled, then what was thrown in, in order of arrival, then the Timeout
// whose time came first.
#pragma once

#include "sched/party.hpp"

#include <weft/deadline.hpp>

#include <exception>

namespace weft::detail {

class FiberCore;

/// Throws what is to interrupt the caller, if anything is and no Shield is open
/// and the caller does not unwind: for the fast path of a cancellation point,
/// before it changes anything.
void check_interrupt();

/// Whether a wait of the caller's may end by throwing: no Shield is open, and it
/// does not unwind.
bool may_throw_here() noexcept;

/// After a wait that ended with Wake::cancelled.
[[noreturn]] void throw_interrupt();

/// Ends the wait of `party` with Cancelled, now or at its next cancellation point.
void interrupt(Party& party) noexcept;

/// The same with an exception, once. Nothing if the fiber has ended.
/// Throws std::bad_alloc; then nothing happened.
void throw_in(FiberCore& fiber, std::exception_ptr error);

/// How long a wait of the caller's may take, and what may end it.
class Limit {
public:
    Limit(Party& me, Deadline deadline, Cancellable cancellable) noexcept;

    Deadline deadline() const noexcept { return deadline_; }
    Cancellable cancellable() const noexcept { return cancellable_; }
    /// What it means that deadline() has come: an answer, or an open Timeout.
    Wake meaning() const noexcept;

private:
    Deadline deadline_;
    Cancellable cancellable_;
    Timeout* timeout_ = nullptr;  // whose deadline it is; null: the call's own
};

}  // namespace weft::detail
