// Waiting for locks that others than this process's threads and fibers may free: other processes,
// or the kernel, of a thread that died. Layer: hooks. Uses: task.
//
// The table of those who are parked knows nothing of them, so a thread waits in a fiber's place,
// as libc would (`turn()`), but cannot take a lock that knows its thread. It lets go again, and the
// fiber tries; whoever else was faster meanwhile is waited for again. So each try follows a
// moment at which the lock was free.
#pragma once

#include "hooks/moment.hpp"
#include "hooks/thread_call.hpp"

#include <weft/cancelled.hpp>
#include <weft/this_fiber.hpp>

#include <cerrno>
#include <chrono>

namespace weft::hooks::detail {

/// Where there are too many threads for one more: the worker is not to wait for what another of
/// its fibers may have.
inline int wait_without_thread(const Until& until) noexcept {
    const this_fiber::Shield shield;
    this_fiber::sleep_for(std::chrono::milliseconds{1});
    Moment moment{until};
    return moment.deadline().passed() && moment.came() ? ETIMEDOUT : 0;
}

/// `turn()`, which is 0 or an error, and `attempt()`, by turns, until either is something else
/// than that or EBUSY; or ETIMEDOUT.
template <class Turn, class Attempt>
int wait_for_turn(const Until& until, Turn&& turn, Attempt&& attempt) noexcept {
    int error = EBUSY;
    while (error == EBUSY) {
        error = static_cast<int>(-on_own_thread([&]() -> long { return -turn(); }));
        if (error == EAGAIN) error = wait_without_thread(until);
        if (error == 0) error = attempt();
    }
    return error;
}

}  // namespace weft::hooks::detail
