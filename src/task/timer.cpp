// Timer: who comes first, its fiber or cancel(). Layer: task. Uses: sched.
#include <weft/timer.hpp>

#include "sched/worker.hpp"

namespace weft {

namespace detail {

namespace {

// Sets `mine` unless `other` is there already. Returns whether mine is there.
bool mark_first(FiberCore& fiber, std::uint8_t mine, std::uint8_t other) noexcept {
    std::uint8_t marks = fiber.marks.load(std::memory_order_relaxed);
    while ((marks & other) == 0) {
        const auto marked = static_cast<std::uint8_t>(marks | mine);
        if (fiber.marks.compare_exchange_weak(marks, marked, std::memory_order_acq_rel)) {
            return true;
        }
    }
    return false;
}

}  // namespace

bool begin_timer() noexcept {
    return mark_first(*Worker::current()->fiber(), FiberCore::mark_begun,
                      FiberCore::mark_called_off);
}

}  // namespace detail

bool Timer::cancel() noexcept {
    if (!fiber_) return false;
    detail::FiberCore& core = *detail::core_of(fiber_);
    if (!detail::mark_first(core, detail::FiberCore::mark_called_off,
                            detail::FiberCore::mark_begun)) {
        return false;
    }
    detail::cancel(&core);
    return true;
}

bool Timer::finished() const noexcept {
    if (!fiber_ || fiber_.done()) return true;
    const auto marks = detail::core_of(fiber_)->marks.load(std::memory_order_acquire);
    return (marks & detail::FiberCore::mark_called_off) != 0;
}

}  // namespace weft
