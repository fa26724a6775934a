// The seam under every lock-free structure: its atomics and fences come from a
// Sync type, so that tests/model/ runs the same source under a model checker.
// Layer: base. Uses: nothing.
//
// The asymmetric pair: light_fence() costs nothing and heavy_fence() a system
// call (membarrier). Of a thread that stores, light_fence()s and loads, and one
// that stores, heavy_fence()s and loads, at least one sees the other's store.
// Where membarrier is refused, light_fence() becomes a full fence.
#pragma once

#include <weft/detail/export.hpp>

#include <atomic>

namespace weft::detail {

/// Whether heavy_fence() reaches the other threads. Set once, before threads.
extern std::atomic<bool> membarrier_works;
/// Probes for membarrier. Idempotent; call before starting threads.
void prepare_fences() noexcept;
/// membarrier, or full_fence() where that is refused.
void interrupt_all_threads() noexcept;
WEFT_API void full_fence() noexcept;
/// One turn of a spin loop.
void cpu_relax() noexcept;
/// Gives the CPU away after too many turns.
void spin_pause(unsigned turn) noexcept;

struct StdSync {
    template <class T>
    using atomic = std::atomic<T>;

    static void light_fence() noexcept {
        if (membarrier_works.load(std::memory_order_relaxed)) {
            std::atomic_signal_fence(std::memory_order_seq_cst);
        } else {
            full_fence();
        }
    }
    static void heavy_fence() noexcept { interrupt_all_threads(); }
    static void spin(unsigned turn) noexcept { spin_pause(turn); }
};

}  // namespace weft::detail
