// Hooks on C11's threads (weft-run --threads). Layer: hooks. Uses: runtime.
//
// A thrd_t is a pthread_t, and the calls are pthreads' but for the body's result.
#include "hooks/fiber_thread.hpp"

#include "hooks/c11.hpp"
#include "hooks/caller.hpp"
#include "hooks/signals.hpp"

#include <cstdlib>

using namespace weft::hooks::detail;

int hook_thrd_create(thrd_t* thread, int (*body)(void*), void* argument) {
    weft::Runtime* const runtime = runtime_of_new_threads();
    if (runtime == nullptr) {
        if (Worker::current() == nullptr) return WEFT_ORIGINAL(thrd_create)(thread, body, argument);
        const MaskOfProgram mask{mask_of_caller()};  // a fiber: not to inherit its worker's
        return WEFT_ORIGINAL(thrd_create)(thread, body, argument);
    }
    ThreadWishes wishes;
    wishes.c11_body = body;
    wishes.argument = argument;
    return start_fiber_thread(*runtime, thread, wishes) == 0 ? thrd_success : thrd_nomem;
}

int hook_thrd_detach(thrd_t thread) {
    FiberThread* const own = fiber_thread_of(thread);
    if (own == nullptr) return WEFT_ORIGINAL(thrd_detach)(thread);
    return detach_fiber_thread(*own) == 0 ? thrd_success : thrd_error;
}

thrd_t hook_thrd_current() {
    FiberThread* const own = this_fiber_thread();
    return own != nullptr ? reinterpret_cast<thrd_t>(own) : WEFT_ORIGINAL(thrd_current)();
}

void hook_thrd_exit(int result) {
    if (is_child_that_was_fiber()) std::exit(EXIT_SUCCESS);
    const std::intptr_t wide = result;
    if (!leave_fiber(reinterpret_cast<void*>(wide))) WEFT_ORIGINAL(thrd_exit)(result);
}
