#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/invoke.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstdint>

namespace weft {

namespace detail {
class Party;
}

/// Something to be done once, by whoever comes first. (std::call_once.)
///
/// What happened in the call that did it is visible after every call().
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive every call().
class WEFT_API Once {
public:
    Once() noexcept = default;
    Once(const Once&) = delete;
    Once& operator=(const Once&) = delete;

    /// Calls `function()` if it has not been done. If that throws, nothing is
    /// done: the exception goes to this caller, and the first of those who wait
    /// calls its own function.
    ///
    /// Blocks: while another caller is at it, until it is done or `deadline`. Not a
    /// cancellation point, whatever `function` is, so that a destructor may call it.
    /// Returns whether it is done; false if `deadline` passed first.
    /// Throws what `function` throws, Cancelled included;
    /// std::system_error(resource_deadlock_would_occur) when called out of its
    /// own function; Deadlock as Lock::lock(), when whoever is at it waits for what the
    /// caller has, such as another Once that it is at.
    template <class F>
    bool call(F&& function, Deadline deadline = Deadline::never()) {
        if (done()) return true;
        auto run = [&] {
            static_cast<F&&>(function)();
            detail::come_back_here();
        };
        return call_erased([](void* r) { (*static_cast<decltype(run)*>(r))(); }, &run, deadline);
    }

    /// Whether it is done. Never blocks.
    bool done() const noexcept { return state_.load(std::memory_order_acquire) == State::done; }

private:
    enum class State : std::uint8_t { idle, running, done };

    bool call_erased(void (*run)(void*), void* context, Deadline deadline);
    enum class Turn : std::uint8_t { mine, over, late };

    Turn wait_for_turn(Deadline deadline);
    static detail::Party* runner(const void* once) noexcept;
    void pass_on() noexcept;
    void finish() noexcept;

    detail::WaitQueue waiters_;
    // Written under waiters_.lock(); running while somebody waits.
    std::atomic<State> state_{State::idle};
    // Written under waiters_.lock(), read by any thread; null unless running.
    std::atomic<detail::Party*> runner_{nullptr};
};

}  // namespace weft
