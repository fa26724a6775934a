// Registry: the schedulers there are, for dumps of everything.
// Layer: runtime. Uses: sched.
#pragma once

#include <weft/detail/export.hpp>

#include <functional>
#include <span>
#include <string>

namespace weft::detail {

class Scheduler;

struct Registered {
    Scheduler* scheduler;
    std::string verdict;  // the report, once no fiber could run any more
};

/// From now on exit() halts all schedulers, when what was asked of it since then is done:
/// destructors of static objects that were made before still have fibers to wait for. Idempotent.
WEFT_API void halt_at_exit();
void register_scheduler(Scheduler& scheduler);
void unregister_scheduler(Scheduler& scheduler) noexcept;
/// Any thread. None of them goes away meanwhile.
void visit_registered(const std::function<void(std::span<Registered>)>& visit);
void for_each_scheduler(const std::function<void(Scheduler&)>& visit);
/// Empty, or the Registered::verdict, which is none any more: the next is another.
std::string take_verdict_on(const Scheduler& scheduler);

}  // namespace weft::detail
