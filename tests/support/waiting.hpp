// Knowing that a fiber waits, without sleeping until it surely does.
#pragma once

#include "sched/scheduler.hpp"

#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <cstdint>

namespace weft::test {

/// Whether the fiber is in a wait. It then is in the queue of what it waits for,
/// as far as anybody can tell who takes that queue's lock.
inline bool is_waiting(Runtime& runtime, std::uint64_t id) {
    bool waits = false;
    runtime.scheduler().table().for_each([&](detail::FiberCore& fiber) {
        if (fiber.id.load(std::memory_order_relaxed) == id) waits = fiber.word().waiting();
    });
    return waits;
}

/// Lets others run until the fiber waits for something.
template <class R>
void until_waiting(const Fiber<R>& fiber, Runtime& runtime = Runtime::current()) {
    while (!is_waiting(runtime, fiber.id())) this_fiber::yield();
}

}  // namespace weft::test
