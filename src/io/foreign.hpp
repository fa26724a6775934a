// Foreign calls: what a hooked function of libc does in a fiber.
// Layer: io. Uses: base, sched, park.
//
// As perform(), but for code that knows neither exceptions nor cancellation: where a
// cancellation, an exception thrown in or a Timeout would be thrown, the answer is
// -ECANCELED, and that stays pending until the fiber comes to a native cancellation point.
// So a library that carries on after the error gets it from its next call as well.
//
// Of descriptors that are not weft's own nothing is kept, since libc has many ways to
// close them that nobody sees. close() has to be told of what is in flight, though: by
// number, and one by one. (Rejected: to have the kernel cancel by number. It means the file, which
// other numbers may have, too; it overlooks what it is about to try again; and once the number is
// closed nothing is found by it.)
//
// All of these require to be called in a fiber, which stays on its worker meanwhile: its
// caller may hold the address of errno.
#pragma once

#include "base/sync.hpp"
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

class Numbers;

/// One operation's right to a foreign descriptor: names it, from before the submission until
/// its owner saw the completion, to whoever closes the number. Who closes ends all that are
/// named; what is not with its driver yet then, its owner ends, who looks once it is submitted.
/// The protocol is Use's (io/descriptor.hpp), the list a slot's of numbers that are alike in
/// their lowest bits. A slot's lock comes before a driver's, and complete() may come under it.
class ForeignUse {
public:
    /// In a fiber. Waits for the end of a close of `fd` that is under way. A negative one is
    /// nobody's.
    explicit ForeignUse(int fd) noexcept;
    /// The same, but does not wait: closing() says so.
    enum IfNotClosing : std::uint8_t { if_not_closing };
    ForeignUse(int fd, IfNotClosing) noexcept;
    ForeignUse(const ForeignUse&) = delete;
    ForeignUse& operator=(const ForeignUse&) = delete;
    ~ForeignUse();

    /// Whether a close of the number has begun.
    bool closing() const noexcept { return closing_.load(std::memory_order_acquire); }

    /// The owner of an operation, before it submits it.
    void begin(Operation& operation) noexcept {
        operation_.store(&operation, std::memory_order_release);
    }
    /// The same, once it is submitted: whether its owner has to end it.
    bool closing_since_begin() const noexcept {
        StdSync::light_fence();  // pairs with Numbers::begin()
        return closing();
    }

private:
    friend class Numbers;

    const int fd_;
    bool listed_ = false;
    std::atomic<bool> closing_{false};
    std::atomic<Operation*> operation_{nullptr};
    ForeignUse* next_ = nullptr;  // these two: guarded by the slot's lock
    ForeignUse* before_ = nullptr;
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
/// fiber: what fibers wait for on it by foreign calls ends with -EBADF, and is over before the
/// close. What would begin meanwhile waits for the end of it: a poll that looks once more then
/// must see what became of the number.
/// Blocks: the fiber, until those fibers have left their calls.
class WEFT_API ClosingNumber {
public:
    explicit ClosingNumber(int fd) noexcept;
    ClosingNumber(const ClosingNumber&) = delete;
    ClosingNumber& operator=(const ClosingNumber&) = delete;
    ~ClosingNumber();

private:
    friend class Numbers;

    const int fd_;
    ClosingNumber* next_ = nullptr;  // guarded by the slot's lock
};

}  // namespace weft::detail
