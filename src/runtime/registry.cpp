// Layer: runtime. Uses: sched.
#include "runtime/registry.hpp"

#include "sched/scheduler.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace weft::detail {

namespace {

struct Registry {
    std::mutex mutex;
    std::vector<Scheduler*> schedulers;  // guarded by mutex
    const pid_t owner = getpid();
};

// Made on first use and never destroyed: a dump may come during exit().
Registry& registry() {
    static auto* const instance = new Registry;
    return *instance;
}

// A child of fork() has this hook, too, and none of the workers.
void halt_all() {
    if (getpid() != registry().owner) return;
    for_each_scheduler([](Scheduler& scheduler) { scheduler.halt(); });
}

}  // namespace

void register_scheduler(Scheduler& scheduler) {
    static const int hooked = std::atexit(&halt_all);
    (void)hooked;
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
