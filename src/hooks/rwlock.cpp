// Read-write locks of libc's in fibers. Layer: hooks. Uses: park.
//
// libc's words say how it stands; a fiber tries, and parks as a reader or as a writer where
// that fails. Who unlocks wakes all readers and a writer, and libc's words decide between
// them. A writer's thread is known to libc, so that a fiber stays on it; which of its fibers
// it is says a field that libc pads with. One that processes share is waited for by a thread: see
// turn.hpp.
#include "hooks/moment.hpp"
#include "hooks/parking.hpp"
#include "hooks/turn.hpp"

#include <atomic>
#include <cerrno>

#include <pthread.h>
#include <unistd.h>

namespace weft::hooks::detail {

namespace {

constexpr Bits reader = 1;
constexpr Bits writer = 2;

std::atomic_ref<unsigned long> writing_fiber(pthread_rwlock_t& lock) noexcept {
    return std::atomic_ref<unsigned long>{lock.__data.__pad2};
}
bool is_shared(const pthread_rwlock_t& lock) noexcept { return lock.__data.__shared != 0; }

unsigned long mark_of(const FiberCore& fiber, const pthread_rwlock_t& lock) noexcept {
    constexpr unsigned id_bits = 22;  // of a process
    const unsigned long mark = fiber.id.load(std::memory_order_relaxed);
    return is_shared(lock) ? mark << id_bits | static_cast<unsigned long>(::getpid()) : mark;
}

int try_once(FiberCore& fiber, pthread_rwlock_t& lock, Bits kind) noexcept {
    const int error = kind == reader ? WEFT_ORIGINAL(pthread_rwlock_tryrdlock)(&lock)
                                     : WEFT_ORIGINAL(pthread_rwlock_trywrlock)(&lock);
    if (error != 0) return error;
    hold(fiber);
    if (kind == writer) writing_fiber(lock).store(mark_of(fiber, lock), std::memory_order_relaxed);
    return 0;
}

int take_turn(pthread_rwlock_t& lock, Bits kind, const Until& until) noexcept {
    int error = 0;
    if (until.at == nullptr) {
        error = kind == reader ? WEFT_ORIGINAL(pthread_rwlock_rdlock)(&lock)
                               : WEFT_ORIGINAL(pthread_rwlock_wrlock)(&lock);
    } else {
        error = kind == reader
                    ? WEFT_ORIGINAL(pthread_rwlock_clockrdlock)(&lock, until.clock, until.at)
                    : WEFT_ORIGINAL(pthread_rwlock_clockwrlock)(&lock, until.clock, until.at);
    }
    if (error == 0) WEFT_ORIGINAL(pthread_rwlock_unlock)(&lock);
    return error;
}

int lock_it(FiberCore& fiber, pthread_rwlock_t& lock, Bits kind, const Until& when) noexcept {
    // libc looks at the time first, even where the lock is free.
    Moment until{when};
    if (!until.is_valid()) return EINVAL;
    int error = try_once(fiber, lock, kind);
    if (error != EBUSY) return error;
    // Written, if by this fiber, then last by it.
    if (writing_fiber(lock).load(std::memory_order_relaxed) == mark_of(fiber, lock)) return EDEADLK;
    if (is_shared(lock)) {
        return wait_for_turn(
            when, [&] { return take_turn(lock, kind, when); },
            [&] { return try_once(fiber, lock, kind); });
    }
    Sleeper sleeper{&lock, kind == reader ? "pthread_rwlock_rdlock" : "pthread_rwlock_wrlock",
                    kind};
    while (error == EBUSY) {
        const Parked parked = park_on(sleeper, until.deadline(), [&] {
            error = try_once(fiber, lock, kind);
            return error != EBUSY;
        });
        if (parked == Parked::timed_out && until.came()) return ETIMEDOUT;
        if (parked == Parked::woken) error = try_once(fiber, lock, kind);
        sleeper.again = true;
    }
    return error;
}

int held_if(int error, FiberCore& fiber) noexcept {
    if (error == 0) hold(fiber);
    return error;
}

bool is_known(clockid_t clock) noexcept {
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_rwlock_rdlock)(lock);
    if (WEFT_TAKES(pthread_rwlock_rdlock, *fiber)) {
        return lock_it(*fiber, *lock, reader, {});
    }
    return held_if(WEFT_ORIGINAL(pthread_rwlock_rdlock)(lock), *fiber);
}

int hook_pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_rwlock_wrlock)(lock);
    if (WEFT_TAKES(pthread_rwlock_wrlock, *fiber)) {
        return lock_it(*fiber, *lock, writer, {});
    }
    return held_if(WEFT_ORIGINAL(pthread_rwlock_wrlock)(lock), *fiber);
}

int hook_pthread_rwlock_tryrdlock(pthread_rwlock_t* lock) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_rwlock_tryrdlock)(lock);
    if (WEFT_TAKES(pthread_rwlock_tryrdlock, *fiber)) {
        return try_once(*fiber, *lock, reader);
    }
    return held_if(WEFT_ORIGINAL(pthread_rwlock_tryrdlock)(lock), *fiber);
}

int hook_pthread_rwlock_trywrlock(pthread_rwlock_t* lock) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_rwlock_trywrlock)(lock);
    if (WEFT_TAKES(pthread_rwlock_trywrlock, *fiber)) {
        return try_once(*fiber, *lock, writer);
    }
    return held_if(WEFT_ORIGINAL(pthread_rwlock_trywrlock)(lock), *fiber);
}

int hook_pthread_rwlock_timedrdlock(pthread_rwlock_t* lock, const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_rwlock_timedrdlock)(lock, until);
    if (WEFT_TAKES(pthread_rwlock_timedrdlock, *fiber)) {
        return lock_it(*fiber, *lock, reader, {CLOCK_REALTIME, until});
    }
    return held_if(WEFT_ORIGINAL(pthread_rwlock_timedrdlock)(lock, until), *fiber);
}

int hook_pthread_rwlock_timedwrlock(pthread_rwlock_t* lock, const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_rwlock_timedwrlock)(lock, until);
    if (WEFT_TAKES(pthread_rwlock_timedwrlock, *fiber)) {
        return lock_it(*fiber, *lock, writer, {CLOCK_REALTIME, until});
    }
    return held_if(WEFT_ORIGINAL(pthread_rwlock_timedwrlock)(lock, until), *fiber);
}

int hook_pthread_rwlock_clockrdlock(pthread_rwlock_t* lock, clockid_t clock,
                                    const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_rwlock_clockrdlock)(lock, clock, until);
    if (WEFT_TAKES(pthread_rwlock_clockrdlock, *fiber, is_known(clock))) {
        return lock_it(*fiber, *lock, reader, {clock, until});
    }
    return held_if(WEFT_ORIGINAL(pthread_rwlock_clockrdlock)(lock, clock, until), *fiber);
}

int hook_pthread_rwlock_clockwrlock(pthread_rwlock_t* lock, clockid_t clock,
                                    const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_rwlock_clockwrlock)(lock, clock, until);
    if (WEFT_TAKES(pthread_rwlock_clockwrlock, *fiber, is_known(clock))) {
        return lock_it(*fiber, *lock, writer, {clock, until});
    }
    return held_if(WEFT_ORIGINAL(pthread_rwlock_clockwrlock)(lock, clock, until), *fiber);
}

int hook_pthread_rwlock_unlock(pthread_rwlock_t* lock) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    // Whoever calls for it: weft may seem to, where a destructor ends in unlocking.
    if (FiberCore* const running = running_fiber(); running != nullptr) {
        unsigned long mine = mark_of(*running, *lock);
        writing_fiber(*lock).compare_exchange_strong(mine, 0, std::memory_order_relaxed);
    }
    const int error = WEFT_ORIGINAL(pthread_rwlock_unlock)(lock);
    freed();
    if (error != 0) return error;
    if (fiber != nullptr) let_go(*fiber);
    wake(lock, everybody, reader);
    wake(lock, 1, writer);
    return 0;
}

WEFT_OTHER_NAME(int, __pthread_rwlock_rdlock, (pthread_rwlock_t * lock), pthread_rwlock_rdlock);
WEFT_OTHER_NAME(int, __pthread_rwlock_wrlock, (pthread_rwlock_t * lock), pthread_rwlock_wrlock);
WEFT_OTHER_NAME(int, __pthread_rwlock_tryrdlock, (pthread_rwlock_t * lock),
                pthread_rwlock_tryrdlock);
WEFT_OTHER_NAME(int, __pthread_rwlock_trywrlock, (pthread_rwlock_t * lock),
                pthread_rwlock_trywrlock);
WEFT_OTHER_NAME(int, __pthread_rwlock_unlock, (pthread_rwlock_t * lock), pthread_rwlock_unlock);
