// Condition variables of libc's in fibers. Layer: hooks. Uses: park.
//
// A fiber parks at the condition's address before it unlocks the mutex, so that whoever has
// locked it since finds it there. Signalling wakes a thread, if one waits, and a fiber: no
// less than asked for, and neither kind is passed over for the other's sake.
//
// A condition that processes share is waited for by a thread, for libc wakes no fiber of another
// process. That unlocks and locks the mutex as it waits, where nobody is parked at it: one that is
// shared, too. One that knows its owner is the thread's meanwhile. With others the worker waits.
#include "hooks/c11.hpp"
#include "hooks/mutex.hpp"
#include "hooks/thread_call.hpp"
#include "hooks/thread_exit.hpp"
#include "hooks/waiting_thread.hpp"

#include <atomic>
#include <cerrno>

#include <unistd.h>

namespace weft::hooks::detail {

namespace {

// As glibc keeps them.
constexpr unsigned shared_flag = 1;
constexpr unsigned monotonic_flag = 2;

unsigned flags_of(pthread_cond_t& condition) noexcept {
    return std::atomic_ref<unsigned>{condition.__data.__wrefs}.load(std::memory_order_relaxed);
}

clockid_t clock_of(pthread_cond_t& condition) noexcept {
    return (flags_of(condition) & monotonic_flag) != 0 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

bool processes_share(pthread_cond_t& condition) noexcept {
    return (flags_of(condition) & shared_flag) != 0;
}

bool can_take(pthread_cond_t& condition, const pthread_mutex_t& mutex) noexcept {
    if (!processes_share(condition)) return kind_of(mutex) != MutexKind::libcs;
    const MutexKind kind = kind_of(mutex);
    return kind != MutexKind::libcs && kind != MutexKind::by_thread && is_shared(mutex);
}

bool may_unlock(const FiberCore& fiber, const pthread_mutex_t& mutex) noexcept {
    return kind_of(mutex) == MutexKind::normal || owns(fiber, mutex);
}

int wait_by_thread(const FiberCore& fiber, pthread_cond_t& condition, pthread_mutex_t& mutex,
                   const Until& until) noexcept {
    const bool has_owner = kind_of(mutex) != MutexKind::normal;
    const auto wait = [&]() -> long {
        if (has_owner) lend_to_thread(mutex);
        const int error = until.at == nullptr ? WEFT_ORIGINAL(pthread_cond_wait)(&condition, &mutex)
                                              : WEFT_ORIGINAL(pthread_cond_clockwait)(
                                                    &condition, &mutex, until.clock, until.at);
        if (has_owner) take_back(fiber, mutex);
        return -error;
    };
    const long made = on_own_thread(wait);
    // Without a thread the worker waits.
    return static_cast<int>(-(made == -EAGAIN ? wait() : made));
}

/// When the clock was set back meanwhile it wakes up for nothing, as it may.
bool has_timed_out(Parked parked, Moment& until) noexcept {
    return parked == Parked::timed_out && until.came();
}

int wait(FiberCore& fiber, pthread_cond_t& condition, pthread_mutex_t& mutex,
         const Until& when) noexcept {
    Moment until{when};
    if (!until.is_valid()) return EINVAL;
    if (!may_unlock(fiber, mutex)) return EPERM;
    if (processes_share(condition)) return wait_by_thread(fiber, condition, mutex, when);
    bool is_unlocked = false;
    const auto unlock_it = [&] {
        unlock(&fiber, mutex);
        is_unlocked = true;
    };
    const Parked parked = park_on(
        {.address = &condition, .reason = "pthread_cond_wait", .cancellable = of_threads()},
        until.deadline(), [] { return false; }, unlock_it);
    // The moment had passed before: others get their turn all the same.
    if (!is_unlocked) unlock_it();
    const int error = lock(fiber, mutex, {});
    if (error != 0) return error;
    if (parked == Parked::cancelled) return is_asked() ? ECANCELED : 0;  // woken for nothing
    return has_timed_out(parked, until) ? ETIMEDOUT : 0;
}

/// The hook: cancellation point of pthreads, with the mutex locked.
int wait_in_fiber(FiberCore& fiber, pthread_cond_t& condition, pthread_mutex_t& mutex,
                  const Until& when) {
    leave_if_cancelled();
    return leave_if_ended(wait(fiber, condition, mutex, when));
}

/// The same on a plain thread. libc would unlock the mutex where no hook sees it, and leave a
/// fiber that waits for it parked; so once locks are patched, threads wait in the table, too.
/// Cancellation point, of libc's kind.
int wait_as_thread(pthread_cond_t& condition, pthread_mutex_t& mutex, const Until& when) {
    Moment until{when};
    if (!until.is_valid()) return EINVAL;
    const bool may = kind_of(mutex) == MutexKind::normal || mutex.__data.__owner == ::gettid();
    if (!may) return EPERM;
    const WaitingThread waiting{&condition};
    ::pthread_testcancel();
    QuietSignals quiet;
    bool is_unlocked = false;
    const auto unlock_it = [&] {
        quiet.end();
        unlock(nullptr, mutex);
        is_unlocked = true;
    };
    const Parked parked = park_on(
        {&condition, "pthread_cond_wait"}, until.deadline(), [&] { return waiting.is_cancelled(); },
        unlock_it);
    if (!is_unlocked) unlock_it();
    const int error = WEFT_ORIGINAL(pthread_mutex_lock)(&mutex);
    if (error != 0) return error;
    if (waiting.is_cancelled()) ::pthread_testcancel();
    return has_timed_out(parked, until) ? ETIMEDOUT : 0;
}

bool threads_wait_here(pthread_cond_t& condition, const pthread_mutex_t& mutex) noexcept {
    return (patched.load(std::memory_order_relaxed) & c_threads) != 0 &&
           running_fiber() == nullptr && !processes_share(condition) && can_take(condition, mutex);
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

// While it waits in libc, the fiber does not hold the mutex, but is not gone either.

int hook_pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr || !WEFT_TAKES(pthread_cond_wait, *fiber, can_take(*condition, *mutex))) {
        if (threads_wait_here(*condition, *mutex)) return wait_as_thread(*condition, *mutex, {});
        return WEFT_ORIGINAL(pthread_cond_wait)(condition, mutex);
    }
    return wait_in_fiber(*fiber, *condition, *mutex, {});
}

int hook_pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr ||
        !WEFT_TAKES(pthread_cond_timedwait, *fiber, can_take(*condition, *mutex))) {
        if (threads_wait_here(*condition, *mutex)) {
            return wait_as_thread(*condition, *mutex, {clock_of(*condition), until});
        }
        return WEFT_ORIGINAL(pthread_cond_timedwait)(condition, mutex, until);
    }
    return wait_in_fiber(*fiber, *condition, *mutex, {clock_of(*condition), until});
}

int hook_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                                const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    const bool is_known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
    if (fiber == nullptr ||
        !WEFT_TAKES(pthread_cond_clockwait, *fiber, is_known && can_take(*condition, *mutex))) {
        if (is_known && threads_wait_here(*condition, *mutex)) {
            return wait_as_thread(*condition, *mutex, {clock, until});
        }
        return WEFT_ORIGINAL(pthread_cond_clockwait)(condition, mutex, clock, until);
    }
    return wait_in_fiber(*fiber, *condition, *mutex, {clock, until});
}

int hook_pthread_cond_signal(pthread_cond_t* condition) {
    const int error = WEFT_ORIGINAL(pthread_cond_signal)(condition);
    wake(condition, 1);
    return error;
}

int hook_pthread_cond_broadcast(pthread_cond_t* condition) {
    const int error = WEFT_ORIGINAL(pthread_cond_broadcast)(condition);
    wake(condition, everybody);
    return error;
}

// --- those of C11 ---

int hook_cnd_wait(cnd_t* condition, mtx_t* mutex) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr || !WEFT_TAKES(cnd_wait, *fiber)) {
        if (threads_wait_here(pthreads(*condition), pthreads(*mutex))) {
            return thrd_result(wait_as_thread(pthreads(*condition), pthreads(*mutex), {}));
        }
        return WEFT_ORIGINAL(cnd_wait)(condition, mutex);
    }
    return thrd_result(wait_in_fiber(*fiber, pthreads(*condition), pthreads(*mutex), {}));
}

int hook_cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr || !WEFT_TAKES(cnd_timedwait, *fiber)) {
        if (threads_wait_here(pthreads(*condition), pthreads(*mutex))) {
            return thrd_result(
                wait_as_thread(pthreads(*condition), pthreads(*mutex), {CLOCK_REALTIME, until}));
        }
        return WEFT_ORIGINAL(cnd_timedwait)(condition, mutex, until);
    }
    return thrd_result(
        wait_in_fiber(*fiber, pthreads(*condition), pthreads(*mutex), {CLOCK_REALTIME, until}));
}

int hook_cnd_signal(cnd_t* condition) {
    const int result = WEFT_ORIGINAL(cnd_signal)(condition);
    wake(condition, 1);
    return result;
}

int hook_cnd_broadcast(cnd_t* condition) {
    const int result = WEFT_ORIGINAL(cnd_broadcast)(condition);
    wake(condition, everybody);
    return result;
}
