// Timer: who comes first, its fiber or cancel(): the callable is his, to call and to
// destroy. Layer: task. Uses: sched.
#include <weft/timer.hpp>

#include "sched/fiber_core.hpp"

namespace weft {

namespace detail {

namespace {

// Sets `mine` unless `other` is there. Returns what was there before.
std::uint8_t mark_unless(FiberCore& fiber, std::uint8_t mine, std::uint8_t other) noexcept {
    std::uint8_t marks = fiber.marks.load(std::memory_order_relaxed);
    while ((marks & other) == 0) {
        const auto marked = static_cast<std::uint8_t>(marks | mine);
        if (fiber.marks.compare_exchange_weak(marks, marked, std::memory_order_acq_rel)) break;
    }
    return marks;
}

}  // namespace

bool begin_timer(FiberCore* fiber) noexcept {
    const auto before = mark_unless(*fiber, FiberCore::mark_begun, FiberCore::mark_called_off);
    return (before & FiberCore::mark_called_off) == 0;
}

}  // namespace detail

bool Timer::cancel() noexcept {
    using detail::FiberCore;
    if (!fiber_) return false;
    FiberCore& core = *detail::core_of(fiber_);
    const auto before =
        detail::mark_unless(core, FiberCore::mark_called_off, FiberCore::mark_begun);
    if ((before & FiberCore::mark_begun) != 0) return false;
    if ((before & FiberCore::mark_called_off) != 0) return true;
    drop_(&core);
    detail::cancel(&core);
    return true;
}

bool Timer::finished() const noexcept {
    if (!fiber_ || fiber_.done()) return true;
    const auto marks = detail::core_of(fiber_)->marks.load(std::memory_order_acquire);
    return (marks & detail::FiberCore::mark_called_off) != 0;
}

}  // namespace weft
