// POSIX semaphores in fibers. Layer: hooks. Uses: park, task.
//
// The count is libc's; a fiber tries, and parks where it is zero. One that processes share
// is waited for by a thread, for who posts may be anybody. Waiting is not interrupted: many, the
// C++ library among them, take any failure but EINTR for the end of the world. (A thread that is
// asked to end leaves.)
#include "hooks/moment.hpp"
#include "hooks/parking.hpp"
#include "hooks/thread_call.hpp"
#include "hooks/thread_exit.hpp"

#include <cerrno>

#include <semaphore.h>

namespace weft::hooks::detail {

namespace {

// After the count and the number of sleepers, as in glibc since 2.21.
bool is_shared(const sem_t& semaphore) noexcept {
    static_assert(sizeof(long) == 8);
    return reinterpret_cast<const int*>(&semaphore)[2] != 0;
}

/// 0, EAGAIN, or what else is wrong.
int try_once(sem_t& semaphore) noexcept { return ::sem_trywait(&semaphore) == 0 ? 0 : errno; }

int wait(sem_t& semaphore, const Until& when) noexcept {
    int error = try_once(semaphore);
    if (error != EAGAIN) return error;
    Moment until{when};
    Sleeper sleeper{.address = &semaphore, .reason = "sem_wait", .cancellable = of_threads()};
    while (error == EAGAIN) {
        const Parked parked = park_on(sleeper, until.deadline(), [&] {
            error = try_once(semaphore);
            return error != EAGAIN;
        });
        if (parked == Parked::timed_out && until.came()) return ETIMEDOUT;
        if (parked == Parked::cancelled && is_asked()) return ECANCELED;
        if (parked == Parked::cancelled) sleeper.cancellable = weft::detail::Cancellable::no;
        if (parked == Parked::woken) error = try_once(semaphore);
        sleeper.again = true;
    }
    return error;
}

/// `by_libc` is the same call there. Cancellation point of pthreads.
template <class Call>
int wait_for(sem_t& semaphore, const Until& when, Call&& by_libc) {
    leave_if_cancelled();
    const int before = errno;
    const bool is_valid = Moment{when}.is_valid();
    if (is_shared(semaphore) && is_valid) {
        const long result = on_own_thread([&]() -> long { return by_libc() == 0 ? 0 : -errno; });
        if (result != -EAGAIN) return result == 0 ? 0 : (errno = static_cast<int>(-result), -1);
        return by_libc();  // there are too many threads
    }
    const int error = is_valid ? leave_if_ended(wait(semaphore, when)) : EINVAL;
    errno = error == 0 ? before : error;
    return error == 0 ? 0 : -1;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_sem_wait(sem_t* semaphore) {
    const auto by_libc = [&] { return WEFT_ORIGINAL(sem_wait)(semaphore); };
    if (WEFT_TAKEN_FOR_NOW(sem_wait) == nullptr) return by_libc();
    return wait_for(*semaphore, {}, by_libc);
}

int hook_sem_timedwait(sem_t* semaphore, const timespec* until) {
    const auto by_libc = [&] { return WEFT_ORIGINAL(sem_timedwait)(semaphore, until); };
    if (WEFT_TAKEN_FOR_NOW(sem_timedwait) == nullptr) return by_libc();
    return wait_for(*semaphore, {CLOCK_REALTIME, until}, by_libc);
}

int hook_sem_clockwait(sem_t* semaphore, clockid_t clock, const timespec* until) {
    const auto by_libc = [&] { return WEFT_ORIGINAL(sem_clockwait)(semaphore, clock, until); };
    const bool is_known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
    if (!is_known || WEFT_TAKEN_FOR_NOW(sem_clockwait) == nullptr) return by_libc();
    return wait_for(*semaphore, {clock, until}, by_libc);
}

int hook_sem_post(sem_t* semaphore) {
    const int result = WEFT_ORIGINAL(sem_post)(semaphore);
    freed();
    if (result == 0) wake(semaphore, 1);
    return result;
}
