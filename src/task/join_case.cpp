// JoinCase: the end of a fiber, for select(). Layer: task. Uses: sched, park, sync.
#include "sched/fiber_core.hpp"
#include "sync/select.hpp"

#include <system_error>

namespace weft::detail {

void JoinCase::enlist(Selection& selection) {
    FiberCore& fiber = *core_of(fiber_);
    if (static_cast<Party*>(&fiber) == &this_party()) {
        throw std::system_error{std::make_error_code(std::errc::resource_deadlock_would_occur),
                                "weft: a fiber waits for its own end"};
    }
    selection.wait_at(*this, fiber.joiners.lock(), fiber.joiners);
}

SpinLock* JoinCase::lock() const noexcept { return &core_of(fiber_)->joiners.lock(); }

bool JoinCase::begin(Selection&) { return core_of(fiber_)->done.load(std::memory_order_relaxed); }

}  // namespace weft::detail
