// FiberCore: a fiber's control block.
// Layer: sched. Uses: base, context.
//
// States and who owns it in each:
//   new        its spawner, then the queue that holds it; no stack yet
//   runnable   the queue that holds it
//   running    its worker
//   switching  its worker, until off the stack (After::commit)
//   parked     nobody; a live ticket may claim it
//   claimed    the claimer, who resumes it exactly once
//   done       its handles; the stack is gone
//
// Memory: a slot of a FiberTable, never given back to the system, so that a
// stale ticket can always be looked at. `references` counts the running fiber
// as one and the handle as one; the last to go frees the slot.
#pragma once

#include "base/sanitizer.hpp"
#include "context/stack.hpp"
#include "context/switch.hpp"
#include "sched/party.hpp"

#include <weft/detail/routine.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string_view>

namespace weft::detail {

class Scheduler;

class FiberCore final : public Party {
public:
    static constexpr std::size_t inline_size = 32;
    static constexpr std::uint16_t anywhere = 0xFFFF;

    FiberCore() noexcept : Party{Kind::fiber} {}

    bool is_daemon() const noexcept { return (flags & flag_daemon) != 0; }
    bool is_pinned() const noexcept { return pins != 0; }

    static constexpr std::uint8_t flag_daemon = 1;
    static constexpr std::uint8_t flag_has_result = 4;
    static constexpr std::uint8_t flag_result_taken = 8;
    static constexpr std::uint8_t flag_has_callable = 16;

    // --- fixed from the spawn to the end ---
    std::uint8_t stack_shift = 0;
    const Routine* routine = nullptr;
    Scheduler* scheduler = nullptr;
    std::atomic<std::uint64_t> id{0};  // 0: the slot is free
    void* storage = nullptr;           // inline_storage or heap
    char* name = nullptr;              // null-terminated, heap; null without one

    // --- owner only ---
    FiberCore* next = nullptr;
    Context context = nullptr;         // null: has not run yet
    Stack stack;
    ExceptionState exceptions;
    const char* wait_reason = nullptr;  // literal; read by dumps without a lock
    const void* wait_object = nullptr;
    std::uint16_t home = anywhere;      // the worker it is pinned to
    std::uint16_t pins = 0;
    std::uint8_t flags = 0;
    std::atomic<bool> done{false};      // set under joiners.lock()

    // --- any thread ---
    // An exception nobody took is reported by whoever comes second: the fiber's
    // end or the handle's. Both mark themselves by a read-modify-write here.
    static constexpr std::uint8_t mark_ended = 1;
    static constexpr std::uint8_t mark_handle_gone = 2;
    static constexpr std::uint8_t mark_observed = 4;
    std::atomic<std::uint8_t> marks{0};
    std::atomic<std::uint32_t> references{0};
    WaitQueue joiners;
    std::exception_ptr error;           // written before done, read after

#if defined(WEFT_TSAN)
    void* tsan_fiber = nullptr;
#endif
#if defined(WEFT_ASAN)
    void* asan_fake_stack = nullptr;
#endif

    alignas(std::max_align_t) std::byte inline_storage[inline_size];
};

}  // namespace weft::detail
