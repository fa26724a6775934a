// The rows of locks, and of the system call beneath them.
#include "hooks/rows/rows.hpp"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>

#include <climits>
#include <cstdint>
#include <cstring>

namespace weft::test {

namespace {

const timespec past{1, 0};
const timespec wrong_time{1, 1'000'000'000};

template <class Object, auto init, auto destroy>
struct Made {
    Made() { init(&object, nullptr); }
    Made(const Made&) = delete;
    Made& operator=(const Made&) = delete;
    ~Made() { destroy(&object); }
    Object object;
};
using Mutex = Made<pthread_mutex_t, &::pthread_mutex_init, &::pthread_mutex_destroy>;
using Condition = Made<pthread_cond_t, &::pthread_cond_init, &::pthread_cond_destroy>;
using SharedLock = Made<pthread_rwlock_t, &::pthread_rwlock_init, &::pthread_rwlock_destroy>;

struct PlainMutex {
    PlainMutex() { ::mtx_init(&object, mtx_timed); }
    PlainMutex(const PlainMutex&) = delete;
    PlainMutex& operator=(const PlainMutex&) = delete;
    ~PlainMutex() { ::mtx_destroy(&object); }
    mtx_t object;
};
struct PlainCondition {
    PlainCondition() { ::cnd_init(&object); }
    PlainCondition(const PlainCondition&) = delete;
    PlainCondition& operator=(const PlainCondition&) = delete;
    ~PlainCondition() { ::cnd_destroy(&object); }
    cnd_t object;
};
struct Semaphore {
    explicit Semaphore(unsigned value) { ::sem_init(&object, 0, value); }
    Semaphore(const Semaphore&) = delete;
    Semaphore& operator=(const Semaphore&) = delete;
    ~Semaphore() { ::sem_destroy(&object); }
    sem_t object;
};

/// What takes a lock that nobody has, as `call(lock)`; `release` gives it back.
template <class Lock, class Call, class Release>
void locks_free(Seen& seen, Call&& call, Release&& release) {
    Lock lock;
    for (int i = 0; i < 2; ++i) {
        seen.of("free", [&] { return call(&lock.object); });
        seen.of("released", [&] { return release(&lock.object); });
    }
}

/// The same where it is not waited for: somebody else has it.
template <class Lock, class Take, class Call, class Release>
void locks_in_vain(Seen& seen, Take&& take, Call&& call, Release&& release) {
    locks_free<Lock>(seen, call, release);
    Lock lock;
    take(&lock.object);
    Beside other{[&] { seen.of("taken", [&] { return call(&lock.object); }); }};
    other.join();
    release(&lock.object);
}

/// And until a time, as `call(lock, until)`.
template <class Lock, class Take, class Call, class Release>
void locks_until(Seen& seen, Take&& take, Call&& call, Release&& release) {
    for (const timespec* const until : {&past, &wrong_time}) {
        locks_in_vain<Lock>(
            seen, take, [&](auto* lock) { return call(lock, until); }, release);
    }
}

/// As `call(condition, mutex)`, which another one ends by `wake(condition)`.
template <class Condition, class Mutex, class Call, class Wake>
void waits(Seen& seen, Call&& call, Wake&& wake) {
    Mutex mutex;
    Condition condition;
    const auto lock = [&] {
        if constexpr (std::is_same_v<Mutex, PlainMutex>) {
            ::mtx_lock(&mutex.object);
        } else {
            ::pthread_mutex_lock(&mutex.object);
        }
    };
    const auto unlock = [&] {
        if constexpr (std::is_same_v<Mutex, PlainMutex>) {
            ::mtx_unlock(&mutex.object);
        } else {
            ::pthread_mutex_unlock(&mutex.object);
        }
    };
    seen.of("nobody waits", [&] { return wake(&condition.object); });
    lock();
    Beside waker{[&] {
        lock();
        seen.of("woken", [&] { return wake(&condition.object); });
        unlock();
    }};
    const int result = call(&condition.object, &mutex.object);
    unlock();
    waker.join();
    seen.note("result", result);
}

/// As `call(condition, mutex, until)`, which nobody ends.
template <class Condition, class Mutex, class Call>
void waits_until(Seen& seen, Call&& call) {
    for (const timespec* const until : {&past, &wrong_time}) {
        Mutex mutex;
        Condition condition;
        if constexpr (std::is_same_v<Mutex, PlainMutex>) {
            ::mtx_lock(&mutex.object);
        } else {
            ::pthread_mutex_lock(&mutex.object);
        }
        seen.of("in vain", [&] { return call(&condition.object, &mutex.object, until); });
        if constexpr (std::is_same_v<Mutex, PlainMutex>) {
            ::mtx_unlock(&mutex.object);
        } else {
            ::pthread_mutex_unlock(&mutex.object);
        }
    }
}

/// As `call(semaphore)`, which finds two units.
template <class Call>
void takes_unit(Seen& seen, Call&& call) {
    Semaphore semaphore{2};
    for (int i = 0; i < 2; ++i) seen.of("a unit", [&] { return call(&semaphore.object); });
    int left = -1;
    ::sem_getvalue(&semaphore.object, &left);
    seen.note("left", left);
}

/// As `call(semaphore, until)`.
template <class Call>
void takes_unit_until(Seen& seen, Call&& call) {
    for (const timespec* const until : {&past, &wrong_time}) {
        takes_unit(seen, [&](sem_t* semaphore) { return call(semaphore, until); });
        Semaphore none{0};
        seen.of("none", [&] { return call(&none.object, until); });
    }
}

}  // namespace

#define WEFT_LOCK_ROW(name, kind, lock, release)                                \
    WEFT_ROW(name) {                                                            \
        locks_free<lock>(                                                       \
            seen, [](auto* object) { return row_##name(object); }, &::release); \
    }
#define WEFT_TRY_ROW(name, lock, take, release)                                          \
    WEFT_ROW(name) {                                                                     \
        locks_in_vain<lock>(                                                             \
            seen, &::take, [](auto* object) { return row_##name(object); }, &::release); \
    }
#define WEFT_TIMED_ROW(name, lock, take, release)                                          \
    WEFT_ROW(name) {                                                                       \
        locks_until<lock>(                                                                 \
            seen, &::take,                                                                 \
            [](auto* object, const timespec* until) { return row_##name(object, until); }, \
            &::release);                                                                   \
    }
#define WEFT_CLOCK_ROW(name, lock, take, release)                             \
    WEFT_ROW(name) {                                                          \
        for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, 77}) { \
            locks_until<lock>(                                                \
                seen, &::take,                                                \
                [=](auto* object, const timespec* until) {                    \
                    return row_##name(object, clock, until);                  \
                },                                                            \
                &::release);                                                  \
        }                                                                     \
    }
WEFT_LOCK_ROW(pthread_mutex_lock, , Mutex, pthread_mutex_unlock)
WEFT_TRY_ROW(pthread_mutex_trylock, Mutex, pthread_mutex_lock, pthread_mutex_unlock)
WEFT_TIMED_ROW(pthread_mutex_timedlock, Mutex, pthread_mutex_lock, pthread_mutex_unlock)
WEFT_CLOCK_ROW(pthread_mutex_clocklock, Mutex, pthread_mutex_lock, pthread_mutex_unlock)
WEFT_ROW(pthread_mutex_unlock) {
    locks_free<Mutex>(seen, &::pthread_mutex_lock,
                      [](auto* mutex) { return row_pthread_mutex_unlock(mutex); });
}
WEFT_LOCK_ROW(__pthread_mutex_lock, , Mutex, pthread_mutex_unlock)
WEFT_TRY_ROW(__pthread_mutex_trylock, Mutex, pthread_mutex_lock, pthread_mutex_unlock)
WEFT_ROW(__pthread_mutex_unlock) {
    locks_free<Mutex>(seen, &::pthread_mutex_lock,
                      [](auto* mutex) { return row___pthread_mutex_unlock(mutex); });
}
WEFT_LOCK_ROW(pthread_rwlock_rdlock, , SharedLock, pthread_rwlock_unlock)
WEFT_LOCK_ROW(pthread_rwlock_wrlock, , SharedLock, pthread_rwlock_unlock)
WEFT_TRY_ROW(pthread_rwlock_tryrdlock, SharedLock, pthread_rwlock_wrlock, pthread_rwlock_unlock)
WEFT_TRY_ROW(pthread_rwlock_trywrlock, SharedLock, pthread_rwlock_rdlock, pthread_rwlock_unlock)
WEFT_TIMED_ROW(pthread_rwlock_timedrdlock, SharedLock, pthread_rwlock_wrlock, pthread_rwlock_unlock)
WEFT_TIMED_ROW(pthread_rwlock_timedwrlock, SharedLock, pthread_rwlock_rdlock, pthread_rwlock_unlock)
WEFT_CLOCK_ROW(pthread_rwlock_clockrdlock, SharedLock, pthread_rwlock_wrlock, pthread_rwlock_unlock)
WEFT_CLOCK_ROW(pthread_rwlock_clockwrlock, SharedLock, pthread_rwlock_rdlock, pthread_rwlock_unlock)
WEFT_ROW(pthread_rwlock_unlock) {
    locks_free<SharedLock>(seen, &::pthread_rwlock_wrlock,
                           [](auto* lock) { return row_pthread_rwlock_unlock(lock); });
}
WEFT_LOCK_ROW(__pthread_rwlock_rdlock, , SharedLock, pthread_rwlock_unlock)
WEFT_LOCK_ROW(__pthread_rwlock_wrlock, , SharedLock, pthread_rwlock_unlock)
WEFT_TRY_ROW(__pthread_rwlock_tryrdlock, SharedLock, pthread_rwlock_wrlock, pthread_rwlock_unlock)
WEFT_TRY_ROW(__pthread_rwlock_trywrlock, SharedLock, pthread_rwlock_rdlock, pthread_rwlock_unlock)
WEFT_ROW(__pthread_rwlock_unlock) {
    locks_free<SharedLock>(seen, &::pthread_rwlock_wrlock,
                           [](auto* lock) { return row___pthread_rwlock_unlock(lock); });
}
WEFT_LOCK_ROW(mtx_lock, , PlainMutex, mtx_unlock)
WEFT_TRY_ROW(mtx_trylock, PlainMutex, mtx_lock, mtx_unlock)
WEFT_TIMED_ROW(mtx_timedlock, PlainMutex, mtx_lock, mtx_unlock)
WEFT_ROW(mtx_unlock) {
    locks_free<PlainMutex>(seen, &::mtx_lock, [](auto* mutex) { return row_mtx_unlock(mutex); });
}

WEFT_ROW(pthread_cond_wait) {
    waits<Condition, Mutex>(
        seen, [](auto&&... arguments) { return row_pthread_cond_wait(arguments...); },
        &::pthread_cond_signal);
}
WEFT_ROW(pthread_cond_signal) {
    waits<Condition, Mutex>(seen, &::pthread_cond_wait,
                            [](auto* condition) { return row_pthread_cond_signal(condition); });
}
WEFT_ROW(pthread_cond_broadcast) {
    waits<Condition, Mutex>(seen, &::pthread_cond_wait,
                            [](auto* condition) { return row_pthread_cond_broadcast(condition); });
}
WEFT_ROW(pthread_cond_timedwait) {
    waits_until<Condition, Mutex>(
        seen, [](auto&&... arguments) { return row_pthread_cond_timedwait(arguments...); });
}
WEFT_ROW(pthread_cond_clockwait) {
    for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, 77}) {
        waits_until<Condition, Mutex>(
            seen, [=](auto* condition, auto* mutex, const timespec* until) {
                return row_pthread_cond_clockwait(condition, mutex, clock, until);
            });
    }
}
WEFT_ROW(cnd_wait) {
    waits<PlainCondition, PlainMutex>(
        seen, [](auto&&... arguments) { return row_cnd_wait(arguments...); }, &::cnd_signal);
}
WEFT_ROW(cnd_signal) {
    waits<PlainCondition, PlainMutex>(seen, &::cnd_wait,
                                      [](auto* condition) { return row_cnd_signal(condition); });
}
WEFT_ROW(cnd_broadcast) {
    waits<PlainCondition, PlainMutex>(seen, &::cnd_wait,
                                      [](auto* condition) { return row_cnd_broadcast(condition); });
}
WEFT_ROW(cnd_timedwait) {
    waits_until<PlainCondition, PlainMutex>(
        seen, [](auto&&... arguments) { return row_cnd_timedwait(arguments...); });
}

WEFT_ROW(sem_wait) {
    takes_unit(seen, [](sem_t* semaphore) { return row_sem_wait(semaphore); });
}
WEFT_ROW(sem_timedwait) {
    takes_unit_until(seen, [](auto&&... arguments) { return row_sem_timedwait(arguments...); });
}
WEFT_ROW(sem_clockwait) {
    for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, 77}) {
        takes_unit_until(seen, [=](sem_t* semaphore, const timespec* until) {
            return row_sem_clockwait(semaphore, clock, until);
        });
    }
}
WEFT_ROW(sem_post) {
    Semaphore semaphore{SEM_VALUE_MAX - 1};
    for (int i = 0; i < 2; ++i) seen.of("post", [&] { return row_sem_post(&semaphore.object); });
}

WEFT_ROW(pthread_barrier_init) {
    pthread_barrier_t barrier;
    for (const unsigned parties : {0U, 1U, ~0U}) {
        seen.of("init", [&] { return row_pthread_barrier_init(&barrier, nullptr, parties); });
    }
}
WEFT_ROW(pthread_barrier_wait) {
    pthread_barrier_t barrier;
    ::pthread_barrier_init(&barrier, nullptr, 2);
    for (int round = 0; round < 2; ++round) {
        int one = 0;
        Beside other{[&] { one = row_pthread_barrier_wait(&barrier); }};
        const int two = row_pthread_barrier_wait(&barrier);
        other.join();
        seen.note("one of both", one + two);
    }
    ::pthread_barrier_destroy(&barrier);
}
WEFT_ROW(pthread_barrier_destroy) {
    pthread_barrier_t barrier;
    ::pthread_barrier_init(&barrier, nullptr, 1);
    ::pthread_barrier_wait(&barrier);
    seen.of("destroy", [&] { return row_pthread_barrier_destroy(&barrier); });
}
WEFT_ROW(pthread_spin_lock) {
    pthread_spinlock_t lock;
    ::pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE);
    seen.of("lock", [&] { return row_pthread_spin_lock(&lock); });
    seen.of("taken", [&] { return ::pthread_spin_trylock(&lock); });
    ::pthread_spin_unlock(&lock);
}
WEFT_ROW(sched_yield) {
    seen.of("yield", [] { return row_sched_yield(); });
}
WEFT_ROW(__sched_yield) {
    seen.of("yield", [] { return row___sched_yield(); });
}
WEFT_ROW(thrd_yield) {
    row_thrd_yield();
    seen.note("came back", 1);
}

WEFT_ROW(syscall) {
    seen.of("none", [] { return row_syscall(100'000, 0, 0, 0, 0, 0, 0); });
    std::uint32_t word = 5;
    const auto futex = [](const void* at, int operation, long value, const timespec* time) {
        return row_syscall(SYS_futex, reinterpret_cast<long>(at), operation, value,
                           reinterpret_cast<long>(time), 0, 0);
    };
    const timespec brief{0, 1'000'000};
    for (const int kind : {0, FUTEX_PRIVATE_FLAG}) {
        seen.of("another value", [&] { return futex(&word, FUTEX_WAIT | kind, 4, nullptr); });
        seen.of("in vain", [&] { return futex(&word, FUTEX_WAIT | kind, 5, &brief); });
        seen.of("wrong", [&] { return futex(&word, FUTEX_WAIT | kind, 5, &wrong_time); });
        seen.of("nobody", [&] { return futex(&word, FUTEX_WAKE | kind, 1, nullptr); });
        const char* const odd = reinterpret_cast<const char*>(&word) + 1;
        seen.of("not aligned", [&] { return futex(odd, FUTEX_WAIT | kind, 5, &brief); });
    }
    seen.of("no operation", [&] { return futex(&word, 77, 0, nullptr); });
}

}  // namespace weft::test
