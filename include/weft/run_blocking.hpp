#pragma once

#include <weft/detail/export.hpp>
#include <weft/thread_pool.hpp>

#include <cstddef>
#include <utility>

namespace weft {

namespace detail {
WEFT_API ThreadPool& blocking_pool();
}

/// How many calls of run_blocking() run at once in the process; further ones wait.
inline constexpr std::size_t most_blocking_calls = 64;

/// Calls `fn(args...)` on a thread of its own, so that a call that blocks, or computes for
/// long, keeps no worker busy. The threads are kept for the next calls.
///
/// Blocks: until it returns. Cancellation point; once it has begun it is waited for all the
/// same, for it may use what lies on the caller's stack. So it takes no Deadline; a Timeout
/// ends the wait for a thread, and then it is never called.
/// Returns what it returns. Throws what it throws; Cancelled; std::system_error when there is
/// no thread.
template <class F, class... Args>
decltype(auto) run_blocking(F&& fn, Args&&... args) {
    return detail::blocking_pool().apply(std::forward<F>(fn), std::forward<Args>(args)...);
}

}  // namespace weft
