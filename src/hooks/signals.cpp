// Hooks on signals, and on making processes. Layer: hooks. Uses: sched.
//
// A signal handler may interrupt a fiber anywhere, and what it calls must be libc's own.
// So handlers run on the worker's stack for signals, by which a hook knows them: SA_ONSTACK
// is added to each, and kept from who asks. Rejected: to count handlers in and out by a
// wrapper around each, which siglongjmp() leaves without a word.
//
// Workers have all signals blocked for weft's own sake. A fiber's mask is but kept: who it makes
// begins with it, and what is raised on its worker by a call of its own (SIGPIPE, raise()) is
// delivered as soon as the call is over, unless it is in the mask; then it stays pending, for
// sigtimedwait() or until the fiber opens it. Signals for the process go to other threads.
//
// A child of fork() that is made in a fiber is no fiber: it has one thread, which is no
// worker, and the fiber's mask. So has a program that a fiber becomes by exec*(). vfork() would
// share all that with its parent, and is fork() there.
#include "hooks/signals.hpp"

#include "hooks/caller.hpp"
#include "hooks/fiber_thread.hpp"
#include "hooks/keys.hpp"
#include "hooks/thread_signals.hpp"
#include "io/foreign_use.hpp"
#include "io/system_call.hpp"

#include <weft/local.hpp>

#include <pthread.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <optional>

namespace weft::hooks::detail {

namespace {

constinit sigset_t mask_at_start{};

// --- handlers ---

/// Of which signals SA_ONSTACK is our doing, as bits.
constinit std::atomic<std::uint64_t> moved{0};

bool is_to_be_moved(const struct sigaction& action) noexcept {
    return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN &&
           (action.sa_flags & SA_ONSTACK) == 0;
}

void note_moved(int signal, bool by_us) noexcept {
    if (by_us) {
        moved.fetch_or(bit_of(signal), std::memory_order_relaxed);
    } else {
        moved.fetch_and(~bit_of(signal), std::memory_order_relaxed);
    }
}

bool handlers_are_left_alone(const void* caller) noexcept {
    return patched.load(std::memory_order_relaxed) == 0 || weft_text.has(caller) ||
           hooks_text.has(caller);
}

using Install = int(int, const struct sigaction*, struct sigaction*);

int install(Install* original, int signal, const struct sigaction* action,
            struct sigaction* before) noexcept {
    struct sigaction changed {};
    const bool move = action != nullptr && is_signal(signal) && is_to_be_moved(*action);
    if (move) {
        changed = *action;
        changed.sa_flags |= SA_ONSTACK;
    }
    const int result = original(signal, move ? &changed : action, before);
    if (result != 0 || !is_signal(signal)) return result;
    const bool was_moved = (moved.load(std::memory_order_relaxed) & bit_of(signal)) != 0;
    if (before != nullptr && was_moved) before->sa_flags &= ~SA_ONSTACK;
    if (action != nullptr) note_moved(signal, move);
    return result;
}

/// After something else than sigaction() may have installed a handler.
void move_handler(int signal) noexcept {
    struct sigaction action {};
    if (!is_signal(signal) || WEFT_ORIGINAL(sigaction)(signal, nullptr, &action) != 0) return;
    if (!is_to_be_moved(action)) return;
    action.sa_flags |= SA_ONSTACK;
    if (WEFT_ORIGINAL(sigaction)(signal, &action, nullptr) == 0) note_moved(signal, true);
}

// --- masks of fibers ---

void forget_pending(Signals signals) noexcept {
    const sigset_t set = set_of(signals);
    const timespec at_once{};
    const int before = errno;
    while (WEFT_ORIGINAL(sigtimedwait)(&set, nullptr, &at_once) > 0) {
    }
    errno = before;
}

/// Of a fiber that changed its mask, or raised what that has.
struct FiberMask {
    FiberMask() = default;
    FiberMask(const FiberMask&) = delete;
    FiberMask& operator=(const FiberMask&) = delete;
    /// What is pending of it is none of other fibers'.
    ~FiberMask() {
        if (raised != 0) forget_pending(raised);
    }
    std::optional<Signals> changed;
    Signals raised = 0;
};

FiberLocal<FiberMask>& own_mask() {
    static auto& mask = *new FiberLocal<FiberMask>;
    return mask;
}

/// As the kernel has it and libc leaves it.
Signals blockable_of_fiber() noexcept {
    constexpr int of_libc = 32;
    return ~(bit_of(SIGKILL) | bit_of(SIGSTOP) | bit_of(of_libc) | bit_of(of_libc + 1));
}

/// The calling fiber's, be it a thread or not.
bool is_blocked(const FiberCore& fiber, int signal) noexcept {
    const ThreadSignals* const own = signals_of_thread(&fiber);
    const Signals mask = own == nullptr ? signals_of(mask_of_fiber(fiber)) : own->mask;
    return (mask & bit_of(signal)) != 0;
}

void let_one_through(int signal) noexcept {
    const sigset_t set = set_of(bit_of(signal));
    const sigset_t mask = mask_of_caller();
    sigset_t before;
    WEFT_ORIGINAL(pthread_sigmask)(SIG_UNBLOCK, &set, &before);
    // A child that the handler made came back from it.
    const bool is_child = weft_current_worker == nullptr;
    WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, is_child ? &mask : &before, nullptr);
}

/// Those of `signals` that are pending happen now: of the worker, and of the process. One by one,
/// for the handler of one is not to be interrupted while it has a lock of weft's.
void let_through(Signals signals) noexcept {
    Signals pending = 0;
    weft::detail::system_call<::syscall>(SYS_rt_sigpending, &pending, long{sizeof pending});
    pending &= signals;
    for (int signal = 1; pending != 0; ++signal) {
        if ((pending & bit_of(signal)) != 0) let_one_through(signal);
        pending &= ~bit_of(signal);
    }
}

// --- sigset ---

/// Whether the fiber had it blocked.
bool change_blocked(FiberCore& fiber, int signal, int how) noexcept {
    const sigset_t set = set_of(bit_of(signal));
    sigset_t before = set_of(0);
    if (ThreadSignals* const own = signals_of_thread(&fiber); own != nullptr) {
        (void)change_mask(*own, how, &set, &before);
    } else {
        (void)change_mask_of(fiber, how, &set, &before);
    }
    return sigismember(&before, signal) == 1;
}

/// sigset() in a fiber: libc's changes the mask where no hook sees it.
sighandler_t set_in_fiber(FiberCore& fiber, int signal, sighandler_t handler) noexcept {
    const bool holds = handler == SIG_HOLD;
    struct sigaction action {};
    action.sa_handler = handler;
    struct sigaction before {};
    // Not on the fiber's stack even once: what is pending comes as soon as it is not blocked.
    if (install(WEFT_ORIGINAL(sigaction), signal, holds ? nullptr : &action, &before) != 0) {
        return SIG_ERR;
    }
    const bool was_blocked = change_blocked(fiber, signal, holds ? SIG_BLOCK : SIG_UNBLOCK);
    return was_blocked ? SIG_HOLD : before.sa_handler;
}

// --- processes ---

constinit bool was_fiber = false;  // the only thread of this process, a child

/// The one thread of a child, if it is a fiber's or runs a handler for one, becomes a plain one.
void leave_runtime() noexcept {
    if (weft_current_worker == nullptr && this_fiber_thread() == nullptr) return;
    const sigset_t mask = mask_of_caller();
    was_fiber = running_fiber() != nullptr;
    weft_current_worker = nullptr;
    WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, &mask, nullptr);
}

/// The same after fork(), which, other than _Fork(), leaves an allocator as it has to be.
void leave_runtime_after_fork() noexcept {
    const FiberCore* const fiber = running_fiber();
    if (fiber != nullptr && runs_on_its_stack(*fiber)) hand_key_values_to_thread();
    leave_runtime();
}

using Spawn = int(pid_t*, const char*, const posix_spawn_file_actions_t*, const posix_spawnattr_t*,
                  char* const*, char* const*);

/// The child begins with the signals of its maker, unless that says which.
int spawn(Spawn* original, pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions,
          const posix_spawnattr_t* how, char* const* arguments, char* const* environment) noexcept {
    posix_spawnattr_t changed;
    ::posix_spawnattr_init(&changed);
    if (how != nullptr) changed = *how;  // what glibc has in it is but values
    short flags = 0;
    ::posix_spawnattr_getflags(&changed, &flags);
    if ((flags & POSIX_SPAWN_SETSIGMASK) == 0) {
        const sigset_t mask = mask_of_caller();
        ::posix_spawnattr_setsigmask(&changed, &mask);
        ::posix_spawnattr_setflags(&changed, static_cast<short>(flags | POSIX_SPAWN_SETSIGMASK));
    }
    return original(pid, path, actions, &changed, arguments, environment);
}

}  // namespace

void forget_pipe_signal() noexcept { forget_pending(bit_of(SIGPIPE)); }

void note_mask_of_program() noexcept {
    WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, nullptr, &mask_at_start);
    ::pthread_atfork(nullptr, nullptr, &leave_runtime_after_fork);
}

const sigset_t& mask_of_program() noexcept { return mask_at_start; }

sigset_t mask_of_fiber(const FiberCore& fiber) noexcept {
    if (own_mask().has_value() && own_mask().get().changed)
        return set_of(*own_mask().get().changed);
    // Under weft-run --threads the first thread blocks all.
    const bool is_run = program.load(std::memory_order_acquire) != nullptr;
    return is_run ? mask_at_start : fiber.scheduler->setup().program_mask;
}

bool is_child_that_was_fiber() noexcept { return was_fiber && ::gettid() == ::getpid(); }

void move_handlers_off_fibers() noexcept {
    const int before = errno;
    for (int signal = 1; signal <= 64; ++signal) move_handler(signal);
    errno = before;
}

int change_mask_of(const FiberCore& fiber, int how, const sigset_t* set,
                   sigset_t* before) noexcept {
    const Signals was = signals_of(mask_of_fiber(fiber));
    Signals mask = was;
    if (set != nullptr) {
        const Signals named = signals_of(*set);
        switch (how) {
            case SIG_BLOCK: mask |= named; break;
            case SIG_UNBLOCK: mask &= ~named; break;
            case SIG_SETMASK: mask = named; break;
            default: return EINVAL;
        }
        mask &= blockable_of_fiber();
    }
    if (before != nullptr) *before = set_of(was);
    if (mask == was) return 0;
    if ((mask & ~was & bit_of(SIGPIPE)) != 0) forget_pipe_signal();  // none of its own
    own_mask().get().changed = mask;
    let_through(was & ~mask);
    return 0;
}

void deliver_own_signal(int signal) noexcept {
    FiberCore* const fiber = running_fiber();
    if (fiber == nullptr) return;
    if (!is_blocked(*fiber, signal)) return let_through(bit_of(signal));
    keep_here(*fiber, *Worker::current());  // there it is pending
    if (signals_of_thread(fiber) == nullptr) own_mask().get().raised |= bit_of(signal);
}

void raise_pipe_signal() noexcept {
    ::pthread_kill(::pthread_self(), SIGPIPE);
    deliver_pipe_signal();
}

extern "C" [[gnu::used]] void* weft_hooks_choose_vfork() noexcept {
    FiberCore* const fiber = running_fiber();
    const bool of_fiber = fiber != nullptr && patched.load(std::memory_order_relaxed) != 0;
    return of_fiber ? reinterpret_cast<void*>(&::fork)
                    : reinterpret_cast<void*>(WEFT_ORIGINAL(vfork));
}

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

#define WEFT_DEFINE_SIGACTION(name)                                                         \
    int hook_##name(int signal, const struct sigaction* action, struct sigaction* before) { \
        if (handlers_are_left_alone(__builtin_return_address(0))) {                         \
            return WEFT_ORIGINAL(name)(signal, action, before);                             \
        }                                                                                   \
        return install(WEFT_ORIGINAL(name), signal, action, before);                        \
    }
WEFT_DEFINE_SIGACTION(sigaction)
WEFT_DEFINE_SIGACTION(__sigaction)

#define WEFT_DEFINE_SIGNAL(name)                                                          \
    sighandler_t hook_##name(int signal, sighandler_t handler) {                          \
        const sighandler_t before = WEFT_ORIGINAL(name)(signal, handler);                 \
        if (before != SIG_ERR && !handlers_are_left_alone(__builtin_return_address(0))) { \
            move_handler(signal);                                                         \
        }                                                                                 \
        return before;                                                                    \
    }
WEFT_DEFINE_SIGNAL(signal)
WEFT_DEFINE_SIGNAL(bsd_signal)
WEFT_DEFINE_SIGNAL(ssignal)
WEFT_DEFINE_SIGNAL(sysv_signal)
WEFT_DEFINE_SIGNAL(__sysv_signal)

sighandler_t hook_sigset(int signal, sighandler_t handler) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    const sighandler_t before = fiber == nullptr ? WEFT_ORIGINAL(sigset)(signal, handler)
                                                 : set_in_fiber(*fiber, signal, handler);
    if (before != SIG_ERR && !handlers_are_left_alone(__builtin_return_address(0))) {
        move_handler(signal);
    }
    return before;
}

#define WEFT_DEFINE_CHANGE_MASK(name, told)                                        \
    int hook_##name(int how, const sigset_t* set, sigset_t* before) {              \
        FiberCore* const fiber = WEFT_TAKEN(name);                                 \
        if (fiber == nullptr) return WEFT_ORIGINAL(name)(how, set, before);        \
        if (ThreadSignals* const own = signals_of_thread(fiber); own != nullptr) { \
            return told(change_mask(*own, how, set, before));                      \
        }                                                                          \
        return told(change_mask_of(*fiber, how, set, before));                     \
    }
WEFT_DEFINE_CHANGE_MASK(pthread_sigmask, )
WEFT_DEFINE_CHANGE_MASK(sigprocmask, by_errno)

#define WEFT_DEFINE_SPAWN(name)                                                              \
    int hook_##name(pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions, \
                    const posix_spawnattr_t* how, char* const* arguments,                    \
                    char* const* environment) {                                              \
        if (WEFT_TAKEN(name) == nullptr && this_fiber_thread() == nullptr) {                 \
            return WEFT_ORIGINAL(name)(pid, path, actions, how, arguments, environment);     \
        }                                                                                    \
        return spawn(WEFT_ORIGINAL(name), pid, path, actions, how, arguments, environment);  \
    }
WEFT_DEFINE_SPAWN(posix_spawn)
WEFT_DEFINE_SPAWN(posix_spawnp)

pid_t hook__Fork() {
    const pid_t pid = WEFT_ORIGINAL(_Fork)();
    if (pid == 0) {
        leave_runtime();
        weft::detail::forget_foreign_calls();  // fork() does by a handler of its own
    }
    return pid;
}

// Returns twice, and so must have no frame: it jumps to the one that was chosen.
#if defined(__x86_64__)
[[gnu::naked]] pid_t hook_vfork() {
    asm("endbr64\n\t"
        "subq $8, %rsp\n\t"
        "call weft_hooks_choose_vfork@PLT\n\t"
        "addq $8, %rsp\n\t"
        "jmp *%rax");
}
#elif defined(__aarch64__)
[[gnu::naked]] pid_t hook_vfork() {
    asm("stp x29, x30, [sp, #-16]!\n\t"
        "bl weft_hooks_choose_vfork\n\t"
        "ldp x29, x30, [sp], #16\n\t"
        "br x0");
}
#endif
#if defined(__x86_64__) || defined(__aarch64__)
WEFT_OTHER_NAME(pid_t, __vfork, (), vfork);
#endif
