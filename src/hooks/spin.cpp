// What spins until somebody else has run: others are to run meanwhile. Layer: hooks.
// Uses: task.
#include "base/sync.hpp"
#include "hooks/caller.hpp"

#include <weft/this_fiber.hpp>

#include <cerrno>

#include <pthread.h>
#include <sched.h>
#include <threads.h>

namespace weft::hooks::detail {

namespace {

/// The fiber, and then its thread, for the other one may be on either.
int yield_both() noexcept {
    {
        const this_fiber::Pin pin;
        this_fiber::yield();
    }
    return WEFT_ORIGINAL(sched_yield)();
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_sched_yield() {
    return WEFT_TAKEN_FOR_NOW(sched_yield) == nullptr ? WEFT_ORIGINAL(sched_yield)() : yield_both();
}

WEFT_OTHER_NAME(int, __sched_yield, (), sched_yield);

void hook_thrd_yield() {
    if (WEFT_TAKEN_FOR_NOW(thrd_yield) == nullptr) return WEFT_ORIGINAL(thrd_yield)();
    yield_both();
}

int hook_pthread_spin_lock(pthread_spinlock_t* lock) {
    if (WEFT_TAKEN_FOR_NOW(pthread_spin_lock) == nullptr) {
        return WEFT_ORIGINAL(pthread_spin_lock)(lock);
    }
    constexpr int patience = 100;
    int turns = 0;
    int error = EBUSY;
    while ((error = ::pthread_spin_trylock(lock)) == EBUSY) {
        if (++turns % patience == 0) yield_both();
    }
    return error;
}
