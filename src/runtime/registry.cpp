// Layer: runtime. Uses: sched.
#include "runtime/registry.hpp"

#include "sched/scheduler.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
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

// Made on first use and never destroyed: a dump may come during exit(). A forked child, which has
// the hook of exit(), too, but none of the workers, makes one of its own.
Registry& registry() {
    static constinit std::atomic<Registry*> instance{nullptr};
    Registry* there = instance.load(std::memory_order_acquire);
    while (there == nullptr || there->owner != getpid()) {
        auto made = std::make_unique<Registry>();
        if (instance.compare_exchange_strong(there, made.get())) there = made.release();
    }
    return *there;
}

void halt_all() {
    for_each_scheduler([](Scheduler& scheduler) { scheduler.halt(); });
}

}  // namespace

void halt_at_exit() {
    static const int hooked = std::atexit(&halt_all);
    (void)hooked;
}

void register_scheduler(Scheduler& scheduler) {
    halt_at_exit();
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
