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
#include <weft/channel.hpp>
#include <weft/condition.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/lock.hpp>
#include <weft/once.hpp>
#include <weft/promise.hpp>
#include <weft/queue.hpp>
#include <weft/rlock.hpp>
#include <weft/select.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_lock.hpp>
#include <weft/wait_group.hpp>

#include <cstddef>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <type_traits>
#include <utility>

namespace weft::test {

/// Whom a wake() serves: the first waiter; all at once; all, one after the other.
enum class Serves { one, all, in_turn };

// --- waits that are one call ---

template <class Object, Serves whom>
class OneCall {
public:
    static constexpr Serves serves = whom;

    template <class Served>
    bool wait(Deadline deadline, Served&& served) {
        if (!call(deadline)) return false;
        served();
        return true;
    }

protected:
    template <class... Args>
    explicit OneCall(Args... args) : object_(args...) {}

    Object object_;

private:
    bool call(Deadline deadline) {
        if constexpr (std::is_base_of_v<Semaphore, Object>) {
            return object_.acquire(deadline);
        } else {
            return object_.wait(deadline);
        }
    }
};

// Some take what they waited for.

class SemaphoreWait : public OneCall<Semaphore, Serves::one> {
public:
    explicit SemaphoreWait(int) : OneCall{0} {}
    void wake() { object_.release(); }
};

class BoundedSemaphoreWait : public OneCall<BoundedSemaphore, Serves::one> {
public:
    explicit BoundedSemaphoreWait(int waiters) : OneCall{waiters} {
        for (int i = 0; i < waiters; ++i) object_.acquire();
    }
    void wake() { object_.release(); }
};

struct Getting {
    Queue<int> queue{0};
    bool wait(Deadline deadline) { return queue.get(deadline).has_value(); }
};

/// Who gets an item takes it with it: the next has to be put.
class GetWait : public OneCall<Getting, Serves::one> {
public:
    explicit GetWait(int) {}
    void wake() { object_.queue.put(1); }
};

struct Putting {
    Queue<int> queue{1};
    bool wait(Deadline deadline) { return queue.put(1, deadline); }
};

/// The room is what is waited for, and whose item is in has taken it.
class PutWait : public OneCall<Putting, Serves::one> {
public:
    explicit PutWait(int) { object_.queue.put(0); }
    void wake() { object_.queue.get(); }
};

struct Sending {
    explicit Sending(int room) : channel{static_cast<std::size_t>(room)} {}
    bool wait(Deadline deadline) { return channel.send(0, deadline); }
    Channel<int> channel;
};

/// For room in a channel.
class SendWait : public OneCall<Sending, Serves::one> {
public:
    explicit SendWait(int waiters) : OneCall{waiters} {
        while (object_.channel.try_send(0)) continue;
    }
    void wake() { object_.channel.try_recv(); }
};

struct Receiving {
    explicit Receiving(int room) : channel{static_cast<std::size_t>(room)} {}
    bool wait(Deadline deadline) { return channel.recv(deadline).has_value(); }
    Channel<int> channel;
};

/// For a value in a channel.
class RecvWait : public OneCall<Receiving, Serves::one> {
public:
    explicit RecvWait(int waiters) : OneCall{waiters} {}
    void wake() { object_.channel.try_send(0); }
};

struct Selecting {
    explicit Selecting(int room)
        : one{static_cast<std::size_t>(room)}, other{static_cast<std::size_t>(room)} {}
    bool wait(Deadline deadline) {
        constexpr auto drop = [](std::optional<int>) {};
        return select(on_recv(one, drop), on_send(full, 0), after(deadline),
                      on_recv(other, drop)) != 2;
    }
    Channel<int> one;
    Channel<int> other;
    Channel<int> full;
};

/// For a value in one of two channels, or room in a third that never has any.
class SelectWait : public OneCall<Selecting, Serves::one> {
public:
    explicit SelectWait(int waiters) : OneCall{waiters} {}
    void wake() { (turn_++ % 2 == 0 ? object_.one : object_.other).try_send(0); }

private:
    int turn_ = 0;
};

// Others wait for a state that stays.

struct Peeking {
    Queue<int> queue{0};
    bool wait(Deadline deadline) { return queue.peek(deadline).has_value(); }
};

class PeekWait : public OneCall<Peeking, Serves::all> {
public:
    explicit PeekWait(int) {}
    void wake() { object_.queue.put(1); }
};

struct Joining {
    Queue<int> queue{0};
    bool wait(Deadline deadline) { return queue.join(deadline); }
};

class JoinWait : public OneCall<Joining, Serves::all> {
public:
    explicit JoinWait(int) { object_.queue.put(1); }
    void wake() { object_.queue.task_done(); }
};

class EventWait : public OneCall<Event, Serves::all> {
public:
    explicit EventWait(int) {}
    void wake() { object_.set(); }
};

class WaitGroupWait : public OneCall<WaitGroup, Serves::all> {
public:
    explicit WaitGroupWait(int) { object_.add(1); }
    void wake() { object_.done(); }
};

class LatchWait : public OneCall<Latch, Serves::all> {
public:
    explicit LatchWait(int) : OneCall{1} {}
    void wake() { object_.count_down(); }
};

struct Pledge {
    Promise<void> promise;
    bool wait(Deadline deadline) { return promise.future().wait(deadline); }
};

class FutureWait : public OneCall<Pledge, Serves::all> {
public:
    explicit FutureWait(int) {}
    void wake() { object_.promise.set_value(); }
};

// --- waits that are more ---

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
