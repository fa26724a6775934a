// Layer: hooks. Uses: park.
#include "hooks/mutex.hpp"

#include "hooks/c11.hpp"
#include "hooks/turn.hpp"

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstddef>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::hooks::detail {

namespace {

static_assert(__PTHREAD_MUTEX_HAVE_PREV == 1);

// Linux gives no thread an id beyond 2^22.
constexpr int a_fiber = 1 << 30;
constexpr unsigned id_bits = 22;

// As glibc has them in __kind, beside the type and how it might be elided.
constexpr int robust_flag = 0x10;
constexpr int inheriting_flag = 0x20;
constexpr int protecting_flag = 0x40;
constexpr int shared_flag = 0x80;
constexpr int elision_flags = 0x300;

template <class T>
std::atomic_ref<T> atomic(T& value) noexcept {
    return std::atomic_ref<T>{value};
}

__pthread_internal_list* mark_of(const FiberCore& fiber, const pthread_mutex_t& mutex) noexcept {
    std::uint64_t mark = fiber.id.load(std::memory_order_relaxed);
    if (is_shared(mutex)) mark = mark << id_bits | static_cast<std::uint64_t>(::getpid());
    return reinterpret_cast<__pthread_internal_list*>(mark);
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
    atomic(data.__list.__prev).store(mark_of(fiber, mutex), std::memory_order_relaxed);
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
        const long operation = is_shared(mutex) ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE;
        WEFT_ORIGINAL(syscall)
        (SYS_futex, reinterpret_cast<long>(&data.__lock), operation, 1, 0, 0, 0);
    }
    let_go(fiber);
    wake(&mutex, 1);
    return 0;
}

// --- those that know their thread ---

bool is_robust(const pthread_mutex_t& mutex) noexcept {
    return (mutex.__data.__kind & robust_flag) != 0;
}

/// Of fibers of one worker, which one it is.
std::atomic_ref<std::uint32_t> worker_mark(pthread_mutex_t& mutex) noexcept {
    static_assert(sizeof mutex.__data.__spins + sizeof mutex.__data.__elision == 4);
    char* const unused = mutex.__size + offsetof(__pthread_mutex_s, __spins);
    return atomic(*reinterpret_cast<std::uint32_t*>(unused));
}
std::uint32_t worker_mark_of(const FiberCore& fiber) noexcept {
    return static_cast<std::uint32_t>(fiber.id.load(std::memory_order_relaxed));
}

/// The calling one, or the worker that a fiber runs on.
bool is_held_by_thread(pthread_mutex_t& mutex) noexcept {
    const int word = atomic(mutex.__data.__lock).load(std::memory_order_relaxed);
    return (word & FUTEX_TID_MASK) == ::gettid();
}

/// Zero: of none that marks what it locks.
bool is_held_by_another_of_worker(const FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    const std::uint32_t mark = worker_mark(mutex).load(std::memory_order_relaxed);
    return mark != 0 && mark != worker_mark_of(fiber) && is_held_by_thread(mutex);
}

// Not PRIVATE, for the kernel's are not either.
void wake_word(pthread_mutex_t& mutex, int most) noexcept {
    WEFT_ORIGINAL(syscall)
    (SYS_futex, reinterpret_cast<long>(&mutex.__data.__lock), FUTEX_WAKE, most, 0, 0, 0);
}

/// glibc's trylock says ENOTRECOVERABLE with the word taken, and leaves it so.
void free_lost(pthread_mutex_t& mutex) noexcept {
    if (!is_held_by_thread(mutex)) return;
    atomic(mutex.__data.__lock).store(0, std::memory_order_release);
    wake_word(mutex, INT_MAX);
}

int try_on_thread(const FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    if (is_held_by_another_of_worker(fiber, mutex)) return EBUSY;
    const int error = WEFT_ORIGINAL(pthread_mutex_trylock)(&mutex);
    if (error == ENOTRECOVERABLE) free_lost(mutex);
    if (error == 0 || error == EOWNERDEAD) {
        worker_mark(mutex).store(worker_mark_of(fiber), std::memory_order_relaxed);
    }
    return error;
}

/// Of what libc's function did, which knows nothing of marks: notes that the fiber holds it, and
/// not whom the mark names that held it before. One that it locked once more keeps its mark.
int held_by_libcs(int error, FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    const bool is_new = (error == 0 || error == EOWNERDEAD) && mutex.__data.__count <= 1;
    if (is_new && kind_of(mutex) == MutexKind::by_thread) {
        worker_mark(mutex).store(worker_mark_of(fiber), std::memory_order_relaxed);
    }
    return held_if(error, fiber);
}

int unlock_on_thread(const FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    if (is_held_by_another_of_worker(fiber, mutex)) return EPERM;
    if (mutex.__data.__count <= 1 && is_held_by_thread(mutex)) {
        worker_mark(mutex).store(0, std::memory_order_relaxed);
    }
    return WEFT_ORIGINAL(pthread_mutex_unlock)(&mutex);
}

// --- waiting ---

/// A turn: the mutex was free.
int take_turn(pthread_mutex_t& mutex, const Until& until) noexcept {
    const int error = until.at == nullptr
                          ? WEFT_ORIGINAL(pthread_mutex_lock)(&mutex)
                          : WEFT_ORIGINAL(pthread_mutex_clocklock)(&mutex, until.clock, until.at);
    if (error == 0) WEFT_ORIGINAL(pthread_mutex_unlock)(&mutex);
    return error;
}

/// The same for a robust one, of which a turn is not to be taken. Who frees it, or the kernel when
/// its owner dies, wakes one of those who sleep if the word says that there are any.
int sleep_while_held(pthread_mutex_t& mutex, const Until& until) noexcept {
    auto word = atomic(mutex.__data.__lock);
    int seen = word.load(std::memory_order_relaxed);
    const int waited_for = seen | static_cast<int>(FUTEX_WAITERS);
    if ((seen & FUTEX_TID_MASK) == 0) return 0;
    if (!word.compare_exchange_strong(seen, waited_for, std::memory_order_relaxed)) return 0;
    if (until.at != nullptr && until.at->tv_sec < 0) return ETIMEDOUT;  // EINVAL, to a futex
    const long operation =
        FUTEX_WAIT_BITSET | (until.clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0);
    const long result = WEFT_ORIGINAL(syscall)(
        SYS_futex, reinterpret_cast<long>(&mutex.__data.__lock), operation, waited_for,
        reinterpret_cast<long>(until.at), 0, static_cast<long>(FUTEX_BITSET_MATCH_ANY));
    // The fiber may be long in coming: whoever sleeps here, too, is to look as well.
    if (result == 0) wake_word(mutex, 1);
    return result < 0 && errno == ETIMEDOUT ? ETIMEDOUT : 0;
}

template <class Attempt>
int wait_by_thread(pthread_mutex_t& mutex, const Until& until, Attempt&& attempt) noexcept {
    if (!Moment{until}.is_valid()) return EINVAL;
    if (!is_robust(mutex))
        return wait_for_turn(
            until, [&] { return take_turn(mutex, until); }, attempt);
    const int error = wait_for_turn(
        until, [&] { return sleep_while_held(mutex, until); }, attempt);
    // Others may sleep on, who were counted in the word by a mark that is gone.
    if (error == 0 || error == EOWNERDEAD) {
        atomic(mutex.__data.__lock)
            .fetch_or(static_cast<int>(FUTEX_WAITERS), std::memory_order_relaxed);
    }
    return error;
}

/// Until `attempt()` is no longer EBUSY, and returns that; or ETIMEDOUT.
template <class Attempt>
int wait_for(pthread_mutex_t& mutex, const Until& when, Attempt&& attempt) noexcept {
    if (is_shared(mutex) || kind_of(mutex) == MutexKind::by_thread) {
        return wait_by_thread(mutex, when, attempt);
    }
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
    const int kind = mutex.__data.__kind & ~(elision_flags | shared_flag);
    const int known = kind & (robust_flag | inheriting_flag | protecting_flag);
    if (known == robust_flag || known == inheriting_flag) return MutexKind::by_thread;
    switch (kind) {
        case PTHREAD_MUTEX_NORMAL:
        case PTHREAD_MUTEX_ADAPTIVE_NP: return MutexKind::normal;
        case PTHREAD_MUTEX_RECURSIVE: return MutexKind::recursive;
        case PTHREAD_MUTEX_ERRORCHECK: return MutexKind::checking;
        default: return MutexKind::libcs;
    }
}

bool is_shared(const pthread_mutex_t& mutex) noexcept {
    return (mutex.__data.__kind & shared_flag) != 0;
}

bool owns(const FiberCore& fiber, const pthread_mutex_t& its) noexcept {
    auto& mutex = const_cast<pthread_mutex_t&>(its);
    auto& data = mutex.__data;
    const MutexKind kind = kind_of(mutex);
    if (kind == MutexKind::by_thread) {
        return is_held_by_thread(mutex) && !is_held_by_another_of_worker(fiber, mutex);
    }
    return (kind == MutexKind::recursive || kind == MutexKind::checking) &&
           atomic(data.__owner).load(std::memory_order_relaxed) == a_fiber &&
           atomic(data.__list.__prev).load(std::memory_order_relaxed) == mark_of(fiber, mutex);
}

int lock(FiberCore& fiber, pthread_mutex_t& mutex, const Until& until) noexcept {
    const MutexKind kind = kind_of(mutex);
    if (kind == MutexKind::normal) {
        int error = try_word(mutex);
        // An allocator that weft asks as it makes the fiber wait: that is not to wait again.
        if (error == EBUSY && fiber.word().waiting())
            error = WEFT_ORIGINAL(pthread_mutex_lock)(&mutex);
        if (error == EBUSY) error = wait_for(mutex, until, [&] { return try_word(mutex); });
        return held_if(error, fiber);
    }
    if (kind == MutexKind::by_thread) {
        const auto attempt = [&] { return try_on_thread(fiber, mutex); };
        const int error = attempt();
        return held_if(error == EBUSY ? wait_for(mutex, until, attempt) : error, fiber);
    }
    if (owns(fiber, mutex)) return lock_again(mutex, EDEADLK);
    int error = try_owned(mutex);
    if (error == EBUSY) error = wait_for(mutex, until, [&] { return try_owned(mutex); });
    if (error != 0) return error;
    begin_owning(fiber, mutex);
    hold(fiber);
    return 0;
}

void lend_to_thread(pthread_mutex_t& mutex) noexcept {
    auto& data = mutex.__data;
    atomic(data.__list.__prev).store(nullptr, std::memory_order_relaxed);
    atomic(data.__owner).store(::gettid(), std::memory_order_relaxed);
}

void take_back(const FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    auto& data = mutex.__data;
    if (kind_of(mutex) == MutexKind::checking) data.__count = 1;  // which libc does not keep there
    atomic(data.__list.__prev).store(mark_of(fiber, mutex), std::memory_order_relaxed);
    atomic(data.__owner).store(a_fiber, std::memory_order_relaxed);
}

int try_lock(FiberCore& fiber, pthread_mutex_t& mutex) noexcept {
    const MutexKind kind = kind_of(mutex);
    if (kind == MutexKind::normal) return held_if(try_word(mutex), fiber);
    if (kind == MutexKind::by_thread) return held_if(try_on_thread(fiber, mutex), fiber);
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
    const bool by_thread = kind_of(mutex) == MutexKind::by_thread;
    if (running != nullptr && !by_thread && owns(*running, mutex)) {
        return unlock_owned(*running, mutex);
    }
    const int error = running != nullptr && by_thread ? unlock_on_thread(*running, mutex)
                                                      : WEFT_ORIGINAL(pthread_mutex_unlock)(&mutex);
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
    return held_by_libcs(WEFT_ORIGINAL(pthread_mutex_lock)(mutex), *fiber, *mutex);
}

int hook_pthread_mutex_trylock(pthread_mutex_t* mutex) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_mutex_trylock)(mutex);
    if (WEFT_TAKES(pthread_mutex_trylock, *fiber, can_take(*mutex))) {
        return try_lock(*fiber, *mutex);
    }
    return held_by_libcs(WEFT_ORIGINAL(pthread_mutex_trylock)(mutex), *fiber, *mutex);
}

int hook_pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_mutex_timedlock)(mutex, until);
    if (WEFT_TAKES(pthread_mutex_timedlock, *fiber, can_take(*mutex))) {
        return lock(*fiber, *mutex, {CLOCK_REALTIME, until});
    }
    return held_by_libcs(WEFT_ORIGINAL(pthread_mutex_timedlock)(mutex, until), *fiber, *mutex);
}

int hook_pthread_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    if (fiber == nullptr) return WEFT_ORIGINAL(pthread_mutex_clocklock)(mutex, clock, until);
    const bool is_known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
    if (WEFT_TAKES(pthread_mutex_clocklock, *fiber, is_known && can_take(*mutex))) {
        return lock(*fiber, *mutex, {clock, until});
    }
    return held_by_libcs(WEFT_ORIGINAL(pthread_mutex_clocklock)(mutex, clock, until), *fiber,
                         *mutex);
}

int hook_pthread_mutex_unlock(pthread_mutex_t* mutex) {
    return unlock(WEFT_FOREIGN_FIBER(), *mutex);
}

WEFT_OTHER_NAME(int, __pthread_mutex_lock, (pthread_mutex_t * mutex), pthread_mutex_lock);
WEFT_OTHER_NAME(int, __pthread_mutex_trylock, (pthread_mutex_t * mutex), pthread_mutex_trylock);
WEFT_OTHER_NAME(int, __pthread_mutex_unlock, (pthread_mutex_t * mutex), pthread_mutex_unlock);

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
