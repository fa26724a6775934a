// Layer: os. Uses: io, clone(2).
#include "os/launch.hpp"

#include "os/call.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdint>
#include <memory>

// clone(), past the sanitizers, which take a child that shares our memory for a thread or
// for a copy of us.
extern "C" int __clone(int (*function)(void*), void* stack, int flags, void* argument, ...);

namespace weft::io::detail {

namespace {

using Step = Launch::Step;

// What runs in the child never returns: its frames must leave no traces.
#define WEFT_IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined")))

// All that the child does goes by number: it is not the place for anybody's wrappers.
template <class... Args>
WEFT_IN_CHILD long call(long number, Args... args) noexcept {
    return system_call<::syscall>(number, args...);
}

// The kernel's own, since libc's hides two signals.
using SignalSet = std::uint64_t;
constexpr SignalSet no_signals = 0;
constexpr SignalSet all_signals = ~SignalSet{0};
constexpr int last_signal = 64;

struct KernelAction {
    void (*handler)(int) = SIG_DFL;
    unsigned long flags = 0;
    void (*restorer)() = nullptr;
    SignalSet mask = 0;
};

WEFT_IN_CHILD void set_mask(const SignalSet& set, SignalSet* before) noexcept {
    call(SYS_rt_sigprocmask, long{SIG_SETMASK}, &set, before, sizeof set);
}

WEFT_IN_CHILD void reset_signals() noexcept {
    for (long signal = 1; signal <= last_signal; ++signal) {
        KernelAction now;
        call(SYS_rt_sigaction, signal, nullptr, &now, sizeof now.mask);
        const bool nohup = signal == SIGHUP && now.handler == SIG_IGN;
        if (now.handler == SIG_DFL || nohup) continue;
        const KernelAction fresh;
        call(SYS_rt_sigaction, signal, &fresh, nullptr, sizeof fresh.mask);
    }
    set_mask(no_signals, nullptr);
}

WEFT_IN_CHILD long join_group(ProcessGroup group) noexcept {
    switch (group) {
        case ProcessGroup::inherited: return 0;
        case ProcessGroup::own: return call(SYS_setpgid, 0L, 0L);
        case ProcessGroup::session: return call(SYS_setsid);
    }
    return 0;
}

constexpr int first_other = 3;  // of the descriptors, behind the standard streams

WEFT_IN_CHILD void mark_fd(long fd) noexcept {
    if (fd >= first_other) call(SYS_fcntl, fd, long{F_SETFD}, long{FD_CLOEXEC});
}

/// -1 for what is no number.
WEFT_IN_CHILD long number_of(const char* name) noexcept {
    long number = 0;
    for (; *name != '\0'; ++name) {
        if (*name < '0' || *name > '9') return -1;
        number = number * 10 + (*name - '0');
    }
    return number;
}

/// Those that /proc lists, if it does. Its own is closed by the exec as well.
WEFT_IN_CHILD bool mark_listed_fds() noexcept {
    const long list = call(SYS_openat, long{AT_FDCWD}, "/proc/self/fd",
                           long{O_RDONLY | O_DIRECTORY | O_CLOEXEC}, 0L);
    if (list < 0) return false;
    alignas(dirent64) char entries[2048];
    for (;;) {
        const long size = call(SYS_getdents64, list, entries, sizeof entries);
        if (size <= 0) return size == 0;
        for (long at = 0; at < size;) {
            const auto& entry = *reinterpret_cast<const dirent64*>(entries + at);
            mark_fd(number_of(entry.d_name));
            at += entry.d_reclen;
        }
    }
}

WEFT_IN_CHILD void mark_possible_fds() noexcept {
    rlimit64 limit{};
    call(SYS_prlimit64, 0L, long{RLIMIT_NOFILE}, nullptr, &limit);
    for (long fd = first_other; fd < static_cast<long>(limit.rlim_cur); ++fd) mark_fd(fd);
}

/// All are to be closed by the exec. One by one before Linux 5.11, and where a filter forbids
/// close_range(): among all numbers that may be open, where nothing tells which are.
WEFT_IN_CHILD void mark_other_fds() noexcept {
    if (call(SYS_close_range, long{first_other}, ~0U, long{CLOSE_RANGE_CLOEXEC}) == 0) return;
    if (!mark_listed_fds()) mark_possible_fds();
}

// First out of the way of all numbers they are to have, and then there.
WEFT_IN_CHILD long move_fds(std::span<FdMove> moves) noexcept {
    int above = first_other;
    for (const FdMove& move : moves) above = std::max(above, move.to + 1);
    for (FdMove& move : moves) {
        const long copy = call(SYS_fcntl, move.from, long{F_DUPFD_CLOEXEC}, long{above});
        if (copy < 0) return copy;
        move.from = static_cast<int>(copy);
    }
    mark_other_fds();
    for (const FdMove& move : moves) {
        const long moved = call(SYS_dup3, move.from, move.to, 0L);
        if (moved < 0) return moved;
    }
    return 0;
}

// As execvp(): what is not there or may not be run is looked for further on.
WEFT_IN_CHILD long exec_first(const Launch& launch) noexcept {
    long worst = -ENOENT;
    for (char** program = launch.programs; *program != nullptr; ++program) {
        const long error = call(SYS_execve, *program, launch.arguments, launch.environment);
        switch (error) {
            case -EACCES: worst = error; break;
            case -ENOENT:
            case -ENOTDIR:
            case -ENODEV:
            case -ESTALE:
            case -ETIMEDOUT: break;
            default: return error;
        }
    }
    return worst;
}

WEFT_IN_CHILD void die_with(long parent) noexcept {
    call(SYS_prctl, long{PR_SET_PDEATHSIG}, long{SIGKILL});
    if (call(SYS_getppid) != parent) call(SYS_exit_group, 127L);
}

WEFT_IN_CHILD long run_steps(Launch& launch) noexcept {
    launch.failed = Step::group;
    long result = join_group(launch.group);
    if (result < 0) return result;
    launch.failed = Step::directory;
    if (launch.directory != nullptr) result = call(SYS_chdir, launch.directory);
    if (result < 0) return result;
    launch.failed = Step::descriptors;
    result = move_fds(launch.moves);
    if (result < 0) return result;
    launch.failed = Step::program;
    return exec_first(launch);
}

struct Birth {
    Launch& launch;
    const long parent;
};

WEFT_IN_CHILD int live(void* argument) noexcept {
    auto& birth = *static_cast<Birth*>(argument);
    reset_signals();
    if (birth.launch.dies_with_parent) die_with(birth.parent);
    birth.launch.error = static_cast<int>(-run_steps(birth.launch));
    call(SYS_exit_group, 127L);
    return 127;
}

constexpr std::size_t stack_size = 32 << 10;

/// Returns when the child has begun its program or ended. Its pid, or -errno.
// No signal at its end yet: one that never begins its program is nobody's business.
[[gnu::noinline]] int bear(Birth& birth, std::byte* stack_end) noexcept {
    const int pid =
        __clone(live, stack_end, CLONE_VM | CLONE_VFORK | CLONE_PIDFD, &birth, &birth.launch.pidfd);
    return pid >= 0 ? pid : -errno;
}

}  // namespace

void start(Launch& launch) {
    const auto stack = std::make_unique<std::byte[]>(stack_size);
    Birth birth{launch, system_call<::getpid>()};
    SignalSet before = 0;
    set_mask(all_signals, &before);
    launch.pid = bear(birth, stack.get() + stack_size);
    set_mask(before, nullptr);
    if (launch.pid < 0) {
        launch.failed = Step::program;
        launch.error = -launch.pid;
        return;
    }
    // Without an error it has begun its program, or was killed before that.
    if (launch.error == 0) return;
    ExitStatus status = ExitStatus::exited(0);
    while (reap(launch.pidfd, status) == -EAGAIN) {
        // It is past its last step: this is a matter of microseconds.
        call(SYS_sched_yield);
    }
    weft::detail::close_number(launch.pidfd);
}

int reap(int pidfd, ExitStatus& status) noexcept {
    siginfo_t info{};
    const long result =
        call(SYS_waitid, long{P_PIDFD}, pidfd, &info, long{WEXITED | WNOHANG | __WALL}, nullptr);
    if (result < 0) return static_cast<int>(result);
    if (info.si_pid == 0) return -EAGAIN;
    status = info.si_code == CLD_EXITED
                 ? ExitStatus::exited(info.si_status)
                 : ExitStatus::killed(info.si_status, info.si_code == CLD_DUMPED);
    return 0;
}

}  // namespace weft::io::detail
