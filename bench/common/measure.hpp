// What the benchmarks read: clocks, memory, wakeups, quantiles. Layer: benchmarks, common.
//
// All times are nanoseconds in std::uint64_t, because they are subtracted and
// divided in the innermost loops; names end in _ns.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace bench {

inline std::uint64_t to_ns(const timespec& time) noexcept {
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u +
           static_cast<std::uint64_t>(time.tv_nsec);
}

inline std::uint64_t now_ns() noexcept {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return to_ns(time);
}

/// CPU time of all threads of this process, user and kernel.
inline std::uint64_t process_cpu_ns() noexcept {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return to_ns(time);
}

/// The number after "key:" in a /proc status file, or 0.
inline long status_field(const std::filesystem::path& file, std::string_view key) {
    std::ifstream status{file};
    for (std::string line; std::getline(status, line);) {
        if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':')
            continue;
        return std::strtol(line.c_str() + key.size() + 1, nullptr, 10);
    }
    return 0;
}

/// What the kernel says of this process's memory.
struct Memory {
    long resident_kb = 0;
    long page_tables_kb = 0;
    long virtual_kb = 0;
    long maps = 0;

    static Memory now() {
        Memory memory;
        memory.resident_kb = status_field("/proc/self/status", "VmRSS");
        memory.page_tables_kb = status_field("/proc/self/status", "VmPTE");
        memory.virtual_kb = status_field("/proc/self/status", "VmSize");
        std::ifstream maps{"/proc/self/maps"};
        for (std::string line; std::getline(maps, line);) ++memory.maps;
        return memory;
    }
};

/// VmHWM and not ru_maxrss: that one survives exec and would show the launcher.
inline double peak_resident_mb() {
    return static_cast<double>(status_field("/proc/self/status", "VmHWM")) / 1024.0;
}

/// How often the threads of this process went to sleep in the kernel, and so
/// were woken, since they started; the thread `except` left out.
inline long thread_sleeps(int except) {
    long sleeps = 0;
    std::error_code gone;
    for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task", gone}) {
        if (task.path().filename() == std::to_string(except)) continue;
        sleeps += status_field(task.path() / "status", "voluntary_ctxt_switches");
    }
    return sleeps;
}

/// The value below which `fraction` of the samples lie. Reorders them.
inline double quantile(std::vector<float>& samples, double fraction) {
    if (samples.empty()) return -1;
    const auto index =
        static_cast<std::ptrdiff_t>(fraction * static_cast<double>(samples.size() - 1));
    std::nth_element(samples.begin(), samples.begin() + index, samples.end());
    return samples[static_cast<std::size_t>(index)];
}

/// A small generator with good bits, so that every peer sleeps the same times.
inline std::uint64_t next_random(std::uint64_t& state) noexcept {
    state += 0x9e3779b97f4a7c15u;
    std::uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

}  // namespace bench
