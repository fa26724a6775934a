// Layer: task. Uses: base, sched, park.
#include <weft/this_fiber.hpp>

#include "base/assert.hpp"
#include "park/park.hpp"
#include "sched/worker.hpp"

#include <weft/detail/routine.hpp>

#include <sched.h>

namespace weft::this_fiber {

namespace {

detail::FiberCore* self() noexcept {
    detail::Worker* const worker = detail::Worker::current();
    return worker == nullptr ? nullptr : worker->fiber();
}

}  // namespace

void yield() noexcept {
    detail::Worker* const worker = detail::Worker::current();
    if (worker != nullptr && worker->fiber() != nullptr) {
        worker->yield_fiber();
        return;
    }
    sched_yield();
}

void sleep_until(Deadline deadline) {
    if (deadline.passed()) {
        check_cancelled();
        return yield();
    }
    detail::sleep_until_deadline(deadline, detail::Purpose{"sleep"});
}

std::uint64_t id() noexcept {
    const auto* fiber = self();
    return fiber == nullptr ? 0 : detail::id_of(fiber);
}

std::string_view name() noexcept {
    const auto* fiber = self();
    return fiber == nullptr ? std::string_view{} : detail::name_of(fiber);
}

bool is_fiber() noexcept { return self() != nullptr; }

void check_cancelled() { detail::check_interrupt(); }

Shield::Shield() noexcept { detail::this_party().open_shield(); }
Shield::~Shield() { detail::this_party().close_shield(); }

Pin::Pin() noexcept {
    auto* fiber = self();
    if (fiber == nullptr) return;
    if (fiber->pins++ == 0) {
        fiber->home = static_cast<std::uint16_t>(detail::Worker::current()->index());
    }
}

Pin::~Pin() {
    auto* fiber = self();
    if (fiber == nullptr) return;
    WEFT_REQUIRE(fiber->pins > 0, "a Pin is destroyed by another fiber than it was made by");
    if (--fiber->pins == 0) fiber->home = detail::FiberCore::anywhere;
}

}  // namespace weft::this_fiber
