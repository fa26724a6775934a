#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>

#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

namespace detail {
class Party;
struct Timeouts;
}  // namespace detail

class Timeout;

/// Thrown out of a cancellation point inside a Timeout whose time has come.
///
/// Deliberately not a std::exception, as Cancelled: `catch (const std::exception&)`
/// on the way does not swallow it.
class WEFT_API TimedOut {
public:
    /// Whether it was this Timeout that ended the wait. With several open ones,
    /// whoever catches what is not its own throws it on.
    bool is(const Timeout& timeout) const noexcept;

private:
    friend struct detail::Timeouts;
    TimedOut(const Timeout* timeout, Deadline deadline) noexcept
        : timeout_{timeout}, deadline_{deadline} {}

    const Timeout* timeout_;  // compared, never followed
    Deadline deadline_;
};

/// A limit on everything the caller does while it lives: when its time has come,
/// the next cancellation point, or the one that is waiting, throws TimedOut.
/// (gevent.Timeout.)
///
///     Timeout limit{5s};
///     try { talk_to(peer); } catch (const TimedOut& e) { if (!e.is(limit)) throw; ... }
///
/// Thrown once; what is done in the scope after that is not limited by it any
/// more. Nests: the one whose time comes first is thrown first. Not thrown while
/// the caller unwinds or has a Shield open, nor out of what is no cancellation
/// point. Computing without such a point is not interrupted. What completed is
/// kept: I/O that was done in time is returned, and the next point throws.
///
/// Works in fibers and on plain threads. Costs a read of the clock, and another
/// at each cancellation point inside; no timer runs but that of a wait.
///
/// Lifetime: to be destroyed by the fiber or thread that made it. In the body of a
/// Generator it holds while that runs, for whoever resumes it.
class WEFT_API Timeout {
public:
    /// Begins. A deadline in the past is thrown at the first cancellation point.
    explicit Timeout(Deadline deadline) noexcept;
    Timeout(const Timeout&) = delete;
    Timeout& operator=(const Timeout&) = delete;
    /// Ends; whatever did not come by now never comes.
    ~Timeout();

    Deadline deadline() const noexcept { return deadline_; }

    /// Moves the limit, unless it was thrown already. By its maker.
    void restart(Deadline deadline) noexcept {
        if (thrown_) return;  // TimedOut::is() compares the deadline
        deadline_ = deadline;
        due_ = false;
    }
    /// It will not be thrown, unless restart()ed. By its maker.
    void cancel() noexcept { restart(Deadline::never()); }

    /// Whether it was thrown.
    bool expired() const noexcept { return thrown_; }

private:
    friend struct detail::Timeouts;

    Deadline deadline_;
    detail::Party* party_;
    Timeout* outer_;
    bool due_ = false;  // a wait ended by it
    bool thrown_ = false;
};

inline bool TimedOut::is(const Timeout& timeout) const noexcept {
    return timeout_ == &timeout && deadline_ == timeout.deadline();
}

/// Calls `fn()` inside a Timeout. Returns its result, or nothing when the time
/// ran out; for a `fn` that returns void, whether it came to its end in time.
/// Another's TimedOut passes through, as does what `fn` throws.
///
/// Blocks: as `fn` does. Cancellation point if `fn` has one.
template <class F>
auto with_timeout(Deadline deadline, F&& fn) {
    using Result = std::invoke_result_t<F>;
    using Answer =
        std::conditional_t<std::is_void_v<Result>, bool,
                           std::optional<std::conditional_t<std::is_void_v<Result>, bool, Result>>>;
    Timeout timeout{deadline};
    try {
        if constexpr (std::is_void_v<Result>) {
            std::forward<F>(fn)();
            return true;
        } else {
            return Answer{std::forward<F>(fn)()};
        }
    } catch (const TimedOut& e) {
        if (!e.is(timeout)) throw;
        return Answer{};
    }
}

}  // namespace weft
