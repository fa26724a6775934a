// Waiting for locks that others than this process's threads and fibers may free: other processes,
// or the kernel, of a thread that died. Layer: hooks. Uses: task.
//
// The table of those who are parked knows nothing of them, so a thread waits in a fiber's place,
// as libc would (`turn()`), but cannot take a lock that knows its thread. It lets go again, and the
// fiber tries; whoever else was faster meanwhile is waited for again. So each try follows a
// moment at which the lock was free.
#pragma once

#include "hooks/thread_call.hpp"

#include <cerrno>

namespace weft::hooks::detail {

/// `turn()`, which is 0 or an error, and `attempt()`, by turns, until either is something else
/// than that or EBUSY. Without a thread the worker waits.
template <class Turn, class Attempt>
int wait_for_turn(Turn&& turn, Attempt&& attempt) noexcept {
    int error = EBUSY;
    while (error == EBUSY) {
        error = static_cast<int>(-on_own_thread([&]() -> long { return -turn(); }));
        if (error == EAGAIN) error = turn();
        if (error == 0) error = attempt();
    }
    return error;
}

}  // namespace weft::hooks::detail
