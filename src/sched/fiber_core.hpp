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
#include "sched/fiber_extras.hpp"
#include "sched/party.hpp"
#include "sched/side_stack.hpp"

#include <weft/detail/routine.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>

namespace weft::detail {

class Scheduler;

/// When a woken fiber runs on the worker that wakes it: before those that are
/// queued there, or after them, as befits one of several woken together.
enum class Turn : bool { next, in_order };

// One cache line holds what a switch touches, see the first group.
class alignas(64) FiberCore final : public Party {
public:
    static constexpr std::size_t inline_size = 32;
    static constexpr std::uint16_t anywhere = 0xFFFF;

    // The result and the exception are destroyed, and an exception nobody took is
    // reported, by whoever comes second: the fiber's end or the handle's. Both are
    // on a stack of their own then, where user code may run.
    static constexpr std::uint8_t mark_ended = 1;
    static constexpr std::uint8_t mark_handle_gone = 2;
    static constexpr std::uint8_t mark_observed = 4;
    // Of a Timer's fiber, the first of the two: its callable began (or is gone with the
    // fiber), or never will.
    static constexpr std::uint8_t mark_begun = 8;
    static constexpr std::uint8_t mark_called_off = 16;
    // Of one that takes signals: it waits where one may end that, and its calls go on then.
    static constexpr std::uint8_t mark_exposed = 32;
    static constexpr std::uint8_t mark_restarts = 64;

    static constexpr std::uint8_t foreign_stays = 1;          // counted in pins, to the end
    static constexpr std::uint8_t foreign_roams = 2;          // and is not to stay
    static constexpr std::uint8_t foreign_takes_signals = 4;  // its calls end with EINTR
    static constexpr std::uint8_t most_locks = 255;           // with so many it stays to the end

    FiberCore() noexcept : Party{Kind::fiber} {}
    ~FiberCore() { delete extras.load(std::memory_order_relaxed); }

    static constexpr bool is_small(const Routine& routine) noexcept {
        return routine.size <= inline_size && routine.align <= alignof(std::max_align_t);
    }
    void* storage() noexcept { return is_small(*routine) ? inline_storage : heap_storage; }
    /// Null-terminated; null without one.
    const char* name() const noexcept {
        const FiberExtras* const more = extras.load(std::memory_order_acquire);
        return more == nullptr ? nullptr : more->name.get();
    }
    /// Any thread that holds a reference. Throws std::bad_alloc.
    FiberExtras& need_extras() {
        FiberExtras* there = extras.load(std::memory_order_acquire);
        if (there != nullptr) return *there;
        auto made = std::make_unique<FiberExtras>();
        // seq_cst: pairs with cancel(), which sets its flag and then looks for extras.
        if (extras.compare_exchange_strong(there, made.get(), std::memory_order_seq_cst)) {
            return *made.release();
        }
        return *there;
    }
    bool is_pinned() const noexcept { return pins != 0; }
    Stack stack() const noexcept { return Stack{stack_end, stack_shift}; }
    /// Its own, or the one it runs on for a while.
    Stack running_stack() const noexcept { return side == nullptr ? stack() : side->stack; }

    // --- owner only ---
    std::uint8_t locks = 0;  // the hooks': foreign locks it holds, counted in pins as one

    // --- owner only, at every switch ---
    Context context = nullptr;  // null: has not run yet
    FiberCore* next = nullptr;
    const Purpose* purpose = nullptr;  // on its own stack; for who froze it in a wait
    Scheduler* scheduler = nullptr;    // fixed from the spawn to the end
    std::uint16_t home = anywhere;     // the worker it is pinned to
    std::uint16_t pins = 0;
    std::uint8_t stack_shift = 0;              // fixed from the spawn to the end
    bool is_daemon = false;                    // fixed from the spawn to the end
    std::atomic<std::uint8_t> marks{0};        // any thread
    std::atomic<bool> done{false};             // set under joiners.lock()
    bool has_result = false;                   // written by the fiber's end
    bool result_taken = false;                 // the handle's
    std::uint8_t foreign = 0;                  // the hooks': what follows from foreign code
    std::uint8_t bypasses = 0;                 // the same: how many ask for libc itself
    std::atomic<std::uint32_t> references{0};  // any thread

    // --- owner only ---
    std::byte* stack_end = nullptr;  // null: has no stack
    SideStack* side = nullptr;       // what it runs on, if that is not its own stack

    // --- fixed from the spawn to the end ---
    const Routine* routine = nullptr;

    // --- any thread ---
    std::atomic<FiberExtras*> extras{nullptr};
    std::atomic<std::uint64_t> id{0};  // 0: the slot is free
    WaitQueue joiners;
    std::exception_ptr error;  // written before done, read after

#if defined(WEFT_TSAN)
    WEFT_NO_TSAN void* running_tsan_fiber() const noexcept {
        return side == nullptr ? tsan_fiber : side->tsan_fiber;
    }
    void* tsan_fiber = nullptr;
#endif
#if defined(WEFT_ASAN)
    void* asan_fake_stack = nullptr;
#endif

    // The callable, later the result; on the heap if it is large.
    union {
        alignas(std::max_align_t) std::byte inline_storage[inline_size];
        void* heap_storage;
    };
};

#if !defined(WEFT_TSAN) && !defined(WEFT_ASAN)
// A million parked fibers: this, a page of stack, and its share of page tables.
static_assert(sizeof(FiberCore) == 192);
#endif

}  // namespace weft::detail
