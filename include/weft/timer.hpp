#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/fiber.hpp>

#include <type_traits>
#include <utility>

namespace weft {

namespace detail {

/// What a Timer calls, in its fiber's block. It is the fiber's, to call and destroy, or
/// that of the cancel() that came before.
template <class F>
class TimerCall {
public:
    template <class G>
    requires(!std::is_same_v<std::remove_cvref_t<G>, TimerCall>) explicit TimerCall(G&& fn)
        : fn_(std::forward<G>(fn)) {}
    TimerCall(TimerCall&& other) noexcept(std::is_nothrow_move_constructible_v<F>)
        : fn_(std::move(other.fn_)) {}
    TimerCall& operator=(TimerCall&&) = delete;
    ~TimerCall() {
        if (fiber_ == nullptr || begin_timer(fiber_)) fn_.~F();
    }

    void operator()() {
        if (begin_timer(fiber_)) static_cast<void>(fn_());
    }

    /// Tells it in whose block it lies for good.
    static void settle(FiberCore* fiber) noexcept { in(fiber).fiber_ = fiber; }
    /// It was called off.
    static void drop(FiberCore* fiber) noexcept { in(fiber).fn_.~F(); }

private:
    static TimerCall& in(FiberCore* fiber) noexcept {
        return static_cast<Frame<TimerCall, void>*>(storage_of(fiber))->callable.value;
    }

    FiberCore* fiber_ = nullptr;
    union {
        F fn_;
    };
};

}  // namespace detail

/// Calls something at a time to come, in a fiber of its own, unless it is called
/// off. (Python's threading.Timer, which is armed by start(); this one is by its
/// construction, and called off by its destruction.)
///
/// Until it comes it takes what a fiber of spawn_later() takes. What the callable
/// throws goes to the runtime's handler. run() waits for a Timer that nobody
/// calls off, unless it is a daemon.
///
/// Thread safety: cancel(), finished() and join() from anywhere.
/// Lifetime: must not outlive its Runtime.
class WEFT_API Timer {
public:
    /// Armed for nothing: as one that has finished.
    Timer() noexcept = default;

    /// Armed: `Timer beat{50ms, [&] { ... }};`. Throws as spawn_later() does.
    template <class F, class... Args>
    Timer(Deadline when, F&& fn, Args&&... args)
        : Timer{SpawnOptions{.name = "timer"}, when, std::forward<F>(fn),
                std::forward<Args>(args)...} {}
    template <class F, class... Args>
    Timer(const SpawnOptions& options, Deadline when, F&& fn, Args&&... args) {
        start(options, when, detail::bind(std::forward<F>(fn), std::forward<Args>(args)...));
    }

    Timer(Timer&&) noexcept = default;
    Timer& operator=(Timer&& other) noexcept {
        if (this != &other) {
            cancel();
            fiber_ = std::move(other.fiber_);
            drop_ = other.drop_;
        }
        return *this;
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    /// cancel(). A callable that has begun goes on, and what it refers to must
    /// still be there: join() first if that is in doubt.
    ~Timer() { cancel(); }

    /// Calls it off. Returns whether that came in time: the callable never runs, and
    /// the first such call has destroyed it. Else it has begun, and is not disturbed; or
    /// somebody else cancelled its fiber. Never blocks.
    bool cancel() noexcept;

    /// Whether there is nothing more to come: it was called off, or has run to
    /// its end.
    bool finished() const noexcept;

    /// Blocks: until it has run to its end, or was called off, or `deadline`.
    /// Cancellation point. Returns whether it did. Throws Cancelled.
    bool join(Deadline deadline = Deadline::never()) const {
        return finished() || fiber_.join(deadline);
    }

private:
    template <class F>
    void start(const SpawnOptions& options, Deadline when, F&& fn) {
        using Call = detail::TimerCall<std::decay_t<F>>;
        detail::FiberCore* const core =
            detail::make_fiber(nullptr, options, Call{std::forward<F>(fn)});
        Call::settle(core);
        fiber_ = FiberRef{core};
        drop_ = &Call::drop;
        detail::start_fiber_at(core, when);
        detail::drop_handle(core);
    }

    FiberRef fiber_;
    void (*drop_)(detail::FiberCore*) noexcept = nullptr;  // of a callable that never runs
};

}  // namespace weft
