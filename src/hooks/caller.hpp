// Who calls a hook, and what follows from it. Layer: hooks. Uses: sched.
//
// A call is taken from a fiber if its category was patched, no Bypass is open, and the
// caller is foreign code: not weft's own, which the hooks lie beneath. All others are
// libc's; telling them apart costs a load of the thread's worker. So are those of signal
// handlers, which interrupt a fiber anywhere, also where weft changes what it waits for.
#pragma once

#include "hooks/original.hpp"
#include "sched/fiber_core.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::hooks::detail {

using weft::detail::FiberCore;
using weft::detail::Worker;

/// The categories that are patched.
inline constinit std::atomic<Category> patched{0};

/// Where weft's own code lies.
struct TextRange {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    bool has(const void* address) const noexcept {
        const auto at = reinterpret_cast<std::uintptr_t>(address);
        return at - begin < end - begin;
    }
};
inline constinit TextRange weft_text;
inline constinit TextRange hooks_text;
/// And that of malloc(), if that is a library of its own: it may be called in the middle of
/// anything, so it never waits but as libc does, and its keys are the threads'.
inline constinit TextRange allocator_text;
/// The same if it is not a sanitizer's, which hands on the calls of others, too.
inline constinit TextRange mere_allocator_text;

/// The running fiber stays on its worker from now on, unless it opted out: foreign code keeps
/// things in thread-local variables, and the address of errno in registers.
inline void keep_here(FiberCore& fiber, Worker& worker) noexcept {
    if ((fiber.foreign & (FiberCore::foreign_stays | FiberCore::foreign_roams)) != 0) return;
    fiber.foreign |= FiberCore::foreign_stays;
    if (fiber.pins++ == 0) fiber.home = static_cast<std::uint16_t>(worker.index());
}

/// Whether the fiber itself calls. A signal handler that interrupts it runs on a stack
/// of its worker's: see signals.cpp.
[[gnu::always_inline]] inline bool runs_on_its_stack(const FiberCore& fiber) noexcept {
    const auto* const frame = static_cast<const std::byte*>(__builtin_frame_address(0));
    const weft::detail::Stack stack = fiber.running_stack();
    return frame >= stack.slot() && frame < stack.end;
}

/// The fiber that runs; null: none.
[[gnu::always_inline]] inline FiberCore* running_fiber() noexcept {
    Worker* const worker = Worker::current();
    return worker == nullptr ? nullptr : worker->fiber();
}

/// The fiber that foreign code calls from, whatever is patched; null: none, or it is none.
[[gnu::always_inline]] inline FiberCore* fiber_of_foreign(const void* caller) noexcept {
    FiberCore* const fiber = running_fiber();
    if (fiber == nullptr || weft_text.has(caller) || hooks_text.has(caller)) return nullptr;
    if (mere_allocator_text.has(caller) || !runs_on_its_stack(*fiber)) return nullptr;
    // In exit(), which halts the others, nobody would wake it.
    return fiber->scheduler->halted() ? nullptr : fiber;
}

/// Whether a call of `symbol` is to be taken from the fiber that makes it, and `can` be.
template <Symbol symbol>
[[gnu::always_inline]] inline bool takes(const FiberCore& fiber, bool can = true) noexcept {
    if ((patched.load(std::memory_order_relaxed) & Original<symbol>::in) == 0) return false;
    const std::size_t shard = Worker::current()->index() % tally_shards;
    Tally& tally = tallies[shard].of[static_cast<std::size_t>(symbol)];
    const bool is_taken = can && fiber.bypasses == 0;
    count_in(is_taken ? tally.taken : tally.passed);
    return is_taken;
}

/// Whether a fiber from which a call is taken stays on its worker from then on.
enum class Keep : bool { no, yes };

/// The fiber that a call of `symbol` is to be taken from; null: libc does it.
template <Symbol symbol, Keep keep = Keep::yes>
[[gnu::always_inline]] inline FiberCore* fiber_of_call(const void* caller) noexcept {
    if ((patched.load(std::memory_order_relaxed) & Original<symbol>::in) == 0) return nullptr;
    FiberCore* const fiber = fiber_of_foreign(caller);
    if (fiber == nullptr || !takes<symbol>(*fiber)) return nullptr;
    if constexpr (keep == Keep::yes) keep_here(*fiber, *Worker::current());
    return fiber;
}

}  // namespace weft::hooks::detail

/// In a hook: the fiber that the call is taken from, or null.
#define WEFT_TAKEN(name)                                                           \
    ::weft::hooks::detail::fiber_of_call<::weft::hooks::detail::Symbol::s_##name>( \
        __builtin_return_address(0))

/// The same in the hook of a lock and the like: the C++ library locks to format a number, which
/// is no reason for a fiber to stay. It does while it holds one, or waits.
#define WEFT_TAKEN_FOR_NOW(name)                                                  \
    ::weft::hooks::detail::fiber_of_call<::weft::hooks::detail::Symbol::s_##name, \
                                         ::weft::hooks::detail::Keep::no>(        \
        __builtin_return_address(0))

/// In a hook that goes with others: the fiber that foreign code calls from, or null.
#define WEFT_FOREIGN_FIBER() ::weft::hooks::detail::fiber_of_foreign(__builtin_return_address(0))

/// In a hook: whether the call is taken from `fiber`, and `can` be.
#define WEFT_TAKES(name, ...) \
    ::weft::hooks::detail::takes<::weft::hooks::detail::Symbol::s_##name>(__VA_ARGS__)
