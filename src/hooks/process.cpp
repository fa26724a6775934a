// Hooks on waiting for children and for signals. Layer: hooks. Uses: task, io, os.
//
// A child that is named is waited for by its pidfd; "any child" by a thread. system() is
// made anew, for libc's waits where no hook sees it: SIGINT and SIGQUIT are ignored meanwhile,
// and SIGCHLD is blocked on a worker anyway.
#include "hooks/process.hpp"
#include "hooks/caller.hpp"
#include "hooks/descriptor.hpp"
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

constinit sigset_t mask_at_start{};

/// While it lives the thread takes the signals that the program began with: a child made
/// meanwhile inherits that.
class MaskOfProgram {
public:
    MaskOfProgram() noexcept { ::pthread_sigmask(SIG_SETMASK, &mask_at_start, &before_); }
    MaskOfProgram(const MaskOfProgram&) = delete;
    MaskOfProgram& operator=(const MaskOfProgram&) = delete;
    ~MaskOfProgram() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

// --- children ---

/// Whether a wait of these options is over when the child has ended.
bool waits_for_end(int options) noexcept {
    return (options & (WNOHANG | WUNTRACED | WCONTINUED)) == 0;
}

/// Waits until `pid`, a child, has ended: 0, or -errno. The zombie stays.
long wait_for_end(pid_t pid) noexcept {
    const long pidfd = call(SYS_pidfd_open, static_cast<long>(pid), 0L);
    if (pidfd < 0) return pidfd;
    const long result = wait_ready(static_cast<int>(pidfd), POLLIN, Deadline::never(), "waitpid");
    weft::detail::close_number(static_cast<int>(pidfd));
    return result < 0 ? result : 0;
}

/// `attempt(WNOHANG)` and `attempt(0)` are the wait without and with waiting, and 0 is "not yet".
template <class Attempt>
long wait_for_child(pid_t pid, int options, Attempt&& attempt) noexcept {
    const long at_once = attempt(WNOHANG);
    if (at_once != 0 || (options & WNOHANG) != 0) return at_once;
    if (pid > 0 && waits_for_end(options)) {
        const long ended = wait_for_end(pid);
        // Somebody else may have taken it away: then there is no such child.
        if (ended < 0 && ended != -ESRCH) return ended;
        if (const long result = attempt(WNOHANG); result != 0) return result;
    }
    return on_thread([&] { return attempt(0); });
}

pid_t wait_four(pid_t pid, int* status, int options, rusage* usage) noexcept {
    return answer<pid_t>(wait_for_child(pid, options, [=](int how) {
        return call(SYS_wait4, static_cast<long>(pid), status, options | how, usage);
    }));
}

long wait_for_id(idtype_t kind, id_t id, siginfo_t* info, int options) noexcept {
    siginfo_t own{};
    siginfo_t* const found = info != nullptr ? info : &own;
    const auto attempt = [=](int how) -> long {
        found->si_pid = 0;
        const long result =
            call(SYS_waitid, kind, static_cast<long>(id), found, options | how, nullptr);
        return result < 0 ? result : found->si_pid;  // 0: not yet
    };
    const bool ends = (options & (WSTOPPED | WCONTINUED)) == 0;
    const pid_t pid = kind == P_PID && ends ? static_cast<pid_t>(id) : 0;
    const long result = wait_for_child(pid, options & WNOHANG, attempt);
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

private:
    static constinit weft::detail::SpinLock lock;
    static unsigned users;  // these two: guarded by lock
    static std::array<struct sigaction, 2> before;
};

constinit weft::detail::SpinLock SystemSignals::lock;
unsigned SystemSignals::users = 0;
std::array<struct sigaction, 2> SystemSignals::before;

/// 0, or -errno. The shell takes the signals that the program began with.
long start_shell(const char* command, pid_t& pid) noexcept {
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGINT);
    sigaddset(&defaults, SIGQUIT);
    posix_spawnattr_t how;
    ::posix_spawnattr_init(&how);
    ::posix_spawnattr_setsigdefault(&how, &defaults);
    ::posix_spawnattr_setsigmask(&how, &mask_at_start);
    ::posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    const char* const arguments[] = {"sh", "-c", command, nullptr};
    const int error =
        ::posix_spawn(&pid, "/bin/sh", nullptr, &how, const_cast<char* const*>(arguments), environ);
    ::posix_spawnattr_destroy(&how);
    return -error;
}

/// The status of `sh -c command`, or -errno.
long run_shell(const char* command, int& status) noexcept {
    const SystemSignals signals;
    pid_t pid = -1;
    const long started = on_thread([&] { return start_shell(command, pid); });
    if (started < 0) return started;
    for (;;) {
        const long ended = wait_for_end(pid);
        // Not to be left behind: system() has no way to say that its child goes on.
        const bool leaves = ended == -ECANCELED;
        const long result =
            leaves ? on_thread([&] {
                return call(SYS_wait4, static_cast<long>(pid), &status, 0, nullptr);
            })
                   : call(SYS_wait4, static_cast<long>(pid), &status, WNOHANG, nullptr);
        if (result != 0) return result < 0 ? result : 0;
    }
}

// --- signals ---

/// `body()` by a thread that takes the program's signals.
template <class Body>
long on_thread_with_signals(Body&& body) noexcept {
    return on_thread([&] {
        const MaskOfProgram mask;
        return body();
    });
}

}  // namespace

void note_mask_of_program() noexcept { ::pthread_sigmask(SIG_SETMASK, nullptr, &mask_at_start); }

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

pid_t hook_wait(int* status) {
    if (WEFT_TAKEN(wait) == nullptr) return WEFT_ORIGINAL(wait)(status);
    return wait_four(-1, status, 0, nullptr);
}

pid_t hook_waitpid(pid_t pid, int* status, int options) {
    if (WEFT_TAKEN(waitpid) == nullptr) return WEFT_ORIGINAL(waitpid)(pid, status, options);
    return wait_four(pid, status, options, nullptr);
}

pid_t hook_wait3(int* status, int options, rusage* usage) {
    if (WEFT_TAKEN(wait3) == nullptr) return WEFT_ORIGINAL(wait3)(status, options, usage);
    return wait_four(-1, status, options, usage);
}

pid_t hook_wait4(pid_t pid, int* status, int options, rusage* usage) {
    if (WEFT_TAKEN(wait4) == nullptr) return WEFT_ORIGINAL(wait4)(pid, status, options, usage);
    return wait_four(pid, status, options, usage);
}

int hook_waitid(idtype_t kind, id_t id, siginfo_t* info, int options) {
    if (WEFT_TAKEN(waitid) == nullptr) return WEFT_ORIGINAL(waitid)(kind, id, info, options);
    return answer<int>(wait_for_id(kind, id, info, options));
}

int hook_system(const char* command) {
    if (command == nullptr || WEFT_TAKEN(system) == nullptr) return WEFT_ORIGINAL(system)(command);
    int status = 0;
    const long result = run_shell(command, status);
    return result < 0 ? answer<int>(result) : status;
}

FILE* hook_popen(const char* command, const char* mode) {
    if (WEFT_TAKEN(popen) == nullptr) return WEFT_ORIGINAL(popen)(command, mode);
    FILE* stream = nullptr;
    const long result = on_thread_with_signals([&]() -> long {
        stream = WEFT_ORIGINAL(popen)(command, mode);
        return stream == nullptr ? -errno : 0;
    });
    if (result < 0) errno = static_cast<int>(-result);
    return stream;
}

int hook_pclose(FILE* stream) {
    if (WEFT_TAKEN(pclose) == nullptr) return WEFT_ORIGINAL(pclose)(stream);
    int status = -1;
    const long result = on_thread([&]() -> long {
        status = WEFT_ORIGINAL(pclose)(stream);
        return status < 0 ? -errno : 0;
    });
    return result < 0 ? answer<int>(result) : status;
}

int hook_pause() {
    if (WEFT_TAKEN(pause) == nullptr) return WEFT_ORIGINAL(pause)();
    return answer<int>(on_thread_with_signals([]() -> long {
        WEFT_ORIGINAL(pause)();
        return -errno;
    }));
}

int hook_sigsuspend(const sigset_t* mask) {
    if (WEFT_TAKEN(sigsuspend) == nullptr) return WEFT_ORIGINAL(sigsuspend)(mask);
    return answer<int>(on_thread([=]() -> long {
        WEFT_ORIGINAL(sigsuspend)(mask);
        return -errno;
    }));
}

int hook_sigwait(const sigset_t* set, int* signal) {
    if (WEFT_TAKEN(sigwait) == nullptr) return WEFT_ORIGINAL(sigwait)(set, signal);
    return static_cast<int>(
        on_thread([=]() -> long { return WEFT_ORIGINAL(sigwait)(set, signal); }));
}

int hook_sigwaitinfo(const sigset_t* set, siginfo_t* info) {
    if (WEFT_TAKEN(sigwaitinfo) == nullptr) return WEFT_ORIGINAL(sigwaitinfo)(set, info);
    return answer<int>(on_thread([=]() -> long {
        const int signal = WEFT_ORIGINAL(sigwaitinfo)(set, info);
        return signal < 0 ? -errno : signal;
    }));
}

int hook_sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* timeout) {
    if (WEFT_TAKEN(sigtimedwait) == nullptr) return WEFT_ORIGINAL(sigtimedwait)(set, info, timeout);
    return answer<int>(on_thread([=]() -> long {
        const int signal = WEFT_ORIGINAL(sigtimedwait)(set, info, timeout);
        return signal < 0 ? -errno : signal;
    }));
}
