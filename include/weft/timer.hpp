#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/fiber.hpp>

#include <utility>

namespace weft {

/// Calls something at a time to come, in a fiber of its own, unless it is called
/// off. (Python's threading.Timer, which is armed by start(); this one is by its
/// construction, and called off by its destruction.)
///
/// Until it comes it takes what a fiber of spawn_later() takes. What the callable
/// throws goes to the runtime's handler. run() waits for a Timer that nobody
/// calls off, unless it is a daemon.
///
/// Thread safety: cancel(), finished() and join() from anywhere.
/// Lifetime: must not outlive its Runtime. The callable of one that was called off
/// is destroyed by a worker, soon after: what its destructor refers to must live on.
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
    Timer(const SpawnOptions& options, Deadline when, F&& fn, Args&&... args)
        : fiber_{spawn_later(
              options, when,
              [fn = detail::bind(std::forward<F>(fn), std::forward<Args>(args)...)]() mutable {
                  if (detail::begin_timer()) static_cast<void>(fn());
              })} {}

    Timer(Timer&&) noexcept = default;
    Timer& operator=(Timer&& other) noexcept {
        if (this != &other) {
            cancel();
            fiber_ = std::move(other.fiber_);
        }
        return *this;
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    /// cancel(). A callable that has begun goes on, and what it refers to must
    /// still be there: join() first if that is in doubt.
    ~Timer() { cancel(); }

    /// Calls it off. Returns whether that came in time: the callable never runs.
    /// Else it has begun, and is not disturbed. Never blocks.
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
    FiberRef fiber_;
};

}  // namespace weft
