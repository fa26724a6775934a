// Lines about timers. Layer: benchmarks, micro.
#pragma once

#include "common/json.hpp"
#include "common/measure.hpp"
#include "micro/peer.hpp"

#include <algorithm>

namespace bench {

struct SleepPlan {
    long fibers;
    int rounds;
    std::uint64_t shortest_us;
    std::uint64_t longest_us;
};

/// Sleeps random times and writes how late each wakeup was, in us. The first
/// round is left out: its lateness is that of the spawning.
template <class Peer>
void sleep_rounds(const SleepPlan& plan, long fiber, float* late_us) {
    std::uint64_t random = 12345 + static_cast<std::uint64_t>(fiber) * 7919;
    const std::uint64_t span = plan.longest_us - plan.shortest_us + 1;
    for (int round = 0; round < plan.rounds; ++round) {
        const std::uint64_t wanted_us = plan.shortest_us + next_random(random) % span;
        const std::uint64_t start = now_ns();
        Peer::sleep_us(wanted_us);
        const auto slept_us = static_cast<double>(now_ns() - start) / 1e3;
        if (round == 0) continue;
        late_us[round - 1] = static_cast<float>(slept_us - static_cast<double>(wanted_us));
    }
}

enum class SleepValue { cpu_per_sleep, lateness };

template <class Peer, SleepValue value>
void sleep_line(JsonLine& result, const SleepPlan& plan) {
    const long kept_rounds = plan.rounds - 1;
    std::vector<float> late_us(static_cast<std::size_t>(plan.fibers * kept_rounds));
    Tasks<Peer> tasks;
    tasks.reserve(static_cast<std::size_t>(plan.fibers));

    const std::uint64_t start = now_ns();
    const std::uint64_t cpu_before = process_cpu_ns();
    for (long i = 0; i < plan.fibers; ++i) {
        float* mine = late_us.data() + i * kept_rounds;
        tasks.push_back(Peer::spawn([&plan, i, mine] { sleep_rounds<Peer>(plan, i, mine); }));
    }
    const std::uint64_t spawned = now_ns();
    join_tasks<Peer>(tasks);
    const auto cpu = static_cast<double>(process_cpu_ns() - cpu_before);
    const auto wall = static_cast<double>(now_ns() - start);

    const double cpu_per_sleep = cpu / static_cast<double>(plan.fibers * plan.rounds);
    const double median = quantile(late_us, 0.5);
    if constexpr (value == SleepValue::cpu_per_sleep) {
        result.value("cpu_ns_per_sleep", cpu_per_sleep);
    } else {
        result.value("late_p50_us", median).number("cpu_ns_per_sleep", cpu_per_sleep);
    }
    const auto too_early =
        std::count_if(late_us.begin(), late_us.end(), [](float late) { return late < -1; });
    result.number("late_median_us", median)
        .number("late_p99_us", quantile(late_us, 0.99))
        .number("late_max_us", quantile(late_us, 1.0))
        .number("too_early", static_cast<double>(too_early))
        .number("wall_ms", wall / 1e6)
        .number("spawn_ms", static_cast<double>(spawned - start) / 1e6)
        .number("peak_rss_mb", peak_resident_mb());
}

}  // namespace bench
