// Hooks on waiting for children and for signals. Layer: hooks. Uses: task, io, os.
//
// A child that is named is waited for by its pidfd; "any child" by a thread. system() is
// made anew, for libc's waits where no hook sees it: SIGINT and SIGQUIT are ignored meanwhile,
// and SIGCHLD is blocked: on a worker anyway, but a thread that is a fiber has a mask of its own.
// Who waits for a signal polls a signalfd of it, and takes it by a call that does not wait.
#include "hooks/caller.hpp"
#include "hooks/descriptor.hpp"
#include "hooks/fiber_thread.hpp"
#include "hooks/moment.hpp"
#include "hooks/signals.hpp"
#include "hooks/thread_call.hpp"
#include "hooks/thread_signals.hpp"
#include "io/timespec.hpp"

#include <weft/detail/wait_queue.hpp>

#include <poll.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <mutex>

namespace weft::hooks::detail {

namespace {

// --- children ---

/// Whether a wait of these options is over when the child has ended.
bool waits_for_end(int options) noexcept { return (options & (WUNTRACED | WCONTINUED)) == 0; }

/// Waits until `pid`, a child, has ended: 0, or -errno. The zombie stays.
long wait_for_end(pid_t pid) noexcept {
    const long pidfd = call(SYS_pidfd_open, static_cast<long>(pid), 0L);
    if (pidfd < 0) return pidfd;
    const long result = wait_ready(static_cast<int>(pidfd), POLLIN, Deadline::never(), "waitpid");
    weft::detail::close_number(static_cast<int>(pidfd));
    return result == -ECANCELED ? result : 0;
}

/// `attempt(WNOHANG)` and `attempt(0)` are the wait without and with waiting, and 0 is "not
/// yet". `wait_for_one()` waits for the one child whose end is waited for, if it is so.
template <class Attempt, class Wait>
long wait_for_child(int options, Attempt&& attempt, Wait&& wait_for_one) noexcept {
    const long at_once = attempt(WNOHANG);
    if (at_once != 0 || (options & WNOHANG) != 0) return at_once;
    const long ended = wait_for_one();
    if (ended == -ECANCELED || ended == -EBADF || ended == -EAGAIN) return ended;
    // Somebody else may have taken it away: then there is no such child.
    if (const long result = attempt(WNOHANG); result != 0) return result;
    return on_own_thread([&] { return attempt(0); });
}

pid_t wait_four(pid_t pid, int* status, int options, rusage* usage) {
    const auto attempt = [=](int how) {
        return call(SYS_wait4, static_cast<long>(pid), status, options | how, usage);
    };
    return answer<pid_t>([&] {
        return wait_for_child(options, attempt, [=] {
            return pid > 0 && waits_for_end(options) ? wait_for_end(pid) : 0L;
        });
    });
}

long wait_for_id(int kind, id_t id, siginfo_t* info, int options) noexcept {
    siginfo_t own{};
    siginfo_t* const found = info != nullptr ? info : &own;
    // The kernel writes zeros if there is nothing to tell.
    const auto attempt = [=](int how) -> long {
        const long result =
            call(SYS_waitid, kind, static_cast<long>(id), found, options | how, nullptr);
        return result < 0 ? result : found->si_pid;
    };
    const bool ends = (options & (WSTOPPED | WCONTINUED)) == 0;
    const auto wait = [=]() -> long {
        if (ends && kind == P_PID) return wait_for_end(static_cast<pid_t>(id));
        if (kind == P_PIDFD && has_nonblock(static_cast<int>(id))) return -EAGAIN;
        if (!ends || kind != P_PIDFD) return 0;
        return wait_ready(static_cast<int>(id), POLLIN, Deadline::never(), "waitid");
    };
    const long result = wait_for_child(options, attempt, wait);
    return result < 0 ? result : 0;
}

// --- system ---

/// What system() asks of the process while at least one of them runs.
class SystemSignals {
public:
    SystemSignals() noexcept {
        const std::lock_guard hold{lock};
        if (users++ > 0) return;
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGINT, &ignore, &before[0]);
        ::sigaction(SIGQUIT, &ignore, &before[1]);
    }
    SystemSignals(const SystemSignals&) = delete;
    SystemSignals& operator=(const SystemSignals&) = delete;
    ~SystemSignals() {
        const std::lock_guard hold{lock};
        if (--users > 0) return;
        ::sigaction(SIGINT, &before[0], nullptr);
        ::sigaction(SIGQUIT, &before[1], nullptr);
    }

    /// Those that the program does not ignore, and its children so do not either.
    sigset_t not_ignored() const noexcept {
        sigset_t set;
        sigemptyset(&set);
        const std::lock_guard hold{lock};
        if (before[0].sa_handler != SIG_IGN) sigaddset(&set, SIGINT);
        if (before[1].sa_handler != SIG_IGN) sigaddset(&set, SIGQUIT);
        return set;
    }

private:
    static constinit weft::detail::SpinLock lock;
    static unsigned users;  // these two: guarded by lock
    static std::array<struct sigaction, 2> before;
};

constinit weft::detail::SpinLock SystemSignals::lock;
unsigned SystemSignals::users = 0;
std::array<struct sigaction, 2> SystemSignals::before;

/// SIGCHLD is blocked in the calling thread, if it is a fiber: a handler would take the child away.
class ChildSignalBlocked {
public:
    explicit ChildSignalBlocked(ThreadSignals* own) noexcept : own_{own} {
        if (own == nullptr) return;
        before_ = own->mask;
        set_mask(*own, before_ | bit_of(SIGCHLD));
    }
    ChildSignalBlocked(const ChildSignalBlocked&) = delete;
    ChildSignalBlocked& operator=(const ChildSignalBlocked&) = delete;
    ~ChildSignalBlocked() {
        if (own_ != nullptr) set_mask(*own_, before_);
    }

private:
    ThreadSignals* const own_;
    Signals before_ = 0;
};

/// 0, or -errno.
long start_shell(const char* command, const sigset_t& defaults, const sigset_t& mask,
                 pid_t& pid) noexcept {
    posix_spawnattr_t how;
    ::posix_spawnattr_init(&how);
    ::posix_spawnattr_setsigdefault(&how, &defaults);
    ::posix_spawnattr_setsigmask(&how, &mask);
    ::posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    const char* const arguments[] = {"sh", "-c", command, nullptr};
    const int error =
        ::posix_spawn(&pid, "/bin/sh", nullptr, &how, const_cast<char* const*>(arguments), environ);
    ::posix_spawnattr_destroy(&how);
    return -error;
}

/// The status of `sh -c command`; -1, or that of a shell that could not be started, with the
/// reason in `error`.
int run_shell(const char* command, int& error) noexcept {
    const sigset_t mask = mask_of_caller();
    const ChildSignalBlocked blocked{signals_of_thread(running_fiber())};
    const SystemSignals signals;
    pid_t pid = -1;
    const long started =
        on_thread([&] { return start_shell(command, signals.not_ignored(), mask, pid); });
    if (started < 0) {
        error = static_cast<int>(-started);
        return W_EXITCODE(127, 0);
    }
    int status = 0;
    const auto take = [&](int how) {
        return call(SYS_wait4, static_cast<long>(pid), &status, how, nullptr);
    };
    // Not to be left behind, cancelled or not: system() cannot say that its child goes on.
    (void)wait_for_end(pid);
    long result = take(WNOHANG);
    if (result == 0) result = on_own_thread([&] { return take(0); });
    if (result > 0) return status;
    error = static_cast<int>(-result);
    return -1;
}

// --- signals ---

/// As the kernel says it of pthread_kill().
int describe(int signal, siginfo_t* info) noexcept {
    if (info == nullptr) return signal;
    *info = siginfo_t{};
    info->si_signo = signal;
    info->si_code = SI_TKILL;
    info->si_pid = ::getpid();
    info->si_uid = ::getuid();
    return signal;
}

/// What is there by now, for the thread that the fiber is or for the process, or on the worker,
/// where SIGPIPE is pending if the fiber raised it. -EAGAIN: nothing.
long take_signal(ThreadSignals* own, const sigset_t* set, siginfo_t* info) noexcept {
    const int pending = own == nullptr ? 0 : take_pending(*own, signals_of(*set));
    if (pending != 0) return describe(pending, info);
    constexpr timespec at_once{};
    const int signal = WEFT_ORIGINAL(sigtimedwait)(set, info, &at_once);
    return signal < 0 ? -errno : signal;
}

/// Waits until a descriptor of those signals is readable, or `watch` knows something: >= 0, or
/// -errno.
long wait_for_any_of(const sigset_t& set, const SignalWatch& watch, Deadline deadline) noexcept {
    const long fd = call(SYS_signalfd4, -1L, &set, 8L, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) return fd;
    const std::array<pollfd, 2> fds{{{static_cast<int>(fd), POLLIN, 0}, {watch.fd(), POLLIN, 0}}};
    const long result = weft::detail::wait_any_ready(fds, deadline, "sigwait");
    weft::detail::close_number(static_cast<int>(fd));
    return result;
}

/// For lack of descriptors. No handler or cancellation ends it, nor what the fiber alone is sent.
long take_on_thread(const sigset_t* set, siginfo_t* info, Deadline deadline) noexcept {
    return on_own_thread([=] {
        const auto left = weft::detail::to_timespec<timespec>(weft::detail::time_left(deadline));
        const int signal = WEFT_ORIGINAL(sigtimedwait)(set, info, &left);
        return signal < 0 ? -errno : signal;
    });
}

long wait_for_signal(ThreadSignals* own, const sigset_t* set, siginfo_t* info,
                     Deadline deadline) noexcept {
    const long at_once = take_signal(own, set, info);
    if (at_once != -EAGAIN) return at_once;
    for (;;) {
        const SignalWatch watch{own, signals_of(*set)};
        if (watch.error() < 0) return watch.error();
        const bool at_end = deadline.passed();
        const long taken = take_signal(own, set, info);
        if (taken != -EAGAIN || at_end) return taken;
        const long result = wait_for_any_of(*set, watch, deadline);
        if (watch.handled()) return -EINTR;
        if (result == -EMFILE || result == -ENFILE) return take_on_thread(set, info, deadline);
        if (result < 0 && result != -ETIMEDOUT) return result;
    }
}

/// With that mask, until a handler has run for the thread.
long suspend(ThreadSignals& own, const sigset_t& mask, const char* reason) noexcept {
    const MaskedWait masked{&own, &mask};
    if (masked.watch().error() < 0) return masked.watch().error();
    while (!masked.watch().handled()) {
        const long result = wait_ready(masked.watch().fd(), POLLIN, Deadline::never(), reason,
                                       Interruption::never_restarted);
        if (result < 0 && result != -EINTR) return result;
    }
    return -EINTR;
}

sigset_t mask_without(const ThreadSignals& own, int signal) noexcept {
    return set_of(is_signal(signal) ? own.mask & ~bit_of(signal) : own.mask);
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

#define WEFT_DEFINE_WAIT(name)                                               \
    pid_t hook_##name(int* status) {                                         \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(status); \
        return wait_four(-1, status, 0, nullptr);                            \
    }
WEFT_DEFINE_WAIT(wait)
WEFT_DEFINE_WAIT(__wait)

#define WEFT_DEFINE_WAITPID(name)                                                          \
    pid_t hook_##name(pid_t pid, int* status, int options) {                               \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(pid, status, options); \
        return wait_four(pid, status, options, nullptr);                                   \
    }
WEFT_DEFINE_WAITPID(waitpid)
WEFT_DEFINE_WAITPID(__waitpid)

pid_t hook_wait3(int* status, int options, rusage* usage) {
    if (WEFT_TAKEN(wait3) == nullptr) return WEFT_ORIGINAL(wait3)(status, options, usage);
    return wait_four(-1, status, options, usage);
}

pid_t hook_wait4(pid_t pid, int* status, int options, rusage* usage) {
    if (WEFT_TAKEN(wait4) == nullptr) return WEFT_ORIGINAL(wait4)(pid, status, options, usage);
    return wait_four(pid, status, options, usage);
}

int hook_waitid(int kind, id_t id, siginfo_t* info, int options) {
    if (WEFT_TAKEN(waitid) == nullptr) return WEFT_ORIGINAL(waitid)(kind, id, info, options);
    return answer<int>([&] { return wait_for_id(kind, id, info, options); });
}

int hook_system(const char* command) {
    if (command == nullptr || WEFT_TAKEN(system) == nullptr) return WEFT_ORIGINAL(system)(command);
    int error = errno;
    const int status = run_shell(command, error);
    errno = error;
    return status;
}

FILE* hook_popen(const char* command, const char* mode) {
    if (WEFT_TAKEN(popen) == nullptr) return WEFT_ORIGINAL(popen)(command, mode);
    FILE* stream = nullptr;
    // Not by a thread that ends before the child, which may ask for a signal then.
    (void)answer([&] {
        return on_thread([&, mask = mask_of_caller()]() -> long {
            const MaskOfProgram masked{mask};
            stream = WEFT_ORIGINAL(popen)(command, mode);
            return stream == nullptr ? -errno : 0;
        });
    });
    return stream;
}

WEFT_OTHER_NAME(FILE*, _IO_popen, (const char* command, const char* mode), popen);

int hook_pclose(FILE* stream) {
    if (WEFT_TAKEN(pclose) == nullptr) return WEFT_ORIGINAL(pclose)(stream);
    int status = -1;
    (void)answer([&] {
        return on_own_thread([&]() -> long {
            status = WEFT_ORIGINAL(pclose)(stream);
            return status < 0 ? -errno : 0;
        });
    });
    return status;
}

int hook_pause() {
    FiberCore* const fiber = WEFT_TAKEN(pause);
    if (fiber == nullptr) return WEFT_ORIGINAL(pause)();
    if (ThreadSignals* const own = signals_of_thread(fiber); own != nullptr) {
        return answer<int>([&] { return suspend(*own, set_of(own->mask), "pause"); });
    }
    return answer<int>([&] {
        return on_own_thread([mask = mask_of_caller()]() -> long {
            const MaskOfProgram masked{mask};
            WEFT_ORIGINAL(pause)();
            return -errno;
        });
    });
}

// `masked` is what a thread that is a fiber, `own`, has meanwhile.
#define WEFT_DEFINE_SIGSUSPEND(name, parameter, argument, masked)                    \
    int hook_##name parameter {                                                      \
        FiberCore* const fiber = WEFT_TAKEN(name);                                   \
        if (fiber == nullptr) return WEFT_ORIGINAL(name) argument;                   \
        if (ThreadSignals* const own = signals_of_thread(fiber); own != nullptr) {   \
            return answer<int>([&] { return suspend(*own, masked, "sigsuspend"); }); \
        }                                                                            \
        return answer<int>([&] {                                                     \
            return on_own_thread([=]() -> long {                                     \
                WEFT_ORIGINAL(name) argument;                                        \
                return -errno;                                                       \
            });                                                                      \
        });                                                                          \
    }
WEFT_DEFINE_SIGSUSPEND(sigsuspend, (const sigset_t* mask), (mask), *mask)
WEFT_DEFINE_SIGSUSPEND(__sigsuspend, (const sigset_t* mask), (mask), *mask)
WEFT_DEFINE_SIGSUSPEND(sigpause, (int mask), (mask), set_of(static_cast<unsigned>(mask)))
WEFT_DEFINE_SIGSUSPEND(__xpg_sigpause, (int signal), (signal), mask_without(*own, signal))
WEFT_DEFINE_SIGSUSPEND(__sigpause, (int signal_or_mask, int is_one), (signal_or_mask, is_one),
                       is_one != 0 ? mask_without(*own, signal_or_mask)
                                   : set_of(static_cast<unsigned>(signal_or_mask)))

int hook_sigwait(const sigset_t* set, int* signal) {
    FiberCore* const fiber = WEFT_TAKEN(sigwait);
    if (fiber == nullptr) return WEFT_ORIGINAL(sigwait)(set, signal);
    leave_if_cancelled();
    const int before = errno;
    long result = 0;
    do {
        result = wait_for_signal(signals_of_thread(fiber), set, nullptr, weft::Deadline::never());
    } while (result == -EINTR);  // which it does not say
    errno = before;
    if (result < 0) return leave_if_ended(static_cast<int>(-result));
    *signal = static_cast<int>(result);
    return 0;
}

int hook_sigwaitinfo(const sigset_t* set, siginfo_t* info) {
    FiberCore* const fiber = WEFT_TAKEN(sigwaitinfo);
    if (fiber == nullptr) return WEFT_ORIGINAL(sigwaitinfo)(set, info);
    return answer<int>([&] {
        return wait_for_signal(signals_of_thread(fiber), set, info, weft::Deadline::never());
    });
}

int hook_sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
    FiberCore* const fiber = WEFT_TAKEN(sigtimedwait);
    if (fiber == nullptr || (timeout != nullptr && !weft::detail::is_valid(*timeout))) {
        return WEFT_ORIGINAL(sigtimedwait)(set, info, timeout);
    }
    return answer<int>([&] {
        return wait_for_signal(signals_of_thread(fiber), set, info, Moment::in(timeout).deadline());
    });
}
