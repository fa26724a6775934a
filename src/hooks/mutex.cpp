// Layer: hooks. Uses: park.
#include "hooks/mutex.hpp"

#include "hooks/c11.hpp"

#include <atomic>
#include <cerrno>
#include <climits>

#include <linux/futex.h>
#include <sys/syscall.h>

namespace weft::hooks::detail {

namespace {

static_assert(__PTHREAD_MUTEX_HAVE_PREV == 1);

// Linux gives no thread an id beyond 2^22.
constexpr int a_fiber = 1 << 30;

template <class T>
std::atomic_ref<T> atomic(T& value) noexcept {
    return std::atomic_ref<T>{value};
}

__pthread_internal_list* mark_of(const FiberCore& fiber) noexcept {
    return reinterpret_cast<__pthread_internal_list*>(fiber.id.load(std::memory_order_relaxed));
}

// --- normal ones ---

int try_word(pthread_mutex_t& mutex) noexcept {
    return WEFT_ORIGINAL(pthread_mutex_trylock)(&mutex);
}

// --- those with an owner ---

bool try_owned_word(pthread_mutex_t& mutex) noexcept {
    int free = 0;
    return atomic(mutex.__data.__lock)
        .compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed);
}

int try_owned(pthread_mutex_t& mutex) noexcept { return try_owned_word(mutex) ? 0 : EBUSY; }

// The word is the fiber's. Others look at these fields, but find themselves there only if
// they wrote that themselves.
void begin_owning(const FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    auto& data = mutex.__data;
    atomic(data.__list.__prev).store(mark_of(fiber), std::memory_order_relaxed);
    atomic(data.__owner).store(a_fiber, std::memory_order_relaxed);
    data.__count = 1;
    ++data.__nusers;
}

int lock_again(pthread_mutex_t& mutex, int when_checking) noexcept {
    auto& data = mutex.__data;
    if (kind_of(mutex) == MutexKind::checking) return when_checking;
    if (data.__count == UINT_MAX) return EAGAIN;
    ++data.__count;
    return 0;
}

int unlock_owned(FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    auto& data = mutex.__data;
    if (--data.__count != 0) return 0;
    --data.__nusers;
    atomic(data.__owner).store(0, std::memory_order_relaxed);
    atomic(data.__list.__prev).store(nullptr, std::memory_order_relaxed);
    // seq_cst: pairs with park_on(). 2: a thread sleeps on it, or may.
    if (atomic(data.__lock).exchange(0, std::memory_order_seq_cst) == 2) {
        WEFT_ORIGINAL(syscall)
        (SYS_futex, reinterpret_cast<long>(&data.__lock), FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    }
    let_go(fiber);
    wake(&mutex, 1);
    return 0;
}

/// Parks until `attempt()` is no longer EBUSY, and returns that; or ETIMEDOUT.
template <class Attempt>
int wait_for(pthread_mutex_t& mutex, const Until& when, Attempt&& attempt) noexcept {
    Moment until{when};
    if (!until.is_valid()) return EINVAL;
    int error = EBUSY;
    Sleeper sleeper{&mutex, "pthread_mutex_lock"};
    while (error == EBUSY) {
        const Parked parked = park_on(sleeper, until.deadline(), [&] {
            error = attempt();
            return error != EBUSY;
        });
        if (parked == Parked::timed_out && until.came()) return ETIMEDOUT;
        if (parked == Parked::woken) error = attempt();
        sleeper.again = true;
    }
    return error;
}

}  // namespace

MutexKind kind_of(const pthread_mutex_t& mutex) noexcept {
    // Without what says how it might be elided.
    switch (mutex.__data.__kind & ~0x300) {
        case PTHREAD_MUTEX_NORMAL:
        case PTHREAD_MUTEX_ADAPTIVE_NP: return MutexKind::normal;
        case PTHREAD_MUTEX_RECURSIVE: return MutexKind::recursive;
        case PTHREAD_MUTEX_ERRORCHECK: return MutexKind::checking;
        default: return MutexKind::libcs;
    }
}

bool owns(const FiberCore& fiber, const pthread_mutex_t& mutex) noexcept {
    auto& data = const_cast<pthread_mutex_t&>(mutex).__data;
    const MutexKind kind = kind_of(mutex);
    return (kind == MutexKind::recursive || kind == MutexKind::checking) &&
           atomic(data.__owner).load(std::memory_order_relaxed) == a_fiber &&
           atomic(data.__list.__prev).load(std::memory_order_relaxed) == mark_of(fiber);
}

int lock(FiberCore& fiber, pthread_mutex_t& mutex, const Until& until) noexcept {
    if (kind_of(mutex) == MutexKind::normal) {
        int error = try_word(mutex);
        // An allocator that weft asks as it makes the fiber wait: that is not to wait again.
        if (error == EBUSY && fiber.word().waiting())
            error = WEFT_ORIGINAL(pthread_mutex_lock)(&mutex);
        if (error == EBUSY) error = wait_for(mutex, until, [&] { return try_word(mutex); });
        if (error == 0) hold(fiber);
        return error;
    }
    if (owns(fiber, mutex)) return lock_again(mutex, EDEADLK);
    int error = try_owned(mutex);
    if (error == EBUSY) error = wait_for(mutex, until, [&] { return try_owned(mutex); });
    if (error != 0) return error;
    begin_owning(fiber, mutex);
    hold(fiber);
    return 0;
}

int try_lock(FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    if (kind_of(mutex) == MutexKind::normal) {
        const int error = try_word(mutex);
        if (error == 0) hold(fiber);
        return error;
    }
    if (owns(fiber, mutex)) return lock_again(mutex, EBUSY);
    if (!try_owned_word(mutex)) return EBUSY;
    begin_owning(fiber, mutex);
    hold(fiber);
    return 0;
}

int held_if(int error, FiberCore& fiber) noexcept {
    if (error == 0 || error == EOWNERDEAD) hold(fiber);
    return error;
}

int unlock(FiberCore* fiber, pthread_mutex_t& mutex) noexcept {
    // Whoever calls for it: weft may seem to, where a destructor ends in unlocking.
    FiberCore* const running = running_fiber();
    if (running != nullptr && owns(*running, mutex)) return unlock_owned(*running, mutex);
    const int error = WEFT_ORIGINAL(pthread_mutex_unlock)(&mutex);
    freed();
    if (error != 0) return error;
    if (fiber != nullptr) let_go(*fiber);
    wake(&mutex, 1);
    return 0;
}

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

namespace {

bool can_take(const pthread_mutex_t& mutex) noexcept { return kind_of(mutex) != MutexKind::libcs; }

}  // namespace

int hook_pthread_mutex_lock(pthread_mutex_t* mutex) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_mutex_lock)(mutex);
    if (WEFT_TAKES(pthread_mutex_lock, *fiber, can_take(*mutex))) return lock(*fiber, *mutex, {});
    return held_if(WEFT_ORIGINAL(pthread_mutex_lock)(mutex), *fiber);
}

int hook_pthread_mutex_trylock(pthread_mutex_t* mutex) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_mutex_trylock)(mutex);
    if (WEFT_TAKES(pthread_mutex_trylock, *fiber, can_take(*mutex))) {
        return try_lock(*fiber, *mutex);
    }
    return held_if(WEFT_ORIGINAL(pthread_mutex_trylock)(mutex), *fiber);
}

int hook_pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_mutex_timedlock)(mutex, until);
    if (WEFT_TAKES(pthread_mutex_timedlock, *fiber, can_take(*mutex))) {
        return lock(*fiber, *mutex, {CLOCK_REALTIME, until});
    }
    return held_if(WEFT_ORIGINAL(pthread_mutex_timedlock)(mutex, until), *fiber);
}

int hook_pthread_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_mutex_clocklock)(mutex, clock, until);
    const bool is_known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
    if (WEFT_TAKES(pthread_mutex_clocklock, *fiber, is_known && can_take(*mutex))) {
        return lock(*fiber, *mutex, {clock, until});
    }
    return held_if(WEFT_ORIGINAL(pthread_mutex_clocklock)(mutex, clock, until), *fiber);
}

int hook_pthread_mutex_unlock(pthread_mutex_t* mutex) {
    return unlock(WEFT_FOREIGN_FIBER(), *mutex);
}

// --- those of C11 ---

int hook_mtx_lock(mtx_t* mutex) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(mtx_lock)(mutex);
    if (WEFT_TAKES(mtx_lock, *fiber)) return thrd_result(lock(*fiber, pthreads(*mutex), {}));
    return held_if(WEFT_ORIGINAL(mtx_lock)(mutex), *fiber);
}

int hook_mtx_trylock(mtx_t* mutex) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(mtx_trylock)(mutex);
    if (WEFT_TAKES(mtx_trylock, *fiber)) return thrd_result(try_lock(*fiber, pthreads(*mutex)));
    return held_if(WEFT_ORIGINAL(mtx_trylock)(mutex), *fiber);
}

int hook_mtx_timedlock(mtx_t* mutex, const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(mtx_timedlock)(mutex, until);
    if (WEFT_TAKES(mtx_timedlock, *fiber)) {
        return thrd_result(lock(*fiber, pthreads(*mutex), {CLOCK_REALTIME, until}));
    }
    return held_if(WEFT_ORIGINAL(mtx_timedlock)(mutex, until), *fiber);
}

int hook_mtx_unlock(mtx_t* mutex) {
    return thrd_result(unlock(WEFT_FOREIGN_FIBER(), pthreads(*mutex)));
}
