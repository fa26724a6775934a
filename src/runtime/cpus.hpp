// Cpus: how many this process may use. Layer: runtime. Uses: std, /sys/fs/cgroup.
#pragma once

namespace weft::detail {

struct Cpus {
    unsigned allowed;  // by affinity: as many threads can run at once
    unsigned workers;  // by affinity and cgroup quota: as many are worth having
};

/// At least one of each.
Cpus usable_cpus();

}  // namespace weft::detail
