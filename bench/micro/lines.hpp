// The lines by name, and the main function of every peer's program. Layer: benchmarks, micro.
//
//   <program> LINE WORKERS     runs one line once and prints one JSON object
//   <program> --list           prints the names of the lines the peer takes part in
//
// A process runs one line only: memory, stack caches and frequency would
// otherwise carry over from one to the next. Environment: BENCH_SCALE multiplies
// the counts, BENCH_STACK is the size of a fiber's stack (65536).
//
// The definitions (counts, what is inside the time) are fixed. Changing one
// makes every figure recorded before worthless, so add a line instead.
#pragma once

#include "common/arguments.hpp"
#include "common/json.hpp"
#include "micro/channels.hpp"
#include "micro/foreign.hpp"
#include "micro/idle.hpp"
#include "micro/items.hpp"
#include "micro/peer.hpp"
#include "micro/sleeping.hpp"
#include "micro/switching.hpp"
#include "micro/waiting.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

namespace bench {

using Line = void (*)(JsonLine&);
using Lines = std::map<std::string, Line>;

/// A count of the line's definition, times BENCH_SCALE.
inline long scaled(double count) {
    const char* scale = std::getenv("BENCH_SCALE");
    return static_cast<long>(count * (scale != nullptr ? std::atof(scale) : 1.0));
}

inline std::size_t stack_size() {
    return static_cast<std::size_t>(environment_number("BENCH_STACK", 65536));
}

template <class Peer>
void add_spawning(Lines& lines) {
    lines["spawn_one"] = [](JsonLine& r) { spawn_one_line<Peer>(r, scaled(200e3)); };
    lines["spawn_many"] = [](JsonLine& r) { spawn_many_line<Peer>(r, scaled(100e3)); };
    // Not for a pool: its task would hold a thread while it waits for its children.
    if constexpr (Yields<Peer>) {
        lines["skynet_join100k"] = [](JsonLine& r) { skynet_line<Peer>(r, 100'000); };
        lines["skynet_join1m"] = [](JsonLine& r) { skynet_line<Peer>(r, 1'000'000); };
    }
}

template <class Peer>
void add_yielding(Lines& lines) {
    lines["yield2"] = [](JsonLine& r) { yield_line<Peer>(r, 2, scaled(10e6)); };
    lines["yield1000"] = [](JsonLine& r) { yield_line<Peer>(r, 1000, scaled(10e6)); };
}

template <class Peer>
void add_locking(Lines& lines) {
    using enum Holding;
    lines["mutex8"] = [](JsonLine& r) { mutex_line<Peer, briefly>(r, 8, scaled(20e6)); };
    lines["mutex64"] = [](JsonLine& r) { mutex_line<Peer, briefly>(r, 64, scaled(20e6)); };
    lines["mutex_unc"] = [](JsonLine& r) { mutex_uncontended_line<Peer>(r, scaled(10e6)); };
    if constexpr (Yields<Peer>) {
        lines["mutex8y"] = [](JsonLine& r) {
            mutex_line<Peer, across_a_yield>(r, 8, scaled(400e3));
        };
        lines["mutex64y"] = [](JsonLine& r) {
            mutex_line<Peer, across_a_yield>(r, 64, scaled(400e3));
        };
    }
}

template <class Peer>
void add_channels(Lines& lines) {
    lines["chan_pp"] = [](JsonLine& r) { meeting_line<Peer>(r, scaled(300e3)); };
    lines["skynet_chan100k"] = [](JsonLine& r) { channel_skynet_line<Peer>(r, 100'000); };
    lines["skynet_chan1m"] = [](JsonLine& r) { channel_skynet_line<Peer>(r, 1'000'000); };
    if constexpr (Selects<Peer>) {
        lines["select8"] = [](JsonLine& r) { select_line<Peer, 8>(r, scaled(2e6)); };
        lines["select8_wait"] = [](JsonLine& r) { select_line<Peer, 1>(r, scaled(2e6)); };
    }
}

template <class Peer>
void add_sleeping(Lines& lines) {
    using enum SleepValue;
    lines["sleep100k"] = [](JsonLine& r) {
        sleep_line<Peer, cpu_per_sleep>(r, {scaled(100e3), 5, 1'000, 100'000});
    };
    lines["sleep_idle"] = [](JsonLine& r) {
        sleep_line<Peer, lateness>(r, {100, 50, 1'000, 10'000});
    };
}

template <class Peer>
void add_idling(Lines& lines) {
    lines["idle100k"] = [](JsonLine& r) { idle_memory_line<Peer>(r, 100'000); };
    lines["idle1m"] = [](JsonLine& r) { idle_memory_line<Peer>(r, 1'000'000); };
    if constexpr (WakesFromOutside<Peer>) {
        lines["idle_cpu"] = [](JsonLine& r) { idle_cpu_line<Peer>(r, scaled(100e3)); };
    }
}

template <class Peer>
Lines lines_of() {
    Lines lines;
    add_spawning<Peer>(lines);
    if constexpr (Yields<Peer>) add_yielding<Peer>(lines);
    if constexpr (HasMutex<Peer>) add_locking<Peer>(lines);
    if constexpr (HasChannels<Peer>) add_channels<Peer>(lines);
    if constexpr (Sleeps<Peer>) add_sleeping<Peer>(lines);
    if constexpr (Yields<Peer>) add_idling<Peer>(lines);
    if constexpr (Yields<Peer>) {
        lines["sem_pp"] = [](JsonLine& r) { semaphore_line<Peer>(r, scaled(300e3)); };
    }
    if constexpr (HasCondition<Peer>) {
        lines["cond_pp"] = [](JsonLine& r) { condition_line<Peer>(r, scaled(200e3)); };
    }
    if constexpr (HasQueue<Peer>) {
        lines["mpmc"] = [](JsonLine& r) { queue_line<Peer>(r, scaled(4e6), 4, 128); };
    }
    if constexpr (HasGenerator<Peer>) {
        lines["generator"] = [](JsonLine& r) {
            generator_line<typename Peer::Counting>(r, scaled(20e6));
        };
    }
    if constexpr (HasTimeout<Peer>) {
        lines["timeout_unf"] = [](JsonLine& r) { timeout_unfired_line<Peer>(r, scaled(10e6)); };
    }
    if constexpr (SpawnsFromOutside<Peer>) {
        lines["foreign_lat"] = [](JsonLine& r) { foreign_spawn_line<Peer>(r, 300); };
    }
    if constexpr (WakesFromOutside<Peer>) {
        lines["foreign_wake"] = [](JsonLine& r) { foreign_wake_line<Peer>(r, 300); };
    }
    return lines;
}

template <class Peer>
int run_one_line(const std::string& name, unsigned workers) {
    const Lines lines = lines_of<Peer>();
    const auto found = lines.find(name);
    JsonLine result;
    result.text("bench", name).text("peer", Peer::name(workers)).number("workers", workers);
    if (found == lines.end()) {
        result.number("na", 1).print();
        return 0;
    }
    Peer::run(workers, [line = found->second, &result] {
        line(result);
        result.print();
        // Several peers cannot be torn down once workers have started.
        std::_Exit(EXIT_SUCCESS);
    });
    return EXIT_FAILURE;
}

template <class Peer>
int main_of(int count, char** arguments) {
    if (count == 2 && std::string{arguments[1]} == "--list") {
        for (const auto& [name, line] : lines_of<Peer>()) std::puts(name.c_str());
        return 0;
    }
    if (count != 3) {
        std::fprintf(stderr, "usage: %s LINE WORKERS | --list\n", arguments[0]);
        return 2;
    }
    return run_one_line<Peer>(arguments[1], static_cast<unsigned>(std::atoi(arguments[2])));
}

}  // namespace bench
