// Every class of sync that one can wait for, behind one face, so that what holds
// of every wait is asked of each by the same test.
//
// A subject is made for a number of waiters and has, for the one who made it,
//   wake()        ends one wait or all; the last thing the maker does with it
//                 unless it wakes one at a time
// and for the waiters
//   wait(deadline, served)   true when woken, having called served(); takes
//                            nothing with it. False at the deadline.
// and, where nothing is kept for those who come late,
//   arrived()     how many are queued by now.
#pragma once

#include <weft/barrier.hpp>
#include <weft/bounded_semaphore.hpp>
#include <weft/condition.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/lock.hpp>
#include <weft/once.hpp>
#include <weft/rlock.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_lock.hpp>
#include <weft/wait_group.hpp>

#include <cstddef>
#include <mutex>
#include <shared_mutex>
#include <utility>

namespace weft::test {

/// Whom a wake() serves: the first waiter; all at once; all, one after the other.
enum class Serves { one, all, in_turn };

// --- waits that take what they waited for ---

class SemaphoreWait {
public:
    static constexpr Serves serves = Serves::one;
    explicit SemaphoreWait(int) {}

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        if (!units_.acquire(deadline)) return false;
        served();
        return true;
    }
    void wake() { units_.release(); }

private:
    Semaphore units_{0};
};

class BoundedSemaphoreWait {
public:
    static constexpr Serves serves = Serves::one;
    explicit BoundedSemaphoreWait(int waiters) : units_{waiters} {
        for (int i = 0; i < waiters; ++i) units_.acquire();
    }

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        if (!units_.acquire(deadline)) return false;
        served();
        return true;
    }
    void wake() { units_.release(); }

private:
    BoundedSemaphore units_;
};

/// With either lock, bound to it or not.
template <class AnyLock, bool bound>
class ConditionWait {
public:
    static constexpr Serves serves = Serves::one;
    explicit ConditionWait(int) {}

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        const std::lock_guard hold{lock_};
        ++arrived_;
        const bool woken = bound ? condition_.wait(deadline) : condition_.wait(lock_, deadline);
        if (woken) served();
        return woken;
    }
    void wake() {
        const std::lock_guard hold{lock_};
        condition_.notify_one();
    }
    int arrived() {
        const std::lock_guard hold{lock_};
        return arrived_;
    }

private:
    static Condition make(AnyLock& lock) {
        if constexpr (bound) {
            return Condition{lock};
        } else {
            return Condition{};
        }
    }
    AnyLock lock_;
    Condition condition_{make(lock_)};
    int arrived_ = 0;  // guarded by lock_
};
using LockConditionWait = ConditionWait<Lock, false>;
using RLockConditionWait = ConditionWait<RLock, false>;
using BoundConditionWait = ConditionWait<Lock, true>;
using BoundRConditionWait = ConditionWait<RLock, true>;

// --- waits for a state that stays ---

class EventWait {
public:
    static constexpr Serves serves = Serves::all;
    explicit EventWait(int) {}

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        if (!event_.wait(deadline)) return false;
        served();
        return true;
    }
    void wake() { event_.set(); }

private:
    Event event_;
};

class WaitGroupWait {
public:
    static constexpr Serves serves = Serves::all;
    explicit WaitGroupWait(int) { jobs_.add(1); }

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        if (!jobs_.wait(deadline)) return false;
        served();
        return true;
    }
    void wake() { jobs_.done(); }

private:
    WaitGroup jobs_;
};

class LatchWait {
public:
    static constexpr Serves serves = Serves::all;
    explicit LatchWait(int) {}

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        if (!latch_.wait(deadline)) return false;
        served();
        return true;
    }
    void wake() { latch_.count_down(); }

private:
    Latch latch_{1};
};

/// The others wait for the one that is at it.
class OnceWait {
public:
    static constexpr Serves serves = Serves::all;
    explicit OnceWait(int)
        : runner_{spawn([this] {
              once_.call([this] {
                  begun_.release();
                  finish_.acquire();
              });
          })} {
        begun_.acquire();
    }

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        bool again = false;
        if (!once_.call([&] { again = true; }, deadline)) return false;
        served();
        return !again;
    }
    void wake() {
        finish_.release();
        runner_.join();
    }

private:
    Semaphore begun_{0};
    Semaphore finish_{0};
    Once once_;
    Fiber<> runner_;
};

/// Whoever fails to come in time breaks it, so that it is asked less than others.
class BarrierWait {
public:
    static constexpr Serves serves = Serves::all;
    explicit BarrierWait(int waiters) : barrier_{waiters + 1} {}

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        try {
            barrier_.wait(deadline);
        } catch (const BrokenBarrier&) {
            return false;
        }
        served();
        return true;
    }
    void wake() { barrier_.wait(); }

private:
    Barrier barrier_;
};

// --- waits for a lock, which the maker holds until wake() ---

template <class AnyLock, template <class> class Guard>
class LockedWait {
public:
    static constexpr bool shares = !std::is_same_v<Guard<AnyLock>, std::unique_lock<AnyLock>>;
    static constexpr Serves serves = shares ? Serves::all : Serves::in_turn;
    explicit LockedWait(int) { lock_.lock(); }

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        const Guard<AnyLock> guard{lock_, deadline.at()};
        if (guard.owns_lock()) served();
        return guard.owns_lock();
    }
    void wake() { lock_.unlock(); }

private:
    AnyLock lock_;
};
using LockWait = LockedWait<Lock, std::unique_lock>;
using RLockWait = LockedWait<RLock, std::unique_lock>;
using WriteWait = LockedWait<SharedLock, std::unique_lock>;
using ReadWait = LockedWait<SharedLock, std::shared_lock>;

}  // namespace weft::test
