// Hooks on waiting for children and for signals. Layer: hooks. Uses: task, io, os.
//
// A child that is named is waited for by its pidfd; "any child" by a thread. system() is
// made anew, for libc's waits where no hook sees it: SIGINT and SIGQUIT are ignored meanwhile,
// and SIGCHLD is blocked on a worker anyway.
#include "hooks/caller.hpp"
#include "hooks/descriptor.hpp"
#include "hooks/signals.hpp"
#include "hooks/thread_call.hpp"

#include <weft/detail/wait_queue.hpp>

#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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
    return result < 0 ? result : 0;
}

/// `attempt(WNOHANG)` and `attempt(0)` are the wait without and with waiting, and 0 is "not
/// yet". `wait_for_one()` waits for the one child whose end is waited for, if it is so.
template <class Attempt, class Wait>
long wait_for_child(int options, Attempt&& attempt, Wait&& wait_for_one) noexcept {
    const long at_once = attempt(WNOHANG);
    if (at_once != 0 || (options & WNOHANG) != 0) return at_once;
    const long ended = wait_for_one();
    if (ended == -ECANCELED) return ended;
    // Somebody else may have taken it away: then there is no such child.
    if (const long result = attempt(WNOHANG); result != 0) return result;
    return on_own_thread([&] { return attempt(0); });
}

pid_t wait_four(pid_t pid, int* status, int options, rusage* usage) noexcept {
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

/// 0, or -errno. The shell takes the signals that the program began with.
long start_shell(const char* command, const sigset_t& defaults, pid_t& pid) noexcept {
    posix_spawnattr_t how;
    ::posix_spawnattr_init(&how);
    ::posix_spawnattr_setsigdefault(&how, &defaults);
    ::posix_spawnattr_setsigmask(&how, &mask_of_program());
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
    const SystemSignals signals;
    pid_t pid = -1;
    const long started =
        on_thread([&] { return start_shell(command, signals.not_ignored(), pid); });
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

/// First of all on the worker, where SIGPIPE is pending if the fiber raised it.
long wait_for_signal(const sigset_t* set, siginfo_t* info, const timespec* timeout) noexcept {
    const auto take = [=](const timespec* limit) -> long {
        const int signal = WEFT_ORIGINAL(sigtimedwait)(set, info, limit);
        return signal < 0 ? -errno : signal;
    };
    constexpr timespec at_once{};
    const long result = take(&at_once);
    if (result != -EAGAIN) return result;
    return on_own_thread([=]() -> long {
        for (;;) {
            const long waited = take(timeout);
            // sigwait() says no EINTR, and of others a thread of ours is interrupted by none.
            if (waited != -EINTR) return waited;
        }
    });
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
        return on_thread([&]() -> long {
            const MaskOfProgram mask;
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
    if (WEFT_TAKEN(pause) == nullptr) return WEFT_ORIGINAL(pause)();
    return answer<int>([&] {
        return on_own_thread([]() -> long {
            const MaskOfProgram mask;
            WEFT_ORIGINAL(pause)();
            return -errno;
        });
    });
}

#define WEFT_DEFINE_SIGSUSPEND(name)                                       \
    int hook_##name(const sigset_t* mask) {                                \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(mask); \
        return answer<int>([&] {                                           \
            return on_own_thread([=]() -> long {                           \
                WEFT_ORIGINAL(name)(mask);                                 \
                return -errno;                                             \
            });                                                            \
        });                                                                \
    }
WEFT_DEFINE_SIGSUSPEND(sigsuspend)
WEFT_DEFINE_SIGSUSPEND(__sigsuspend)

int hook_sigwait(const sigset_t* set, int* signal) {
    if (WEFT_TAKEN(sigwait) == nullptr) return WEFT_ORIGINAL(sigwait)(set, signal);
    const int before = errno;
    const long result = wait_for_signal(set, nullptr, nullptr);
    errno = before;
    if (result < 0) return static_cast<int>(-result);
    *signal = static_cast<int>(result);
    return 0;
}

int hook_sigwaitinfo(const sigset_t* set, siginfo_t* info) {
    if (WEFT_TAKEN(sigwaitinfo) == nullptr) return WEFT_ORIGINAL(sigwaitinfo)(set, info);
    return answer<int>([&] { return wait_for_signal(set, info, nullptr); });
}

int hook_sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
    if (WEFT_TAKEN(sigtimedwait) == nullptr) return WEFT_ORIGINAL(sigtimedwait)(set, info, timeout);
    return answer<int>([&] { return wait_for_signal(set, info, timeout); });
}
