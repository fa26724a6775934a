// Layer: base. Uses: membarrier(2).
#include "base/sync.hpp"

#include "base/sanitizer.hpp"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::detail {

std::atomic<bool> membarrier_works{false};

void prepare_fences() noexcept {
    [[maybe_unused]] static const bool once = [] {
        const bool works =
            syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
        membarrier_works.store(works, std::memory_order_relaxed);
        return true;
    }();
}

void full_fence() noexcept {
#if defined(WEFT_TSAN)
    // TSan does not model fences.
    static std::atomic<int> word{0};
    word.fetch_add(1, std::memory_order_seq_cst);
#else
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

void interrupt_all_threads() noexcept {
    if (!membarrier_works.load(std::memory_order_relaxed)) return full_fence();
    // The others fence lightly and rely on it: once it is registered, it can only
    // be short of memory for a moment.
    while (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) sched_yield();
}

void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");
#endif
}

void spin_pause(unsigned turn) noexcept {
    // A holder is inside for tens of instructions; if it takes longer it was preempted.
    if (turn < 64) {
        cpu_relax();
        return;
    }
    sched_yield();
}

}  // namespace weft::detail
