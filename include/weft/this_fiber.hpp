#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>

#include <cstdint>
#include <string_view>

/// About the caller. Outside a fiber these do for the calling thread what
/// std::this_thread does, so that code can run in either.
namespace weft::this_fiber {

/// Lets the other runnable fibers go first. The caller stays runnable.
/// Not a cancellation point.
WEFT_API void yield() noexcept;

/// Suspends the caller. Blocks: until `deadline`. Cancellation point.
/// Throws Cancelled.
WEFT_API void sleep_until(Deadline deadline);

/// Suspends the caller for a duration; one of zero or less is a yield().
/// Blocks: for `time`. Cancellation point. Throws Cancelled.
template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> time) {
    sleep_until(time);
}

/// The caller's id, or 0 outside a fiber.
WEFT_API std::uint64_t id() noexcept;

/// The name given at the spawn; empty without one or outside a fiber.
WEFT_API std::string_view name() noexcept;

/// Whether the caller is a fiber.
WEFT_API bool is_fiber() noexcept;

/// A cancellation point that does nothing else. Throws Cancelled if the caller
/// was cancelled and no Shield is open.
WEFT_API void check_cancelled();

/// While it lives, the calling fiber is not cancelled: a cancel() that comes
/// meanwhile is delivered at the first cancellation point after the scope.
/// Nests. To be destroyed by the fiber that made it.
class WEFT_API Shield {
public:
    Shield() noexcept;
    Shield(const Shield&) = delete;
    Shield& operator=(const Shield&) = delete;
    ~Shield();
};

/// While it lives, the calling fiber stays on its worker, so that thread-local
/// state of foreign code stays right. Nests. To be destroyed by its maker.
class WEFT_API Pin {
public:
    Pin() noexcept;
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    ~Pin();
};

}  // namespace weft::this_fiber
