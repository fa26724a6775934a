// Fibers whose blocking calls are taken by the hooks.
#pragma once

#include "support/runtime.hpp"

#include <weft/fiber_ref.hpp>
#include <weft/hooks.hpp>
#include <weft/this_fiber.hpp>

#include <string_view>
#include <utility>

namespace weft::test {

/// Runs `body` as the main fiber on every number of workers, migrating as well, with
/// everything patched.
template <class Body>
void on_hooked_workers(Body&& body) {
    hooks::patch_all();
    also_migrating(body);
}

/// The same, and in a few simulations. For bodies without threads.
template <class Body>
void on_hooked_seeds(Body&& body) {
    on_hooked_workers(body);
    on_seeds(under_sanitizer ? 5 : 40, [&](std::uint64_t) { body(); });
}

/// Lets others run until the fiber waits in `reason`, or has ended.
inline void until_doing(const FiberRef& fiber, std::string_view reason) {
    while (!fiber.done() && fiber.doing() != reason) this_fiber::yield();
}

/// How often `symbol` was called by fibers and left to libc.
inline unsigned long long passed(std::string_view symbol) {
    for (const auto& each : hooks::report().symbols) {
        if (each.name == symbol) return each.passed;
    }
    return 0;
}

}  // namespace weft::test
