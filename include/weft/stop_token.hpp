#pragma once

// Cancellation and std::stop_token, both ways. Apart from fiber.hpp because the
// standard header is a fifth of what that takes to compile.
#include <weft/detail/export.hpp>
#include <weft/detail/invoke.hpp>
#include <weft/fiber_ref.hpp>

#include <stop_token>
#include <type_traits>
#include <utility>

namespace weft {

/// A token that is stopped when the fiber is cancelled before its end; at once if
/// it was. Lives as long as it likes.
///
/// A std::stop_callback on it is called by whoever cancels, in cancel(), and
/// must not wait; by the fiber itself, before it gets Cancelled, when nobody cancelled
/// it but a standstill (Deadlock). The fiber is interrupted as ever besides.
/// Never blocks. Throws std::bad_alloc. Any thread.
WEFT_API std::stop_token stop_token_of(const FiberRef& fiber);

/// Cancels the fiber when `token` is stopped; at once if it was. Several tokens
/// add up. Forgotten when the fiber ends, before its joiners are told.
///
/// Never blocks. Throws std::bad_alloc; then nothing is changed. Any thread.
WEFT_API void cancel_on(const FiberRef& fiber, std::stop_token token);

namespace this_fiber {

/// stop_token_of() the caller; outside a fiber one that is never stopped.
WEFT_API std::stop_token stop_token();

}  // namespace this_fiber

namespace detail {

/// With this header included, a callable that cannot be called with the
/// arguments of spawn() alone gets its fiber's stop_token before them, as from
/// std::jthread: `spawn([](std::stop_token stop, int n) { ... }, 5)`.
template <class F>
class TokenFirst {
public:
    explicit TokenFirst(const F& fn) : fn_(fn) {}
    explicit TokenFirst(F&& fn) : fn_(std::move(fn)) {}

    template <class... Args>
    requires std::is_invocable_v<F, std::stop_token, Args...>
    decltype(auto) operator()(Args&&... args) {
        return detail::invoke(std::move(fn_), this_fiber::stop_token(),
                              std::forward<Args>(args)...);
    }

private:
    F fn_;
};

}  // namespace detail
}  // namespace weft
