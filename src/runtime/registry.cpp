// Layer: runtime. Uses: sched.
#include "runtime/registry.hpp"

#include <algorithm>
#include <mutex>
#include <vector>

namespace weft::detail {

namespace {

struct Registry {
    std::mutex mutex;
    std::vector<Scheduler*> schedulers;  // guarded by mutex
};

// Made on first use and never destroyed: a dump may come during exit().
Registry& registry() {
    static auto* const instance = new Registry;
    return *instance;
}

}  // namespace

void register_scheduler(Scheduler& scheduler) {
    const std::lock_guard hold{registry().mutex};
    registry().schedulers.push_back(&scheduler);
}

void unregister_scheduler(Scheduler& scheduler) noexcept {
    const std::lock_guard hold{registry().mutex};
    std::erase(registry().schedulers, &scheduler);
}

void for_each_scheduler(const std::function<void(Scheduler&)>& visit) {
    const std::lock_guard hold{registry().mutex};
    for (Scheduler* scheduler : registry().schedulers) visit(*scheduler);
}

}  // namespace weft::detail
