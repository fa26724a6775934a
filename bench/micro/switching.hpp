// Lines about running many fibers: yield, spawn, join trees. Layer: benchmarks, micro.
#pragma once

#include "common/json.hpp"
#include "common/measure.hpp"
#include "micro/calibrate.hpp"
#include "micro/peer.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

namespace bench {

/// `fibers` fibers yield in turn, `total` yields together. Spawning and joining
/// them is part of the time, and small against it.
template <class Peer>
void yield_line(JsonLine& result, int fibers, long total) {
    measure_calibrated(result, total, fibers * 10L, [fibers](long yields) {
        const long share = yields / fibers;
        Tasks<Peer> tasks;
        tasks.reserve(static_cast<std::size_t>(fibers));
        const std::uint64_t start = now_ns();
        for (int i = 0; i < fibers; ++i) {
            tasks.push_back(Peer::spawn([share] {
                for (long k = 0; k < share; ++k) Peer::yield();
            }));
        }
        join_tasks<Peer>(tasks);
        return ns_each(start, share * fibers);
    });
}

/// One fiber at a time: spawn it, join it.
template <class Peer>
void spawn_one_line(JsonLine& result, long total) {
    long runs = 0;
    measure_calibrated(result, total, 10, [&runs](long spawns) {
        const std::uint64_t start = now_ns();
        for (long i = 0; i < spawns; ++i) {
            auto task = Peer::spawn([&runs] { ++runs; });
            Peer::join(task);
        }
        return ns_each(start, spawns);
    });
}

/// All fibers are spawned before any is joined. The value is the best of three
/// warm passes: the cold one pays for fresh stacks and is reported beside it.
template <class Peer>
void spawn_many_line(JsonLine& result, long fibers) {
    static std::atomic<long> runs{0};
    double spawning = 0;
    const auto pass = [fibers, &spawning] {
        Tasks<Peer> tasks;
        tasks.reserve(static_cast<std::size_t>(fibers));
        const std::uint64_t start = now_ns();
        for (long i = 0; i < fibers; ++i) {
            tasks.push_back(Peer::spawn([] { runs.fetch_add(1, std::memory_order_relaxed); }));
        }
        spawning = ns_each(start, fibers);
        join_tasks<Peer>(tasks);
        return ns_each(start, fibers);
    };

    const double cold = pass();
    double warm = std::numeric_limits<double>::max();
    for (int i = 0; i < 3; ++i) warm = std::min(warm, pass());
    result.value("ns", warm)
        .number("cold_ns", cold)
        .number("spawn_only_ns", spawning)
        .number("peak_rss_mb", peak_resident_mb())
        .number("ok", runs.load() == 4 * fibers);
}

/// The sum of the leaves' numbers, each level a fiber with ten children.
template <class Peer>
std::uint64_t sum_of_tree(std::uint64_t first, std::uint64_t leaves) {
    constexpr int children = 10;
    if (leaves == 1) return first;
    std::uint64_t sums[children];
    typename Peer::Task tasks[children];
    const std::uint64_t share = leaves / children;
    for (int i = 0; i < children; ++i) {
        tasks[i] = Peer::spawn([&sums, first, share, i] {
            sums[i] = sum_of_tree<Peer>(first + static_cast<std::uint64_t>(i) * share, share);
        });
    }
    for (auto& task : tasks) Peer::join(task);
    std::uint64_t total = 0;
    for (const std::uint64_t sum : sums) total += sum;
    return total;
}

/// `sum_of(leaves)` adds up the numbers of the leaves.
template <class SumOf>
void measure_tree(JsonLine& result, std::uint64_t leaves, SumOf sum_of) {
    const std::uint64_t cpu_before = process_cpu_ns();
    const std::uint64_t start = now_ns();
    const std::uint64_t sum = sum_of(leaves);
    const auto wall = static_cast<double>(now_ns() - start);
    const auto cpu = static_cast<double>(process_cpu_ns() - cpu_before);
    result.value("ms", wall / 1e6)
        .number("cpu_ms", cpu / 1e6)
        .number("peak_rss_mb", peak_resident_mb())
        .number("ok", sum == leaves * (leaves - 1) / 2);
}

template <class Peer>
void skynet_line(JsonLine& result, std::uint64_t leaves) {
    measure_tree(result, leaves, [](std::uint64_t size) { return sum_of_tree<Peer>(0, size); });
}

}  // namespace bench
