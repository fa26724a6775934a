// What a peer's adapter offers to the lines. Layer: benchmarks, micro.
//
// A peer is a struct of static functions and nested types:
//
//   name(workers)              how it is called in the results
//   Task, spawn(fn), join(t)   a fiber, default-constructible and movable
//   run(workers, body)         runs `body` as a fiber; need not return
//   Semaphore(units)           acquire(), release()
//   pause()                    lets others run for about 1 ms
//
// and, where it can,
//
//   yield(), sleep_us(us)
//   Mutex                      lock(), unlock()
//   Condition                  wait(mutex, predicate), notify_one()
//   Channel(capacity)          of std::uint64_t: push(v), pop(); capacity a power of two
//   Meeting                    a channel without a buffer: push(v), pop()
//   pop_any(meetings)          of an array of 8: takes a value of any
//   Queue(capacity)            put(std::uint64_t), get(); of a power of two
//   Timeout(us)                a scope that interrupts what is in it
//   foreign_spawn(fn)          spawn from a plain thread
//   foreign_release            a constant: Semaphore::release() may be called
//                              by a plain thread
//
// The concepts below decide which lines a peer takes part in; a line that asks
// for more than it has is reported as "na" and not as a failure.
#pragma once

#include <cstdint>
#include <vector>

namespace bench {

template <class Peer>
concept Blocks = requires(typename Peer::Semaphore& semaphore) {
    semaphore.acquire();
};

/// A peer that yields has fibers, or threads: its tasks may wait for others.
template <class Peer>
concept Yields = Blocks<Peer> && requires {
    Peer::yield();
};

template <class Peer>
concept Sleeps = Blocks<Peer> && requires {
    Peer::sleep_us(std::uint64_t{1});
};

template <class Peer>
concept HasMutex = requires(typename Peer::Mutex& mutex) {
    mutex.lock();
};

template <class Peer>
concept HasCondition = HasMutex<Peer> && requires(typename Peer::Condition& condition) {
    condition.notify_one();
};

template <class Peer>
concept HasChannels = requires(typename Peer::Channel& channel, typename Peer::Meeting& meeting) {
    channel.pop();
    meeting.pop();
};

template <class Peer>
concept Selects = HasChannels<Peer> && requires(typename Peer::Meeting (&meetings)[8]) {
    Peer::pop_any(meetings);
};

template <class Peer>
concept HasQueue = Blocks<Peer> && requires(typename Peer::Queue& queue) {
    queue.get();
};

/// Items one by one: see items.hpp.
template <class Peer>
concept HasGenerator = requires(typename Peer::Counting& numbers) {
    numbers.next();
};

template <class Peer>
concept HasTimeout = requires {
    typename Peer::Timeout;
};

template <class Peer>
concept SpawnsFromOutside = requires {
    Peer::foreign_spawn([] {});
};

template <class Peer>
concept WakesFromOutside = Blocks<Peer> && requires {
    Peer::foreign_release;
};

template <class Peer>
using Tasks = std::vector<typename Peer::Task>;

template <class Peer>
void join_tasks(Tasks<Peer>& tasks) {
    for (auto& task : tasks) Peer::join(task);
    tasks.clear();
}

}  // namespace bench
