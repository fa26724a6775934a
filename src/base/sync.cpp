// Layer: base. Uses: membarrier(2).
#include "base/sync.hpp"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weft::detail {

bool membarrier_works = false;

void prepare_fences() noexcept {
    static const bool works =
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    membarrier_works = works;
}

void full_fence() noexcept {
    std::atomic<int> word{0};
    word.exchange(1, std::memory_order_seq_cst);
}

void interrupt_all_threads() noexcept {
    if (!membarrier_works || syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
        full_fence();
    }
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
