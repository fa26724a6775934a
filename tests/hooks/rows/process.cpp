// The rows of children, signals and messages.
#include "hooks/rows/rows.hpp"

#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstdio>
#include <cstring>

namespace weft::test {

namespace {

const timespec past{1, 0};
const timespec wrong_time{1, 1'000'000'000};

pid_t child_that_ends_with(int code) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(code);
    return pid;
}

/// As `call(status)`: any child.
template <class Call>
void waits_for_any(Seen& seen, Call&& call) {
    int status = -1;
    const pid_t pid = child_that_ends_with(3);
    seen.note("its own", call(&status) == pid);
    seen.note("ended", status);
    seen.of("none", [&] { return call(&status); });
}

/// As `call(pid, status, options)`.
template <class Call>
void waits_for_one(Seen& seen, Call&& call) {
    int status = -1;
    const pid_t pid = child_that_ends_with(4);
    seen.note("its own", call(pid, &status, 0) == pid);
    seen.note("ended", status);
    seen.of("again", [&] { return call(pid, &status, 0); });
    seen.of("nobody's", [&] { return call(1, &status, WNOHANG); });
    seen.of("options", [&] { return call(pid, &status, 1 << 20); });
    seen.of("INT_MIN", [&] { return call(INT_MIN, &status, 0); });
    if (!may_be_bad) return;
    const HalfMapped memory;
    const pid_t other = child_that_ends_with(5);
    seen.of("EFAULT", [&] { return call(other, memory.bad<int>(), 0); });
}

/// What SIGUSR1 ends, as `call()`. That is blocked everywhere but in who waits.
template <class Call>
void is_interrupted(Seen& seen, Call&& call) {
    ::signal(SIGUSR1, [](int) {});
    std::atomic<bool> over{false};
    {
        // One that comes before the call is lost.
        Beside sender{[&] {
            while (!over) {
                ::kill(::getpid(), SIGUSR1);
                ::sched_yield();
            }
        }};
        seen.of("interrupted", call);
        over = true;
    }
    ::signal(SIGUSR1, SIG_IGN);  // forgets what came too late
    ::signal(SIGUSR1, SIG_DFL);
}

sigset_t set_of(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

/// A mask of former times.
constexpr int only(int signal) { return 1 << (signal - 1); }

/// As `call(set)`, which returns a signal. SIGUSR2 is blocked.
template <class Call>
void takes_signal(Seen& seen, Call&& call) {
    const sigset_t set = set_of(SIGUSR2);
    ::pthread_kill(::pthread_self(), SIGUSR2);
    seen.of("pending", [&] { return call(&set); });
}

/// As `call(signal, handler)`, which returns the one before.
template <class Call>
void installs(Seen& seen, Call&& call) {
    const auto name = [](sighandler_t handler) {
        if (handler == SIG_ERR) return "error";
        if (handler == SIG_IGN) return "ignored";
        return handler == SIG_DFL ? "default" : "ours";
    };
    seen.note("first", name(call(SIGPROF, [](int) {})));
    seen.note("then", name(call(SIGPROF, SIG_IGN)));
    seen.note("at last", name(call(SIGPROF, SIG_DFL)));
    seen.note("no signal", name(call(77, SIG_IGN)));
    seen.of("of no use", [&] { return call(SIGKILL, SIG_IGN) == SIG_ERR ? -1 : 0; });
}

/// As `call(signal, action, before)`.
template <class Call>
void acts(Seen& seen, Call&& call) {
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    seen.of("set", [&] { return call(SIGWINCH, &action, &before); });
    seen.note("default", before.sa_handler == SIG_DFL);
    seen.of("reset", [&] { return call(SIGWINCH, &before, &action); });
    seen.note("flags", action.sa_flags & (SA_RESTART | SA_ONSTACK | SA_SIGINFO));
    seen.of("asked", [&] { return call(SIGWINCH, nullptr, &action); });
    seen.of("no signal", [&] { return call(77, &action, nullptr); });
    seen.of("SIGKILL", [&] { return call(SIGKILL, &action, nullptr); });
}

template <class Call>
void masks(Seen& seen, Call&& call) {
    const sigset_t set = set_of(SIGWINCH);
    sigset_t before;
    sigset_t between;
    seen.of("block", [&] { return call(SIG_BLOCK, &set, &before); });
    seen.of("unblock", [&] { return call(SIG_UNBLOCK, &set, &between); });
    seen.note("was blocked", sigismember(&between, SIGWINCH));
    seen.of("back", [&] { return call(SIG_SETMASK, &before, nullptr); });
    seen.of("asked", [&] { return call(77, nullptr, &between); });
    seen.of("no way", [&] { return call(77, &set, nullptr); });
}

char shell_name[] = "sh";
char shell_option[] = "-c";
char shell_command[] = "exit 6";
char* const shell_arguments[] = {shell_name, shell_option, shell_command, nullptr};

/// As `call(pid, path, arguments)`.
template <class Call>
void spawns(Seen& seen, Call&& call, const char* shell) {
    pid_t pid = -1;
    int status = -1;
    seen.of("nowhere", [&] { return call(&pid, "/nonexistent/weft", shell_arguments); });
    seen.of("sh", [&] { return call(&pid, shell, shell_arguments); });
    ::waitpid(pid, &status, 0);
    seen.note("ended", status);
}

/// A queue of two messages of eight bytes that never waits.
struct Queue {
    Queue() {
        const auto name = "/weft-rows-" + std::to_string(::getpid());
        mq_attr size{};
        size.mq_maxmsg = 2;
        size.mq_msgsize = 8;
        id = ::mq_open(name.c_str(), O_RDWR | O_CREAT | O_NONBLOCK, 0600, &size);
        REQUIRE(id >= 0);
        ::mq_unlink(name.c_str());
    }
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    ~Queue() { ::mq_close(id); }
    mqd_t id;
};

/// As `call(command, mode)`.
template <class Call>
void opens_pipe(Seen& seen, Call&& call) {
    FILE* const stream = call("echo said", "r");
    char line[16] = "";
    seen.note("read", std::fgets(line, sizeof line, stream) != nullptr ? line : "nothing");
    ::pclose(stream);
    seen.of("no mode", [&] { return call("true", "x") == nullptr; });
}

/// As `call(path)`, which becomes a shell that ends with 6.
template <class Call>
void becomes(Seen& seen, Call&& call, const char* shell) {
    seen.of("nowhere", [&] { return call("/nonexistent/weft"); });
    const pid_t pid = ::fork();
    if (pid == 0) {
        call(shell);
        ::_exit(99);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    seen.note("ended", status);
}

/// As `call(signal)`, of those that do no harm.
template <class Call>
void sends_signals(Seen& seen, Call&& call) {
    seen.of("none", [&] { return call(0); });
    seen.of("ignored", [&] { return call(SIGWINCH); });
    seen.of("no signal", [&] { return call(7777); });
}

/// As `call(signal)`, which changes the mask.
template <class Call>
void changes_mask(Seen& seen, Call&& call) {
    sigset_t before;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
    seen.of("changed", [&] { return call(SIGWINCH); });
    sigset_t after;
    ::pthread_sigmask(SIG_SETMASK, &before, &after);
    seen.note("blocked", sigismember(&after, SIGWINCH));
    seen.of("no signal", [&] { return call(7777); });
}

/// As `call(queue, data, size, priority)`.
template <class Call>
void sends_messages(Seen& seen, Call&& call) {
    const Queue queue;
    const HalfMapped memory;
    char data[16] = {};
    with_bad_fds(seen, [&](int fd) { return call(fd, data, 8, 0); });
    seen.of("too long", [&] { return call(queue.id, data, 9, 0); });
    seen.of("priority", [&] { return call(queue.id, data, 8, 1U << 20); });
    if (may_be_bad) seen.of("EFAULT", [&] { return call(queue.id, memory.bad<char>(), 8, 0); });
    seen.of("one", [&] { return call(queue.id, data, 8, 0); });
    seen.of("of nothing", [&] { return call(queue.id, data, 0, 3); });
    seen.of("full", [&] { return call(queue.id, data, 8, 0); });
}

/// As `call(queue, data, size, priority)`.
template <class Call>
void receives_messages(Seen& seen, Call&& call) {
    const Queue queue;
    const HalfMapped memory;
    char data[16] = {};
    unsigned priority = 0;
    with_bad_fds(seen, [&](int fd) { return call(fd, data, 8, &priority); });
    seen.of("none", [&] { return call(queue.id, data, 8, &priority); });
    ::mq_send(queue.id, "one", 3, 7);
    seen.of("no room", [&] { return call(queue.id, data, 7, &priority); });
    seen.of("one", [&] { return call(queue.id, data, 8, &priority); });
    seen.note("which is", data + std::to_string(priority));
    ::mq_send(queue.id, "two", 3, 7);
    if (may_be_bad) {
        seen.of("EFAULT", [&] { return call(queue.id, memory.bad<char>(), 8, &priority); });
    }
}

/// As `call(set, operations, count)`.
template <class Call>
void operates(Seen& seen, Call&& call) {
    const HalfMapped memory;
    const int set = ::semget(IPC_PRIVATE, 1, 0600);
    sembuf up{0, 1, 0};
    sembuf down{0, -1, IPC_NOWAIT};
    seen.of("up", [&] { return call(set, &up, 1); });
    seen.of("down", [&] { return call(set, &down, 1); });
    seen.of("not there", [&] { return call(set, &down, 1); });
    seen.of("none", [&] { return call(set, &up, 0); });
    if (may_be_bad) seen.of("too many", [&] { return call(set, &up, 100'000); });
    sembuf beyond{7, 1, 0};
    seen.of("no such semaphore", [&] { return call(set, &beyond, 1); });
    if (may_be_bad) seen.of("EFAULT", [&] { return call(set, memory.bad<sembuf>(), 1); });
    seen.of("no set", [&] { return call(-1, &up, 1); });
    ::semctl(set, 0, IPC_RMID);
    seen.of("gone", [&] { return call(set, &up, 1); });
}

}  // namespace

#define WEFT_PROCESS_ROW(name, test)                                              \
    WEFT_ROW(name) {                                                              \
        test(seen, [](auto&&... arguments) { return row_##name(arguments...); }); \
    }
WEFT_PROCESS_ROW(wait, waits_for_any)
WEFT_PROCESS_ROW(__wait, waits_for_any)
WEFT_PROCESS_ROW(waitpid, waits_for_one)
WEFT_PROCESS_ROW(__waitpid, waits_for_one)
WEFT_ROW(wait3) {
    waits_for_any(seen, [](int* status) { return row_wait3(status, 0, nullptr); });
    seen.of("options", [] { return row_wait3(nullptr, 1 << 20, nullptr); });
}
WEFT_ROW(wait4) {
    waits_for_one(seen, [](auto&&... arguments) { return row_wait4(arguments..., nullptr); });
}
WEFT_ROW(waitid) {
    const pid_t pid = child_that_ends_with(7);
    const auto id = static_cast<id_t>(pid);
    siginfo_t info{};
    seen.of("it stays", [&] { return row_waitid(P_PID, id, &info, WEXITED | WNOWAIT); });
    seen.of("it goes", [&] { return row_waitid(P_PID, id, &info, WEXITED); });
    seen.note("ended", info.si_status * 100 + info.si_code);
    seen.of("gone", [&] { return row_waitid(P_PID, id, &info, WEXITED); });
    seen.of("no options", [&] { return row_waitid(P_PID, id, &info, 0); });
    seen.of("no kind", [&] { return row_waitid(77, id, &info, WEXITED); });
    seen.of("no pidfd", [&] { return row_waitid(P_PIDFD, 987, &info, WEXITED); });
}

WEFT_ROW(system) {
    for (const char* command : {"exit 3", "kill -9 $$", ""}) {
        seen.of(command, [=] { return row_system(command); });
    }
    seen.of("a shell?", [] { return row_system(nullptr) != 0; });
}
WEFT_PROCESS_ROW(popen, opens_pipe)
WEFT_PROCESS_ROW(_IO_popen, opens_pipe)
WEFT_ROW(pclose) {
    for (const char* command : {"true", "exit 3", "kill -9 $$"}) {
        FILE* const stream = ::popen(command, "r");
        seen.of(command, [=] { return row_pclose(stream); });
    }
}

WEFT_ROW(pause) {
    const sigset_t set = set_of(SIGUSR1);
    is_interrupted(seen, [&] {
        ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
        return row_pause();
    });
}
WEFT_ROW(sigsuspend) {
    const sigset_t mask = set_of(SIGUSR2);
    is_interrupted(seen, [&] { return row_sigsuspend(&mask); });
}
WEFT_ROW(__sigsuspend) {
    const sigset_t mask = set_of(SIGUSR2);
    is_interrupted(seen, [&] { return row___sigsuspend(&mask); });
}
WEFT_ROW(sigpause) {
    is_interrupted(seen, [] { return row_sigpause(only(SIGUSR2)); });
}
WEFT_ROW(__sigpause) {
    is_interrupted(seen, [] { return row___sigpause(only(SIGUSR2), 0); });
    is_interrupted(seen, [] { return row___sigpause(SIGUSR1, 1); });
}
WEFT_ROW(__xpg_sigpause) {
    is_interrupted(seen, [] { return row___xpg_sigpause(SIGUSR1); });
    seen.of("no signal", [] { return row___xpg_sigpause(7777); });
}
WEFT_ROW(sigwait) {
    takes_signal(seen, [](const sigset_t* set) {
        int signal = 0;
        const int error = row_sigwait(set, &signal);
        return error != 0 ? -error : signal;
    });
}
WEFT_ROW(sigwaitinfo) {
    takes_signal(seen, [](const sigset_t* set) { return row_sigwaitinfo(set, nullptr); });
}
WEFT_ROW(sigtimedwait) {
    const timespec brief{0, 100'000};
    takes_signal(seen, [&](const sigset_t* set) { return row_sigtimedwait(set, nullptr, &brief); });
    const sigset_t set = set_of(SIGUSR2);
    seen.of("none", [&] { return row_sigtimedwait(&set, nullptr, &brief); });
    const timespec wrong{0, -1};
    seen.of("wrong", [&] { return row_sigtimedwait(&set, nullptr, &wrong); });
}

WEFT_PROCESS_ROW(signal, installs)
WEFT_PROCESS_ROW(bsd_signal, installs)
WEFT_PROCESS_ROW(ssignal, installs)
WEFT_PROCESS_ROW(sysv_signal, installs)
WEFT_PROCESS_ROW(__sysv_signal, installs)
WEFT_PROCESS_ROW(sigset, installs)
WEFT_PROCESS_ROW(sigaction, acts)
WEFT_PROCESS_ROW(__sigaction, acts)
WEFT_PROCESS_ROW(pthread_sigmask, masks)
WEFT_PROCESS_ROW(sigprocmask, masks)

WEFT_PROCESS_ROW(raise, sends_signals)
WEFT_PROCESS_ROW(gsignal, sends_signals)
WEFT_ROW(kill) {
    sends_signals(seen, [](int signal) { return row_kill(::getpid(), signal); });
    seen.of("nobody", [] { return row_kill(INT_MAX, 0); });
}
WEFT_ROW(sigpending) {
    sigset_t pending;
    ::pthread_kill(::pthread_self(), SIGUSR2);
    seen.of("asked", [&] { return row_sigpending(&pending); });
    seen.note("pending", sigismember(&pending, SIGUSR2));
    const sigset_t set = set_of(SIGUSR2);
    ::sigwaitinfo(&set, nullptr);
}
WEFT_ROW(signalfd) {
    const sigset_t set = set_of(SIGWINCH);
    seen.of("no descriptor", [&] { return row_signalfd(INT_MAX, &set, 0); });
    seen.of("no such way", [&] { return row_signalfd(-1, &set, 77); });
    ::close(row_signalfd(-1, &set, SFD_CLOEXEC));
}
WEFT_ROW(sigblock) {
    const int before = row_sigblock(only(SIGWINCH));
    seen.note("and that", row_sigblock(0) == (before | only(SIGWINCH)));
    row_sigsetmask(before);
}
WEFT_ROW(sigsetmask) {
    const int before = row_sigsetmask(only(SIGUSR2));
    seen.note("that", row_sigsetmask(before) == only(SIGUSR2));
}
WEFT_ROW(siggetmask) { seen.note("the same", row_siggetmask() == row_sigblock(0)); }
WEFT_PROCESS_ROW(sighold, changes_mask)
WEFT_PROCESS_ROW(sigrelse, changes_mask)

WEFT_ROW(execl) {
    becomes(
        seen, [](const char* path) { return row_execl(path, "sh", "-c", "exit 6", nullptr); },
        "/bin/sh");
}
WEFT_ROW(execle) {
    becomes(
        seen,
        [](const char* path) {
            return row_execle(path, "sh", "-c", "exit $NUMBER", nullptr,
                              std::array{"NUMBER=6", static_cast<const char*>(nullptr)}.data());
        },
        "/bin/sh");
}
WEFT_ROW(execlp) {
    becomes(
        seen, [](const char* file) { return row_execlp(file, "sh", "-c", "exit 6", nullptr); },
        "sh");
}
WEFT_ROW(execv) {
    becomes(
        seen, [](const char* path) { return row_execv(path, shell_arguments); }, "/bin/sh");
}
WEFT_ROW(execve) {
    becomes(
        seen, [](const char* path) { return row_execve(path, shell_arguments, environ); },
        "/bin/sh");
}
WEFT_ROW(execvp) {
    becomes(
        seen, [](const char* file) { return row_execvp(file, shell_arguments); }, "sh");
}
WEFT_ROW(execvpe) {
    becomes(
        seen, [](const char* file) { return row_execvpe(file, shell_arguments, environ); }, "sh");
}
WEFT_ROW(fexecve) {
    becomes(
        seen,
        [](const char* path) {
            const Fd file{::open(path, O_PATH | O_CLOEXEC)};
            return row_fexecve(file, shell_arguments, environ);
        },
        "/bin/sh");
}
WEFT_ROW(execveat) {
    becomes(
        seen,
        [](const char* path) { return row_execveat(AT_FDCWD, path, shell_arguments, environ, 0); },
        "/bin/sh");
}

WEFT_ROW(posix_spawn) {
    spawns(
        seen,
        [](pid_t* pid, const char* path, char* const* arguments) {
            return row_posix_spawn(pid, path, nullptr, nullptr, arguments, environ);
        },
        "/bin/sh");
}
WEFT_ROW(posix_spawnp) {
    spawns(
        seen,
        [](pid_t* pid, const char* path, char* const* arguments) {
            return row_posix_spawnp(pid, path, nullptr, nullptr, arguments, environ);
        },
        "sh");
}
WEFT_ROW(_Fork) {
    const pid_t pid = row__Fork();
    if (pid == 0) ::_exit(8);
    int status = -1;
    ::waitpid(pid, &status, 0);
    seen.note("ended", status);
}
WEFT_ROW(vfork) {
    const pid_t pid = ::vfork();  // by a name of which the compiler knows that it returns twice
    if (pid == 0) ::_exit(9);
    int status = -1;
    ::waitpid(pid, &status, 0);
    seen.note("ended", status);
}
extern "C" [[gnu::returns_twice]] pid_t fork_by_other_name() asm("__vfork");
WEFT_ROW(__vfork) {
    const pid_t pid = fork_by_other_name();
    if (pid == 0) ::_exit(9);
    int status = -1;
    ::waitpid(pid, &status, 0);
    seen.note("ended", status);
}

WEFT_PROCESS_ROW(mq_send, sends_messages)
WEFT_ROW(mq_timedsend) {
    sends_messages(seen, [](auto&&... arguments) { return row_mq_timedsend(arguments..., &past); });
    seen.of("wrong", [] { return row_mq_timedsend(-1, "", 0, 0, &wrong_time); });
}
WEFT_PROCESS_ROW(mq_receive, receives_messages)
WEFT_ROW(mq_timedreceive) {
    receives_messages(seen,
                      [](auto&&... arguments) { return row_mq_timedreceive(arguments..., &past); });
    seen.of("wrong", [] { return row_mq_timedreceive(-1, nullptr, 0, nullptr, &wrong_time); });
}
WEFT_ROW(msgsnd) {
    const HalfMapped memory;
    const int queue = ::msgget(IPC_PRIVATE, 0600);
    struct {
        long type = 1;
        char text[8] = "text";
    } message;
    seen.of("sent", [&] { return row_msgsnd(queue, &message, 4, 0); });
    seen.of("nothing", [&] { return row_msgsnd(queue, &message, 0, 0); });
    message.type = 0;
    seen.of("no type", [&] { return row_msgsnd(queue, &message, 4, 0); });
    if (may_be_bad) {
        seen.of("huge", [&] { return row_msgsnd(queue, &message, 1UL << 40, 0); });
        seen.of("EFAULT", [&] { return row_msgsnd(queue, memory.bad(), 4, 0); });
    }
    ::msgctl(queue, IPC_RMID, nullptr);
    seen.of("gone", [&] { return row_msgsnd(queue, &message, 4, 0); });
}
WEFT_ROW(msgrcv) {
    const HalfMapped memory;
    const int queue = ::msgget(IPC_PRIVATE, 0600);
    struct {
        long type = 1;
        char text[8] = "text";
    } message;
    seen.of("none", [&] { return row_msgrcv(queue, &message, 8, 0, IPC_NOWAIT); });
    ::msgsnd(queue, &message, 4, 0);
    seen.of("too long", [&] { return row_msgrcv(queue, &message, 2, 0, 0); });
    seen.of("cut off", [&] { return row_msgrcv(queue, &message, 2, 0, MSG_NOERROR); });
    ::msgsnd(queue, &message, 4, 0);
    if (may_be_bad) seen.of("EFAULT", [&] { return row_msgrcv(queue, memory.bad(), 8, 0, 0); });
    seen.of("huge", [&] { return row_msgrcv(queue, &message, ~0UL, 0, IPC_NOWAIT); });
    ::msgctl(queue, IPC_RMID, nullptr);
    seen.of("gone", [&] { return row_msgrcv(queue, &message, 8, 0, 0); });
}
WEFT_PROCESS_ROW(semop, operates)
WEFT_ROW(semtimedop) {
    const timespec brief{0, 1'000'000};
    operates(seen, [&](auto&&... arguments) { return row_semtimedop(arguments..., &brief); });
    const int set = ::semget(IPC_PRIVATE, 1, 0600);
    sembuf down{0, -1, 0};
    seen.of("in vain", [&] { return row_semtimedop(set, &down, 1, &brief); });
    seen.of("wrong", [&] { return row_semtimedop(set, &down, 1, &wrong_time); });
    ::semctl(set, 0, IPC_RMID);
}

}  // namespace weft::test
