// Guards of static locals: __cxa_guard_acquire and its kin. Layer: hooks. Uses: park.
//
// libstdc++'s own algorithm, for fibers and threads alike, but that a fiber parks where a
// thread sleeps on the word: so an initialiser may suspend. Who comes by libstdc++'s own
// functions all the same, since it was linked statically, goes well with it.
#include "hooks/parking.hpp"

#include <atomic>

#include <linux/futex.h>
#include <sys/syscall.h>

namespace weft::hooks::detail {

namespace {

// The first byte is what compiled code looks at.
constexpr int done = 0x1;
constexpr int running = 0x100;
constexpr int awaited = 0x10000;

using Guard = std::atomic_ref<int>;

long futex(int* word, int operation, int value) noexcept {
    return WEFT_ORIGINAL(syscall)(SYS_futex, reinterpret_cast<long>(word), operation, value, 0, 0,
                                  0);
}

void wait_for_end(FiberCore* fiber, int* word) noexcept {
    constexpr int now = running | awaited;
    if (fiber == nullptr) {
        futex(word, FUTEX_WAIT_PRIVATE, now);
        return;
    }
    park_on({word, "initialisation of a static local"}, Deadline::never(),
            [&] { return Guard{*word}.load(std::memory_order_seq_cst) != now; });
}

void end(int* word, int how) noexcept {
    if ((Guard{*word}.exchange(how, std::memory_order_seq_cst) & awaited) == 0) return;
    const int saved_errno = errno;
    futex(word, FUTEX_WAKE_PRIVATE, INT_MAX);
    errno = saved_errno;
    wake(word, everybody);
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook___cxa_guard_acquire(int* guard) {
    for (;;) {
        int seen = 0;
        if (Guard{*guard}.compare_exchange_strong(seen, running, std::memory_order_acq_rel,
                                                  std::memory_order_acquire)) {
            return 1;
        }
        if ((seen & done) != 0) return 0;
        if (seen == running && !Guard{*guard}.compare_exchange_strong(seen, running | awaited,
                                                                      std::memory_order_seq_cst)) {
            continue;
        }
        const int saved_errno = errno;
        wait_for_end(WEFT_TAKEN_FOR_NOW(__cxa_guard_acquire), guard);
        errno = saved_errno;
    }
}

void hook___cxa_guard_release(int* guard) { end(guard, done); }

void hook___cxa_guard_abort(int* guard) { end(guard, 0); }
