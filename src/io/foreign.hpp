// Foreign calls: what a hooked function of libc does in a fiber.
// Layer: io. Uses: base, sched, park.
//
// As perform(), but for code that knows neither exceptions nor cancellation: where a
// cancellation, an exception thrown in or a Timeout would be thrown, the answer is
// -ECANCELED, and that stays pending until the fiber comes to a native cancellation point.
// So a library that carries on after the error gets it from its next call as well.
//
// Of descriptors that are not weft's own nothing is kept, since libc has many ways to
// close them that nobody sees. close() has to be told of what is in flight, though: by a
// count for each number, where numbers that are alike in their lowest bits share one.
//
// All of these require to be called in a fiber, which stays on its worker meanwhile: its
// caller may hold the address of errno.
#pragma once

#include "io/operation.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>

#include <poll.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::detail {

class FiberCore;

/// An operation's owner's part in the closes of its number, or of those that share its count:
/// a close that did not find the operation, since it was not submitted yet, had begun before
/// that, which the owner sees after the submission. It withdraws the operation then, and begins
/// anew after the close.
class ForeignUse {
public:
    /// Whether any has begun since this began.
    bool close_begun() const noexcept { return begun_->load(std::memory_order_acquire) != seen_; }

    /// After the submission: whether the owner has to cancel it.
    bool withdraw_if_closing() noexcept {
        withdrew_ = close_begun();
        return withdrew_;
    }
    bool withdrew() const noexcept { return withdrew_; }

protected:
    /// What is counted, and what the count was.
    void watch(const std::atomic<std::uint32_t>& begun, std::uint32_t seen) noexcept {
        begun_ = &begun;
        seen_ = seen;
    }

private:
    const std::atomic<std::uint32_t>* begun_ = nullptr;
    std::uint32_t seen_ = 0;
    bool withdrew_ = false;
};

/// The result of `request`: >= 0, or -errno; -ETIMEDOUT when the deadline ended it.
/// Blocks: the fiber, until the operation is over.
WEFT_API int perform_foreign(const Request& request, Deadline deadline,
                             const char* reason) noexcept;

/// Waits until one of `fds` has one of its events, or an error: 1, then; else -ETIMEDOUT,
/// -ECANCELED, or -EBADF when one of them was closed. Tells not which. Negative ones are
/// left out. Requires: at most `most_polled` of them.
/// Blocks: the fiber, until then.
WEFT_API int wait_any_ready(std::span<const pollfd> fds, Deadline deadline,
                            const char* reason) noexcept;
inline constexpr std::size_t most_polled = 8;

/// Waits for nothing but the deadline: 0, or -ECANCELED, or -EINTR.
WEFT_API int sleep_foreign(Deadline deadline, const char* reason) noexcept;

/// Which of a fiber's foreign calls a signal ends, with -EINTR.
enum class Interruption : std::uint8_t {
    never_restarted,  // poll, select, sleep ..., whatever the handler's SA_RESTART says
    all,
};
/// `fiber`, which is the caller or has not begun, is one whose calls signals end.
WEFT_API void take_signals(FiberCore& fiber) noexcept;
/// Any thread that holds a reference, after a signal was handled: ends the foreign call that
/// `fiber` waits in, if any.
WEFT_API void interrupt_foreign_call(FiberCore& fiber, Interruption which) noexcept;

/// In a forked child: none is under way there.
WEFT_API void forget_foreign_calls() noexcept;

/// Around a close of the number `fd`, or something else that puts it in other hands, by a
/// fiber: what fibers of its runtime wait for on it by foreign calls ends with -EBADF.
/// What would begin meanwhile waits for the end of it: a poll that looks once more then must
/// see what became of the number. What was submitted meanwhile is withdrawn by its owner, see
/// ForeignUse: once the number is closed nobody finds it by that.
class WEFT_API ClosingNumber {
public:
    explicit ClosingNumber(int fd) noexcept;
    ClosingNumber(const ClosingNumber&) = delete;
    ClosingNumber& operator=(const ClosingNumber&) = delete;
    ~ClosingNumber();

private:
    const int fd_;
};

}  // namespace weft::detail
