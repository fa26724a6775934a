// Lines about fibers that wait for each other. Layer: benchmarks, micro.
#pragma once

#include "common/json.hpp"
#include "common/measure.hpp"
#include "micro/calibrate.hpp"
#include "micro/peer.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace bench {

enum class Holding { briefly, across_a_yield };

/// Lock, count, unlock. Held across a yield, the mutex is found locked by
/// everybody else, so that every unlock has to hand it over.
template <class Peer, Holding holding>
void mutex_line(JsonLine& result, int fibers, long total) {
    typename Peer::Mutex mutex;
    long counter = 0;
    measure_calibrated(result, total, fibers * 10L, [&mutex, &counter, fibers](long turns) {
        const long share = turns / fibers;
        Tasks<Peer> tasks;
        const std::uint64_t start = now_ns();
        for (int i = 0; i < fibers; ++i) {
            tasks.push_back(Peer::spawn([&mutex, &counter, share] {
                for (long k = 0; k < share; ++k) {
                    mutex.lock();
                    ++counter;
                    if constexpr (holding == Holding::across_a_yield) Peer::yield();
                    mutex.unlock();
                }
            }));
        }
        join_tasks<Peer>(tasks);
        return ns_each(start, share * fibers);
    });
}

/// One fiber, nobody else about.
template <class Peer>
void mutex_uncontended_line(JsonLine& result, long turns) {
    typename Peer::Mutex mutex;
    volatile long counter = 0;
    const auto pass = [&mutex, &counter](long times) {
        const std::uint64_t start = now_ns();
        for (long i = 0; i < times; ++i) {
            mutex.lock();
            counter = counter + 1;
            mutex.unlock();
        }
        return ns_each(start, times);
    };
    pass(turns / 10);
    result.value("ns", pass(turns));
}

/// A time limit that is not reached, around nothing.
template <class Peer>
void timeout_unfired_line(JsonLine& result, long turns) {
    const std::uint64_t start = now_ns();
    for (long i = 0; i < turns; ++i) const typename Peer::Timeout limit{5'000'000};
    result.value("ns", ns_each(start, turns));
}

/// Two fibers hand a unit back and forth; the value is per round trip.
template <class Peer>
void semaphore_line(JsonLine& result, long total) {
    typename Peer::Semaphore there(0);
    typename Peer::Semaphore back(0);
    measure_calibrated(result, total, 10, [&there, &back](long rounds) {
        const std::uint64_t start = now_ns();
        auto first = Peer::spawn([&there, &back, rounds] {
            for (long i = 0; i < rounds; ++i) {
                there.release();
                back.acquire();
            }
        });
        auto second = Peer::spawn([&there, &back, rounds] {
            for (long i = 0; i < rounds; ++i) {
                there.acquire();
                back.release();
            }
        });
        Peer::join(first);
        Peer::join(second);
        return ns_each(start, rounds);
    });
}

/// As many producers as consumers share a queue; the value is per item.
template <class Peer>
void queue_line(JsonLine& result, long total, int each, std::size_t capacity) {
    constexpr std::uint64_t stop = ~std::uint64_t{0};
    typename Peer::Queue queue(capacity);
    std::atomic<std::uint64_t> sum{0};
    measure_calibrated(result, total, each * 100L, [&queue, &sum, each](long items) {
        const auto share = static_cast<std::uint64_t>(items / each);
        Tasks<Peer> consumers;
        Tasks<Peer> producers;
        const std::uint64_t start = now_ns();
        for (int i = 0; i < each; ++i) {
            consumers.push_back(Peer::spawn([&queue, &sum] {
                std::uint64_t mine = 0;
                for (std::uint64_t item; (item = queue.get()) != stop;) mine += item;
                sum += mine;
            }));
        }
        for (int i = 0; i < each; ++i) {
            producers.push_back(Peer::spawn([&queue, share] {
                for (std::uint64_t k = 1; k <= share; ++k) queue.put(k);
            }));
        }
        join_tasks<Peer>(producers);
        for (int i = 0; i < each; ++i) queue.put(stop);
        join_tasks<Peer>(consumers);
        const double ns = ns_each(start, items);
        const std::uint64_t expected = static_cast<std::uint64_t>(each) * (share * (share + 1) / 2);
        if (sum.exchange(0) != expected) std::abort();
        return ns;
    });
}

/// What the two fibers of condition_line share.
template <class Peer>
struct Turns {
    typename Peer::Mutex mutex;
    typename Peer::Condition changed[2];
    int turn = 0;  // guarded by mutex

    /// Waits `rounds` times for its own turn and gives it to the other.
    void play(int me, long rounds) {
        const int other = 1 - me;
        for (long i = 0; i < rounds; ++i) {
            mutex.lock();
            changed[me].wait(mutex, [this, me] { return turn == me; });
            turn = other;
            changed[other].notify_one();
            mutex.unlock();
        }
    }
};

/// Two fibers take turns under one mutex; the value is per round trip.
template <class Peer>
void condition_line(JsonLine& result, long total) {
    Turns<Peer> turns;
    measure_calibrated(result, total, 10, [&turns](long rounds) {
        const std::uint64_t start = now_ns();
        auto first = Peer::spawn([&turns, rounds] { turns.play(0, rounds); });
        auto second = Peer::spawn([&turns, rounds] { turns.play(1, rounds); });
        Peer::join(first);
        Peer::join(second);
        return ns_each(start, rounds);
    });
}

}  // namespace bench
