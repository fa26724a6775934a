// Attempt: a Request carried out by system calls. Layer: io. Uses: base.
//
// attempt() does not sleep: what does not succeed at once says what to wait for.
// carry_out() sleeps, and is for threads that may.
//
// The calls are raw ones, not libc's functions: those are what weft's hooks
// replace, and this runs in fibers, below the hooks. None touches O_NONBLOCK
// except a connect on a foreign blocking socket, for which there is no other way.
#pragma once

#include "io/operation.hpp"

#include <cstdint>

namespace weft::detail {

struct Attempt {
    enum class Outcome : std::uint8_t {
        done,          // `result` is the operation's
        would_block,   // wait for interest_of(request), then try again
        needs_thread,  // it may sleep without being pollable: carry_out()
    };
    Outcome outcome;
    int result = 0;
};

/// Why it is attempted, and whether by a thread that may sleep, too.
enum class Occasion : std::uint8_t {
    submitted,
    readiness,            // only a descriptor that epoll has taken becomes ready
    readiness_on_thread,  // as poll() says of any, files included
};

/// Carries `request` out as far as that is possible without sleeping; but a read
/// or write on `readiness_on_thread` may sleep for a disk or a device, and one of a blocking
/// terminal or pipe that cannot be opened again until that is ready. `progress` counts the bytes
/// that earlier attempts moved (MSG_WAITALL); it starts at 0 and is kept between them. Returns
/// needs_thread only when `occasion` is `submitted`.
Attempt attempt(const Request& request, Occasion occasion, std::uint32_t& progress) noexcept;

/// Whether poll() tells when a call on it would sleep: of pipes, sockets and terminals, not of
/// files; and a device may want in one piece what is written to it.
bool is_waited_for(int fd) noexcept;

/// Carries a request on a file, or one that only a thread can wait for, out.
/// Blocks: the OS thread. Returns >= 0 or -errno.
/// Requires: nothing that is done on a socket.
int carry_out(const Request& request) noexcept;

/// What to wait for until `request` may succeed: POLL* bits, which on Linux are
/// the EPOLL* ones.
std::uint32_t interest_of(const Request& request) noexcept;

}  // namespace weft::detail
