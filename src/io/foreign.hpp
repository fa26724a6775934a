// Foreign calls: what a hooked function of libc does in a fiber.
// Layer: io. Uses: base, sched, park.
//
// As perform(), but for code that knows neither exceptions nor cancellation: where a
// cancellation, an exception thrown in or a Timeout would be thrown, the answer is
// -ECANCELED, and that stays pending until the fiber comes to a native cancellation point.
// So a library that carries on after the error gets it from its next call as well.
//
// All of these require to be called in a fiber, which stays on its worker meanwhile: its
// caller may hold the address of errno.
#pragma once

#include "io/foreign_use.hpp"
#include "io/operation.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::detail {

class FiberCore;

/// Which of a fiber's foreign calls a signal ends, with -EINTR.
enum class Interruption : std::uint8_t {
    never_restarted,  // poll, select, sleep ..., whatever the handler's SA_RESTART says
    all,
};

/// The result of `request`: >= 0, or -errno; -ETIMEDOUT when the deadline ended it, -EBADF when
/// a close of its number did.
/// `needed`: the signals that end it.
/// Blocks: the fiber, until the operation is over.
WEFT_API int perform_foreign(const Request& request, Deadline deadline, const char* reason,
                             Interruption needed = Interruption::all) noexcept;
/// The same by who has a right to the number, or what else must not be closed: a step of a call
/// that has several.
WEFT_API int perform_foreign(ForeignUse& use, const Request& request, Deadline deadline,
                             const char* reason, Interruption needed = Interruption::all) noexcept;
WEFT_API int perform_foreign(ForeignUses& uses, const Request& request, Deadline deadline,
                             const char* reason, Interruption needed) noexcept;
/// For a read or write of what knows no RWF_NOWAIT. io_uring would have the worker itself wait in
/// the kernel for a terminal or a FIFO that was ready, but not for all of it.
WEFT_API int perform_foreign_when_ready(ForeignUse& use, const Request& request, Deadline deadline,
                                        const char* reason) noexcept;

/// Waits until one of `fds` has one of its events, or an error: 1, then; else -ETIMEDOUT,
/// -ECANCELED, -EBADF when one of them was closed, -EPERM or -EINVAL when one of them is nothing
/// to be polled. Tells not which. Negative ones are left out. Requires: at most `most_polled`
/// of them.
/// Blocks: the fiber, until then.
WEFT_API int wait_any_ready(std::span<const pollfd> fds, Deadline deadline,
                            const char* reason) noexcept;
inline constexpr std::size_t most_polled = 8;

/// Waits for nothing but the deadline: 0, or -ECANCELED, or -EINTR.
WEFT_API int sleep_foreign(Deadline deadline, const char* reason) noexcept;

/// `fiber`, which is the caller or has not begun, is one whose calls signals end.
WEFT_API void take_signals(FiberCore& fiber) noexcept;
/// Any thread that holds a reference, after a signal was handled: ends the foreign call that
/// `fiber` waits in, if any.
WEFT_API void interrupt_foreign_call(FiberCore& fiber, Interruption which) noexcept;

}  // namespace weft::detail
