// Registry: the schedulers there are, for dumps of everything.
// Layer: runtime. Uses: sched.
#pragma once

#include <functional>

namespace weft::detail {

class Scheduler;

void register_scheduler(Scheduler& scheduler);
void unregister_scheduler(Scheduler& scheduler) noexcept;
/// Any thread. None of them goes away meanwhile.
void for_each_scheduler(const std::function<void(Scheduler&)>& visit);

}  // namespace weft::detail
