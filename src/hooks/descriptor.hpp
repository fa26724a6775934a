// What the hooks on descriptors share: how a call that would block goes on in the fiber.
// Layer: hooks. Uses: io.
//
// Every call is first made as it is but for waiting. Only when that says EAGAIN the
// kernel is asked whether the descriptor's owner wants to know that (O_NONBLOCK, which we
// never set), and how long he would wait (SO_RCVTIMEO, SO_SNDTIMEO).
#pragma once

#include "hooks/caller.hpp"
#include "hooks/signals.hpp"
#include "hooks/thread_exit.hpp"
#include "io/foreign.hpp"
#include "io/system_call.hpp"

#include <weft/deadline.hpp>
#include <weft/this_fiber.hpp>

#include <sys/socket.h>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace weft::hooks::detail {

using weft::detail::ForeignUse;
using weft::detail::ForeignUses;
using weft::detail::Interruption;
using weft::detail::perform_foreign;
using weft::detail::Request;
using weft::detail::system_call;

/// A raw call: >= 0, or -errno. Every argument is as wide as the register it goes in.
template <class... Args>
long call(long number, Args... args) noexcept {
    return system_call<::syscall>(number, args...);
}

/// What libc's function returns where `body()` says >= 0 or -errno. Only that changes errno:
/// neither attempts that failed nor the other fibers of the worker do.
template <class Result = long, class Body>
Result told(Body&& body) noexcept {
    const int before = errno;
    const long result = body();
    errno = result >= 0 ? before : static_cast<int>(-result);
    return static_cast<Result>(result >= 0 ? result : -1);
}

/// The same for a cancellation point of pthreads, which no call is that libc declares to be without
/// exceptions: its caller would not be unwound.
template <class Result = long, class Body>
Result answer(Body&& body) {
    leave_if_cancelled();
    const auto result = told<Result>(std::forward<Body>(body));
    if (result < 0) leave_if_ended(errno);
    return result;
}

/// The result of `body()`, which raises SIGPIPE when nobody reads, unless `flags` has MSG_NOSIGNAL.
template <class Body>
long raising_pipe_signal(int flags, Body&& body) noexcept {
    const long result = body();
    if (result == -EPIPE && (flags & MSG_NOSIGNAL) == 0) deliver_pipe_signal();
    return result;
}

template <class Result = long, class Body>
Result answer_writing(int flags, Body&& body) {
    return answer<Result>([&] { return raising_pipe_signal(flags, body); });
}

/// Whether the caller's memory is there: of what we look at ourselves, as the kernel would.
bool is_readable(const void* data, std::size_t size) noexcept;

/// Whether its owner set O_NONBLOCK, or it is none: then nothing waits.
bool returns_at_once(int fd) noexcept;
/// Whether its owner set O_NONBLOCK: after an attempt that said EAGAIN, since when it may have
/// been closed, and is EBADF.
bool has_nonblock(int fd) noexcept;

/// An int of SOL_SOCKET; -1 if it is no socket.
int int_option(int fd, int option) noexcept;

enum class Direction : std::uint8_t { in, out };
/// When a call on the socket `fd` that begins now is to give up: by SO_RCVTIMEO or SO_SNDTIMEO.
Deadline deadline_of(int fd, Direction direction) noexcept;

/// What it means in libc that the deadline of deadline_of() came, after nothing was done.
inline long timed_out_is(long result, int meaning) noexcept {
    return result == -ETIMEDOUT ? -meaning : result;
}

/// One operation moves no more.
inline std::uint32_t clamp(std::size_t size) noexcept {
    return size < INT_MAX ? static_cast<std::uint32_t>(size) : INT_MAX;
}

/// Waits for `events` of `fd`: >= 0, or -errno. Unless `needed` says otherwise it goes on after a
/// handler with SA_RESTART, as transfers do.
long wait_ready(int fd, std::uint32_t events, Deadline deadline, const char* reason,
                Interruption needed = Interruption::all) noexcept;
/// The same by who has a right to it.
long wait_ready(ForeignUse& use, std::uint32_t events, Deadline deadline,
                const char* reason) noexcept;

/// Lets other fibers run now and then, if a fiber's calls always succeed.
inline void succeeded() noexcept {
    const this_fiber::Pin pin;
    Worker::consume_budget();
}

}  // namespace weft::hooks::detail
