// Layer: runtime. Uses: sched.
#include "runtime/registry.hpp"

#include "sched/scheduler.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

namespace weft::detail {

namespace {

struct Registry {
    std::mutex mutex;
    std::vector<Registered> schedulers;  // guarded by mutex
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
    registry().schedulers.push_back({&scheduler, {}});
}

void unregister_scheduler(Scheduler& scheduler) noexcept {
    const std::lock_guard hold{registry().mutex};
    std::erase_if(registry().schedulers,
                  [&](const Registered& each) { return each.scheduler == &scheduler; });
}

void visit_registered(const std::function<void(std::span<Registered>)>& visit) {
    const std::lock_guard hold{registry().mutex};
    visit(registry().schedulers);
}

void for_each_scheduler(const std::function<void(Scheduler&)>& visit) {
    visit_registered([&](std::span<Registered> all) {
        for (const Registered& each : all) visit(*each.scheduler);
    });
}

std::string take_verdict_on(const Scheduler& scheduler) {
    std::string verdict;
    visit_registered([&](std::span<Registered> all) {
        for (Registered& each : all) {
            if (each.scheduler == &scheduler) verdict = std::exchange(each.verdict, {});
        }
    });
    return verdict;
}

}  // namespace weft::detail
