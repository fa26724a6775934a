// Knowing that a fiber waits, without sleeping until it surely does.
#pragma once

#include "park/park.hpp"
#include "sched/scheduler.hpp"

#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <cstdint>
#include <unordered_set>
#include <utility>
#include <vector>

namespace weft::test {

/// Whether the fiber is in a wait and off its stack. It then is in the queue of what it waits
/// for, and has looked whether it closes a cycle.
inline bool is_waiting(detail::Scheduler& scheduler, std::uint64_t id) {
    bool waits = false;
    scheduler.table().for_each([&](detail::FiberCore& fiber) {
        if (fiber.id.load(std::memory_order_relaxed) == id) waits = fiber.word().parked();
    });
    return waits;
}

inline bool is_waiting(Runtime& runtime, std::uint64_t id) {
    return is_waiting(runtime.scheduler(), id);
}

/// Lets others run until the fiber waits for something, or has ended already: a
/// deadline may have come first. Called from a fiber of the same runtime or
/// simulation.
template <class R>
void until_waiting(const Fiber<R>& fiber) {
    auto& scheduler = *static_cast<detail::FiberCore&>(detail::this_party()).scheduler;
    while (!is_waiting(scheduler, fiber.id()) && !fiber.done()) this_fiber::yield();
}

/// The same of many, without a look at all fibers for each.
template <class R>
void until_all_waiting(const std::vector<Fiber<R>>& fibers) {
    auto& scheduler = *static_cast<detail::FiberCore&>(detail::this_party()).scheduler;
    for (;;) {
        std::unordered_set<std::uint64_t> waiting;
        scheduler.table().for_each([&](detail::FiberCore& fiber) {
            if (fiber.word().parked()) waiting.insert(fiber.id.load(std::memory_order_relaxed));
        });
        const auto waits = [&](auto& each) { return each.done() || waiting.contains(each.id()); };
        if (std::all_of(fibers.begin(), fibers.end(), waits)) return;
        this_fiber::yield();
    }
}

/// A fiber that waits in what `body` does.
template <class F>
auto waiting(F&& body) {
    auto fiber = weft::spawn(std::forward<F>(body));
    until_waiting(fiber);
    return fiber;
}

}  // namespace weft::test
