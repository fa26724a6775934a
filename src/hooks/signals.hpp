// What the hooks do about signals. Layer: hooks. Uses: sched.
#pragma once

#include "hooks/original.hpp"
#include "sched/fiber_core.hpp"

#include <signal.h>

#include <cerrno>

namespace weft::hooks::detail {

/// Once, as the library is loaded: before anybody changed it.
void note_mask_of_program() noexcept;
/// The signals that the program began with blocked.
const sigset_t& mask_of_program() noexcept;
/// Of the calling fiber, which is no thread of the program's: what it set, or what the thread had
/// that made its runtime. Its worker blocks all; who the fiber makes begins with this.
sigset_t mask_of_fiber(const weft::detail::FiberCore& fiber) noexcept;
/// As sigprocmask(): 0 or an error.
int change_mask_of(const weft::detail::FiberCore& fiber, int how, const sigset_t* set,
                   sigset_t* before) noexcept;

/// Whether the caller is the first thread of a child of fork(), and was a fiber before that.
bool is_child_that_was_fiber() noexcept;

/// While it lives the thread takes the signals that the program began with, or those of `mask`:
/// a child made meanwhile inherits that. (By libc's function: a sanitizer in between, as caller of
/// the hook, would be taken for the program.)
class MaskOfProgram {
public:
    explicit MaskOfProgram(const sigset_t& mask = mask_of_program()) noexcept {
        WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, &mask, &before_);
    }
    MaskOfProgram(const MaskOfProgram&) = delete;
    MaskOfProgram& operator=(const MaskOfProgram&) = delete;
    ~MaskOfProgram() { WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

/// Where libc says -1 with errno, and pthreads an error's number.
inline int by_errno(int error) noexcept {
    if (error == 0) return 0;
    errno = error;
    return -1;
}

/// Lets the handlers that there are run on the stack for signals, where a thread has one.
void move_handlers_off_fibers() noexcept;

/// Of the calling worker: takes back what is pending there.
void forget_pipe_signal() noexcept;
/// In a fiber, after a call that raised a signal on its worker, where that is blocked: it happens
/// now, unless the fiber has it blocked.
void deliver_own_signal(int signal) noexcept;
inline void deliver_pipe_signal() noexcept { deliver_own_signal(SIGPIPE); }
/// The same after another thread made the call.
void raise_pipe_signal() noexcept;

}  // namespace weft::hooks::detail
