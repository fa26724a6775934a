// How a thread that is a fiber (weft-run --threads) is left before its body returns: by
// pthread_exit(), and at a cancellation point of pthreads once pthread_cancel() has asked for it.
// Layer: hooks. Uses: sched.
//
// As libc does it, by a forced unwinding: it runs destructors, and ends the process if a
// catch (...) does not throw on. What C code pushed by pthread_cleanup_push() is a jmp_buf in the
// frame of who pushed it. The unwinding that has passed that frame jumps there; the handler runs,
// and the unwinding goes on from it. It ends by a jump to where the body was called.
//
// Who is left is deaf from then on: what its handlers wait for is not ended, but by signals. So it
// is while PTHREAD_CANCEL_DISABLE is set. (Rejected: a Shield, which keeps signals off as well.)
#pragma once

#include "sched/wait_word.hpp"

#include <pthread.h>
#include <unwind.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>

namespace weft {
class Runtime;
}

namespace weft::hooks::detail {

struct FiberThread;

/// The runtime of main() and its threads; never destroyed. Null: threads are libc's.
extern constinit std::atomic<Runtime*> program;

/// What there is to leave; its own thread's.
struct ThreadFrames {
    std::jmp_buf* body = nullptr;                // the outermost
    __pthread_unwind_buf_t* cleanups = nullptr;  // the innermost that was pushed
    _Unwind_Exception unwinding{};
    void* result = nullptr;  // which it was left with
    bool is_left = false;
    bool is_cancel_disabled = false;
    int cancel_type = PTHREAD_CANCEL_DEFERRED;  // only told: all are deferred
};

/// What `body(thread)` returns, or what the calling thread was left with. It is not asked to end
/// from then on.
void* call_until_left(FiberThread& thread, void* (*body)(FiberThread&));

/// Unwinds the calling thread. Requires: it runs on its stack.
[[noreturn]] void leave_thread(FiberThread& thread, void* result);

/// Whether the calling thread is a fiber that is to end here.
bool is_asked() noexcept;
void leave_if_asked();

/// Cancellation point of pthreads: leaves the calling thread if it is a fiber that was asked to.
inline void leave_if_cancelled() {
    if (program.load(std::memory_order_relaxed) != nullptr) [[unlikely]]
        leave_if_asked();
}

/// The same after a call that said `error`.
inline int leave_if_ended(int error) {
    if (error == ECANCELED) [[unlikely]]
        leave_if_cancelled();
    return error;
}

/// Whether a wait of the caller's ends when pthread_cancel() asks it to; it may end so for what the
/// program does with weft itself, too.
weft::detail::Cancellable of_threads() noexcept;

}  // namespace weft::hooks::detail
