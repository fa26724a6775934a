// CPU time of another process and of the whole machine. Layer: benchmarks, net.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace bench {

/// Time on a CPU of all threads of a process: exact, where /proc/PID/stat
/// counts ticks. A thread that ended meanwhile is left out.
inline std::uint64_t cpu_ns_of(int process) {
    const auto tasks = std::filesystem::path{"/proc"} / std::to_string(process) / "task";
    std::uint64_t total = 0;
    std::error_code gone;
    for (const auto& task : std::filesystem::directory_iterator{tasks, gone}) {
        std::uint64_t on_cpu = 0;
        if (std::ifstream{task.path() / "schedstat"} >> on_cpu) total += on_cpu;
    }
    return total;
}

/// Time all CPUs together spent on anything, in steps of 10 ms.
inline std::uint64_t machine_busy_ns() {
    enum Field {
        user,
        nice,
        system,
        idle,
        waiting_for_disk,
        interrupt,
        soft_interrupt,
        stolen,
        fields
    };
    std::ifstream stat{"/proc/stat"};
    std::string label;
    stat >> label;
    std::uint64_t ticks = 0;
    for (int field = user; field < fields; ++field) {
        std::uint64_t value = 0;
        stat >> value;
        if (field != idle && field != waiting_for_disk) ticks += value;
    }
    return ticks * 10'000'000;
}

/// What was used between two readings.
struct CpuUse {
    std::uint64_t server_ns = 0;
    std::uint64_t client_ns = 0;
    std::uint64_t machine_ns = 0;

    CpuUse since(const CpuUse& before) const noexcept {
        return {server_ns - before.server_ns, client_ns - before.client_ns,
                machine_ns - before.machine_ns};
    }

    /// What neither server nor client used: the disturbance.
    std::uint64_t others_ns() const noexcept {
        return machine_ns - std::min(machine_ns, server_ns + client_ns);
    }
};

}  // namespace bench
