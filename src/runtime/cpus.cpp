// Layer: runtime. Uses: std, /proc, /sys/fs/cgroup.
#include "runtime/cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <string>

namespace weft::detail {

namespace {

unsigned cpus_by_affinity() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return std::max(1, CPU_COUNT(&set));
}

// "max 100000" or "150000 100000": quota and period in microseconds.
std::optional<double> quota_in(const std::string& directory) {
    std::ifstream file{directory + "/cpu.max"};
    std::string quota;
    double period = 0;
    if (!(file >> quota >> period) || quota == "max" || period <= 0) return std::nullopt;
    try {
        return std::stod(quota) / period;
    } catch (const std::exception&) {
        return std::nullopt;  // a format of the future: as if there were none
    }
}

// Version 2 of cgroups; the narrowest of the group and its ancestors counts.
std::optional<double> cpus_by_quota() {
    std::ifstream file{"/proc/self/cgroup"};
    std::string line;
    std::optional<double> least;
    while (std::getline(file, line)) {
        if (!line.starts_with("0::")) continue;
        std::string path = line.substr(3);
        for (;;) {
            if (const auto quota = quota_in("/sys/fs/cgroup" + path)) {
                least = std::min(least.value_or(*quota), *quota);
            }
            const auto slash = path.rfind('/');
            if (path.empty() || slash == std::string::npos) break;
            path.resize(slash);
        }
    }
    return least;
}

}  // namespace

Cpus usable_cpus() {
    const unsigned allowed = cpus_by_affinity();
    unsigned workers = allowed;
    if (const auto quota = cpus_by_quota()) {
        const auto whole = static_cast<unsigned>(std::max(1.0, std::ceil(*quota)));
        workers = std::min(workers, whole);
    }
    return {allowed, workers};
}

}  // namespace weft::detail
