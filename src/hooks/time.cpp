// Hooks on sleeping. Layer: hooks. Uses: io.
//
// A cancelled sleep ends with ECANCELED and not with EINTR, after which many sleep on. What is
// left of it is told all the same.
#include "hooks/descriptor.hpp"
#include "hooks/moment.hpp"
#include "hooks/thread_call.hpp"
#include "io/foreign.hpp"
#include "io/timespec.hpp"

#include <threads.h>

#include <cerrno>
#include <chrono>

namespace weft::hooks::detail {

namespace {

using std::chrono::nanoseconds;
using weft::detail::sleep_foreign;

/// Whether the kernel would sleep for it.
bool is_time(const timespec* time) noexcept {
    return is_readable(time, sizeof *time) && weft::detail::is_valid(*time);
}

/// 0, or ECANCELED or EINTR with what is left in `left`.
int sleep_for(nanoseconds time, timespec* left) noexcept {
    const Deadline deadline{time};
    const int ended = -sleep_foreign(deadline, "sleep");
    if (ended == 0) return 0;
    if (left != nullptr) {
        *left = weft::detail::to_timespec<timespec>(weft::detail::time_left(deadline));
    }
    return ended;
}

/// Of clocks that run like the steady one, though they may be set.
int sleep_until(clockid_t clock, const timespec& moment) noexcept {
    // A clock that was set meanwhile is asked again.
    for (;;) {
        timespec now{};
        ::clock_gettime(clock, &now);
        const nanoseconds left = duration_of(moment) - duration_of(now);
        if (left <= nanoseconds{0}) return 0;
        if (const int error = sleep_for(left, nullptr); error != 0) return error;
    }
}

/// Of clocks that count what a process has worked, or wake the machine.
int sleep_on_thread(clockid_t clock, int flags, const timespec* time, timespec* left) noexcept {
    return static_cast<int>(on_own_thread(
        [=]() -> long { return WEFT_ORIGINAL(clock_nanosleep)(clock, flags, time, left); }));
}

bool runs_steadily(clockid_t clock) noexcept {
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
           clock == CLOCK_TAI;
}

/// -1 with errno, or 0 with errno as it was.
template <class Sleep>
int result_of(Sleep&& sleep) {
    return answer<int>([&] { return -static_cast<long>(sleep()); });
}
/// For those that tell their error: errno stays as it was.
template <class Sleep>
int error_of(Sleep&& sleep) {
    leave_if_cancelled();
    const int before = errno;
    const int error = sleep();
    errno = before;
    return leave_if_ended(error);
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

unsigned hook_sleep(unsigned seconds) {
    if (WEFT_TAKEN(sleep) == nullptr) return WEFT_ORIGINAL(sleep)(seconds);
    timespec left{};
    const int error = error_of([&] { return sleep_for(std::chrono::seconds{seconds}, &left); });
    return error == 0 ? 0 : static_cast<unsigned>(left.tv_sec) + (left.tv_nsec > 0 ? 1 : 0);
}

int hook_usleep(useconds_t microseconds) {
    if (WEFT_TAKEN(usleep) == nullptr) return WEFT_ORIGINAL(usleep)(microseconds);
    return result_of([=] { return sleep_for(std::chrono::microseconds{microseconds}, nullptr); });
}

#define WEFT_DEFINE_NANOSLEEP(name)                                            \
    int hook_##name(const timespec* time, timespec* left) {                    \
        if (WEFT_TAKEN(name) == nullptr || !is_time(time)) {                   \
            return WEFT_ORIGINAL(name)(time, left);                            \
        }                                                                      \
        return result_of([=] { return sleep_for(duration_of(*time), left); }); \
    }
WEFT_DEFINE_NANOSLEEP(nanosleep)
WEFT_DEFINE_NANOSLEEP(__nanosleep)

int hook_clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* left) {
    if (WEFT_TAKEN(clock_nanosleep) == nullptr || !is_time(time)) {
        return WEFT_ORIGINAL(clock_nanosleep)(clock, flags, time, left);
    }
    return error_of([=]() -> int {
        if (!runs_steadily(clock)) return sleep_on_thread(clock, flags, time, left);
        return (flags & TIMER_ABSTIME) != 0 ? sleep_until(clock, *time)
                                            : sleep_for(duration_of(*time), left);
    });
}

int hook_thrd_sleep(const timespec* time, timespec* left) {
    if (WEFT_TAKEN(thrd_sleep) == nullptr || !is_time(time)) {
        return WEFT_ORIGINAL(thrd_sleep)(time, left);
    }
    const int error = error_of([=] { return sleep_for(duration_of(*time), left); });
    return error == 0 ? 0 : error == EINTR ? -1 : -2;
}
