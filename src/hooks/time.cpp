// Hooks on sleeping. Layer: hooks. Uses: io.
//
// A cancelled sleep ends with ECANCELED and not with EINTR, after which many sleep on. What is
// left of it is told all the same.
#include "hooks/caller.hpp"
#include "hooks/moment.hpp"
#include "io/foreign.hpp"
#include "io/timespec.hpp"

#include <threads.h>

#include <cerrno>
#include <chrono>

namespace weft::hooks::detail {

namespace {

using std::chrono::nanoseconds;
using weft::detail::sleep_foreign;

/// 0, or ECANCELED with what is left in `left`.
int sleep_for(nanoseconds time, timespec* left) noexcept {
    const Deadline deadline{time};
    if (sleep_foreign(deadline, "sleep") == 0) return 0;
    if (left != nullptr) {
        *left = weft::detail::to_timespec<timespec>(weft::detail::time_left(deadline));
    }
    return ECANCELED;
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

bool runs_steadily(clockid_t clock) noexcept {
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
           clock == CLOCK_TAI;
}

int result_of(int error) noexcept {
    if (error == 0) return 0;
    errno = error;
    return -1;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

unsigned hook_sleep(unsigned seconds) {
    if (WEFT_TAKEN(sleep) == nullptr) return WEFT_ORIGINAL(sleep)(seconds);
    timespec left{};
    if (sleep_for(std::chrono::seconds{seconds}, &left) == 0) return 0;
    return static_cast<unsigned>(left.tv_sec) + (left.tv_nsec > 0 ? 1 : 0);
}

int hook_usleep(useconds_t microseconds) {
    if (WEFT_TAKEN(usleep) == nullptr) return WEFT_ORIGINAL(usleep)(microseconds);
    return result_of(sleep_for(std::chrono::microseconds{microseconds}, nullptr));
}

int hook_nanosleep(const timespec* time, timespec* left) {
    if (time == nullptr || WEFT_TAKEN(nanosleep) == nullptr || !is_valid(*time)) {
        return WEFT_ORIGINAL(nanosleep)(time, left);
    }
    return result_of(sleep_for(duration_of(*time), left));
}

int hook_clock_nanosleep(clockid_t clock, int flags, const timespec* time, timespec* left) {
    if (!runs_steadily(clock) || time == nullptr || WEFT_TAKEN(clock_nanosleep) == nullptr ||
        !is_valid(*time)) {
        return WEFT_ORIGINAL(clock_nanosleep)(clock, flags, time, left);
    }
    return (flags & TIMER_ABSTIME) != 0 ? sleep_until(clock, *time)
                                        : sleep_for(duration_of(*time), left);
}

int hook_thrd_sleep(const timespec* time, timespec* left) {
    if (time == nullptr || WEFT_TAKEN(thrd_sleep) == nullptr || !is_valid(*time)) {
        return WEFT_ORIGINAL(thrd_sleep)(time, left);
    }
    return sleep_for(duration_of(*time), left) == 0 ? 0 : -2;
}
