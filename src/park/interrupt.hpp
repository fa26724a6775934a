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

#include "park/this_party.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/timeout.hpp>

#include <exception>
#include <optional>

namespace weft::detail {

class FiberCore;

/// Own party. Whether it is not to be interrupted: a Shield is open, or it unwinds.
inline bool is_deaf(const Party& me) noexcept { return me.shields() > 0 || unwinding(); }

/// Whether a wait of the caller's may end by throwing.
inline bool may_throw_here() noexcept { return !is_deaf(this_party()); }

/// Throws what is to interrupt the caller, if anything is and it is not deaf: for
/// the fast path of a cancellation point, before it changes anything.
void throw_if_interrupted(Party& me);
inline void check_interrupt() {
    Party& me = this_party();
    if (me.may_be_interrupted()) [[unlikely]]
        throw_if_interrupted(me);
}

/// After a wait that ended with Wake::cancelled.
[[noreturn]] void throw_interrupt();

/// Ends the wait of `party` with Cancelled, now or at its next cancellation point.
void interrupt(Party& party) noexcept;

/// The same by who found a standstill. The fiber stops its tokens itself: who calls
/// this holds locks that their callbacks might ask for.
void interrupt_at_standstill(FiberCore& fiber) noexcept;

/// The fiber was interrupted: stops its token, if anybody has one.
void stop_tokens(FiberCore& fiber) noexcept;

/// The same with an exception, once. Nothing if the fiber has ended.
/// Throws std::bad_alloc; then nothing happened.
void throw_in(FiberCore& fiber, std::exception_ptr error);

/// Own fiber. Takes back what throw_in() left for it. False: it was thrown.
bool take_back(FiberCore& fiber, const std::exception_ptr& error) noexcept;

/// Closes the Timeouts of `me` inside of `outer` for a while. Returns the innermost.
Timeout* put_by_timeouts(Party& me, Timeout* outer) noexcept;
/// Opens them again, for whoever goes on with what is inside of them.
void bring_back_timeouts(Party& me, Timeout& innermost) noexcept;

/// How long a wait of the caller's may take, and what may end it.
class WEFT_API Limit {
public:
    Limit(Party& me, Deadline deadline, Cancellable cancellable) noexcept
        : me_{me}, deadline_{deadline}, cancellable_{cancellable} {
        if (cancellable == Cancellable::no) [[unlikely]]
            return;
        if (is_deaf(me)) [[unlikely]] {
            cancellable_ = Cancellable::no;
        } else if (me.timeouts() != nullptr) [[unlikely]] {
            if (Timeout* const first = first_timeout(me, deadline)) {
                timeout_ = first;
                deadline_ = first->deadline();
            }
        }
    }

    Deadline deadline() const noexcept { return deadline_; }
    Cancellable cancellable() const noexcept { return cancellable_; }
    /// Why a wait ends before it begins, if it does.
    std::optional<Wake> over() const noexcept {
        if (cancellable_ == Cancellable::yes && me_.interrupt_pending()) return Wake::cancelled;
        if (deadline_.passed()) return meaning();
        return std::nullopt;
    }
    /// What it means that deadline() has come: an answer, or an open Timeout.
    Wake meaning() const noexcept {
        if (timeout_ == nullptr) return Wake::timed_out;
        set_due(*timeout_);
        return Wake::cancelled;
    }

private:
    /// The open Timeout whose time comes first, if that is before `deadline`.
    static Timeout* first_timeout(const Party& me, Deadline deadline) noexcept;
    static void set_due(Timeout& timeout) noexcept;

    const Party& me_;
    Deadline deadline_;
    Cancellable cancellable_;
    Timeout* timeout_ = nullptr;  // whose deadline it is; null: the call's own
};

}  // namespace weft::detail
