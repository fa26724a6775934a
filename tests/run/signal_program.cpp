// A program that knows nothing of weft and does what programs do with signals and threads. It is
// run as it is and by weft-run, and says the same. (C's and C++'s other threads are in
// thread_program.cpp.)
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<int> handled{0};
void count(int) { ++handled; }

void say(const std::string& what, long value) { std::printf("%s %ld\n", what.c_str(), value); }

sigset_t set_of(std::initializer_list<int> signals) {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : signals) sigaddset(&set, signal);
    return set;
}

void handle(int signal, int flags = 0) {
    struct sigaction action {};
    action.sa_handler = &count;
    action.sa_flags = flags;
    sigaction(signal, &action, nullptr);
}

bool blocks(int signal) {
    sigset_t now;
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    return sigismember(&now, signal) == 1;
}

bool is_pending(int signal) {
    sigset_t now;
    sigpending(&now);
    return sigismember(&now, signal) == 1;
}

void have_masks_of_their_own() {
    const sigset_t set = set_of({SIGUSR1});
    bool inside = false;
    bool inherited = false;
    std::thread blocker{[&] {
        pthread_sigmask(SIG_BLOCK, &set, nullptr);
        inside = blocks(SIGUSR1);
        std::thread{[&] { inherited = blocks(SIGUSR1); }}.join();
        sigprocmask(SIG_UNBLOCK, &set, nullptr);
        inside = inside && !blocks(SIGUSR1);
    }};
    blocker.join();
    say("mask: inside, inherited, outside", inside * 100 + inherited * 10 + blocks(SIGUSR1));
    say("no such way", pthread_sigmask(77, &set, nullptr));
    errno = 0;
    say("no such way", sigprocmask(77, &set, nullptr) * 1000 + errno);
    sighold(SIGUSR2);
    say("held", blocks(SIGUSR2));
    sigrelse(SIGUSR2);
    say("released", blocks(SIGUSR2));
    say("set to be held", sigset(SIGUSR2, SIG_HOLD) == SIG_DFL && blocks(SIGUSR2));
    say("set", sigset(SIGUSR2, SIG_IGN) == SIG_HOLD && !blocks(SIGUSR2));
    say("set again", sigset(SIGUSR2, SIG_DFL) == SIG_IGN);
}

// What a thread sends to itself is handled before the call returns, unless it is blocked.
void send_to_themselves() {
    handle(SIGUSR1);
    handled = 0;
    raise(SIGUSR1);
    say("raise", handled);
    pthread_kill(pthread_self(), SIGUSR1);
    say("pthread_kill", handled);
    const sigset_t set = set_of({SIGUSR1});
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    raise(SIGUSR1);
    say("blocked", handled * 10 + is_pending(SIGUSR1));
    bool elsewhere = true;
    std::thread{[&] { elsewhere = is_pending(SIGUSR1); }}.join();
    say("of another thread", elsewhere);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    say("unblocked", handled * 10 + is_pending(SIGUSR1));
    say("a bad one", raise(777) == 0);
}

// So is what it sends to the process, where no other thread takes it.
void send_to_the_process() {
    handle(SIGUSR1);
    handled = 0;
    kill(getpid(), SIGUSR1);
    say("kill", handled);
    const sigset_t set = set_of({SIGUSR1});
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    kill(getpid(), SIGUSR1);
    bool elsewhere = false;
    std::thread{[&] { elsewhere = is_pending(SIGUSR1); }}.join();
    say("pending here and there", handled * 100 + is_pending(SIGUSR1) * 10 + elsewhere);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    say("unblocked", handled * 10 + is_pending(SIGUSR1));
}

/// What a handler does, and what it saw of that before it returned.
std::function<int()> in_handler;
std::atomic<int> seen_in_handler{0};
void act(int) {
    if (in_handler) seen_in_handler = in_handler();
}

void handle_by_acting(int signal, std::initializer_list<int> closed, std::function<int()> action) {
    in_handler = std::move(action);
    struct sigaction how {};
    how.sa_handler = &act;
    how.sa_mask = set_of(closed);
    sigaction(signal, &how, nullptr);
}

// What a handler sends to its thread is handled at once, or when that is over if it keeps it
// closed.
void send_in_handlers() {
    handle(SIGUSR2);
    const auto send = [](const char* what, std::initializer_list<int> closed, auto sender) {
        handled = 0;
        handle_by_acting(SIGUSR1, closed, [sender] {
            sender();
            return handled.load();
        });
        raise(SIGUSR1);
        say(what, seen_in_handler * 10 + handled);
    };
    const auto kill_self = [] { pthread_kill(pthread_self(), SIGUSR2); };
    send("raised in a handler", {}, [] { raise(SIGUSR2); });
    send("killed in a handler", {}, kill_self);
    send("raised in a handler, closed", {SIGUSR2}, [] { raise(SIGUSR2); });
    send("killed in a handler, closed", {SIGUSR2}, kill_self);
    const sigset_t set = set_of({SIGUSR2});
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    send("raised in a handler, blocked", {}, [] { raise(SIGUSR2); });
    say("pending", is_pending(SIGUSR2));
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    say("unblocked", handled);
    int times = 0;
    handle_by_acting(SIGUSR1, {}, [&] {
        if (++times < 3) raise(SIGUSR1);
        return times;
    });
    raise(SIGUSR1);
    say("again and again", times);
    in_handler = nullptr;
}

// The same in the handler of what another thread sends.
void send_in_handlers_of_others_signals() {
    handle(SIGUSR2);
    const auto send = [](const char* what, std::initializer_list<int> closed) {
        handled = 0;
        seen_in_handler = -1;
        handle_by_acting(SIGUSR1, closed, [] {
            raise(SIGUSR2);
            return handled.load();
        });
        std::thread waiter{[] {
            while (handled == 0 || seen_in_handler < 0) sched_yield();
        }};
        pthread_kill(waiter.native_handle(), SIGUSR1);
        waiter.join();
        say(what, seen_in_handler * 10 + handled);
    };
    send("raised in another's handler", {});
    send("raised in another's handler, closed", {SIGUSR2});
    in_handler = nullptr;
}

// A profiler's signal comes in the midst of anything, and its handler may send others.
void send_while_sending() {
    const sigset_t set = set_of({SIGUSR2});
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    static std::atomic<int> interruptions{0};
    interruptions = 0;
    struct sigaction action {};
    action.sa_handler = [](int) {
        pthread_kill(pthread_self(), SIGUSR2);
        ++interruptions;
    };
    sigaction(SIGPROF, &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGPROF;
    event._sigev_un._tid = gettid();
    timer_t timer{};
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    const itimerspec often{{0, 50'000}, {0, 50'000}};
    timer_settime(timer, 0, &often, nullptr);
    while (interruptions < 1000) pthread_kill(pthread_self(), SIGUSR2);
    timer_delete(timer);
    say("interrupted", is_pending(SIGUSR2));
    siginfo_t info{};
    sigwaitinfo(&set, &info);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

// The way of servers: all threads block it, and one waits for it.
void wait_for_signals() {
    const sigset_t set = set_of({SIGTERM, SIGUSR2});
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    sem_t got;
    sem_init(&got, 0, 0);
    std::atomic<int> last{0};
    std::thread waiter{[&] {
        int signal = 0;
        while (signal != SIGTERM) {
            sigwait(&set, &signal);
            last = signal;
            sem_post(&got);
        }
    }};
    kill(getpid(), SIGUSR2);
    sem_wait(&got);
    say("sigwait, the process's", last == SIGUSR2);
    pthread_kill(waiter.native_handle(), SIGUSR2);
    sem_wait(&got);
    say("sigwait, its own", last == SIGUSR2);
    kill(getpid(), SIGTERM);
    waiter.join();
    say("sigwait, the end", last == SIGTERM);
    const timespec brief{0, 1'000'000};
    siginfo_t info{};
    errno = 0;
    say("sigtimedwait", sigtimedwait(&set, &info, &brief) * 1000 + errno);
    const sigval value{.sival_int = 7};
    sigqueue(getpid(), SIGUSR2, value);
    say("sigwaitinfo", sigwaitinfo(&set, &info) == SIGUSR2);
    say("its value", info.si_value.sival_int);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    sem_destroy(&got);
}

void read_what_is_sent(int fd, const char* what) {
    signalfd_siginfo info{};
    const bool whole = read(fd, &info, sizeof info) == sizeof info;
    say(what,
        whole && info.ssi_signo == SIGUSR2 && info.ssi_pid == static_cast<unsigned>(getpid()));
}

// The way of event loops.
void read_signals() {
    const sigset_t set = set_of({SIGUSR2});
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    const int fd = signalfd(-1, &set, SFD_CLOEXEC);
    pollfd one{fd, POLLIN, 0};
    say("nothing to read", poll(&one, 1, 0));
    raise(SIGUSR2);
    say("readable", poll(&one, 1, -1));
    read_what_is_sent(fd, "raised");
    pthread_kill(pthread_self(), SIGUSR2);
    read_what_is_sent(fd, "killed");
    std::thread reader{[fd] { read_what_is_sent(fd, "from another thread"); }};
    pthread_kill(reader.native_handle(), SIGUSR2);
    reader.join();
    say("pending no longer", is_pending(SIGUSR2));
    close(fd);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

/// Begins `wait()` in a thread, which a signal ends that is open there alone.
void interrupt(const char* what, const std::function<long()>& wait) {
    handled = 0;
    std::atomic<bool> done{false};
    long result = 0;
    int error = 0;
    std::thread waiter{[&] {
        result = wait();
        error = errno;
        done = true;
    }};
    // It may come before the wait.
    while (!done) {
        pthread_kill(waiter.native_handle(), SIGUSR1);
        sched_yield();
    }
    waiter.join();
    say(what, (handled > 0) * 1000 + error * (result < 0 ? 1 : 0));
}

/// The same of one that restarts: it has `wait()`'s result all the same, once that was
/// `released()`.
void restart(const char* what, const std::function<long()>& wait,
             const std::function<long()>& released) {
    handled = 0;
    std::thread waiter{[&] { say(what, wait()); }};
    for (int i = 0; i < 20; ++i) {
        pthread_kill(waiter.native_handle(), SIGUSR1);
        while (handled <= i) sched_yield();
    }
    if (released() < 0) return;
    waiter.join();
}

void restart_calls(const int (&ends)[2]) {
    handle(SIGUSR1, SA_RESTART);
    char byte = 0;
    restart(
        "read", [&] { return read(ends[0], &byte, 1); }, [&] { return write(ends[1], "x", 1); });
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    std::string much(1 << 16, 'x');
    while (write(ends[1], much.data(), much.size()) > 0) {
    }
    fcntl(ends[1], F_SETFL, 0);
    restart(
        "write", [&] { return write(ends[1], "x", 1); },
        [&] { return read(ends[0], much.data(), much.size()); });
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) return;
    restart(
        "recvmsg",
        [&] {
            iovec piece{&byte, 1};
            msghdr message{};
            message.msg_iov = &piece;
            message.msg_iovlen = 1;
            return recvmsg(pair[0], &message, 0);
        },
        [&] { return write(pair[1], "x", 1); });
    // With a time limit a call does not restart.
    const timeval long_time{1000, 0};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &long_time, sizeof long_time);
    interrupt("recv in time", [&] { return static_cast<long>(recv(pair[0], &byte, 1, 0)); });
    close(pair[0]);
    close(pair[1]);
}

void interrupt_calls() {
    handle(SIGUSR1);
    int ends[2];
    if (pipe(ends) != 0) return;
    interrupt("read", [&] {
        char byte = 0;
        return static_cast<long>(read(ends[0], &byte, 1));
    });
    interrupt("poll", [&] {
        pollfd one{ends[0], POLLIN, 0};
        return static_cast<long>(poll(&one, 1, -1));
    });
    interrupt("nanosleep", [] {
        const timespec long_time{1000, 0};
        return static_cast<long>(nanosleep(&long_time, nullptr));
    });
    interrupt("pause", [] { return static_cast<long>(pause()); });
    interrupt("sigwaitinfo", [] {
        const sigset_t set = set_of({SIGWINCH});
        return static_cast<long>(sigwaitinfo(&set, nullptr));
    });
    restart_calls(ends);
    close(ends[0]);
    close(ends[1]);
}

/// `wait(mask)` with a mask that opens what is blocked otherwise: the signal is not missed,
/// whether it is pending before or comes later.
void wait_open(const char* what, const std::function<long(const sigset_t*)>& wait) {
    handle(SIGUSR1);
    const sigset_t set = set_of({SIGUSR1});
    sigset_t open;
    pthread_sigmask(SIG_BLOCK, &set, &open);
    handled = 0;
    raise(SIGUSR1);
    long result = wait(&open);
    say(what, handled * 1000 + (result < 0 ? errno : 0));
    std::thread sender{[] { kill(getpid(), SIGUSR1); }};
    result = wait(&open);
    say(what, handled * 1000 + (result < 0 ? errno : 0));
    sender.join();
    say("blocked again", blocks(SIGUSR1));
    pthread_sigmask(SIG_SETMASK, &open, nullptr);
}

void wait_with_other_masks() {
    wait_open("sigsuspend", [](const sigset_t* open) -> long { return sigsuspend(open); });
    wait_open("ppoll",
              [](const sigset_t* open) -> long { return ppoll(nullptr, 0, nullptr, open); });
    wait_open("pselect", [](const sigset_t* open) -> long {
        return pselect(0, nullptr, nullptr, nullptr, nullptr, open);
    });
    const int fd = epoll_create1(0);
    wait_open("epoll_pwait", [&](const sigset_t* open) -> long {
        epoll_event event;
        return epoll_pwait(fd, &event, 1, -1, open);
    });
    close(fd);
}

int status_of(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

void take_children(int) {
    const int before = errno;
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    errno = before;
    ++handled;
}

// Its child is not for a handler, which runs when that has been waited for.
void run_commands() {
    struct sigaction action {};
    action.sa_handler = &take_children;
    sigaction(SIGCHLD, &action, nullptr);
    handled = 0;
    int failed = 0;
    for (int i = 0; i < 20; ++i) failed += system("exit 3") != 3 << 8;
    say("not told how a command ended", failed);
    // One more may be left of the commands before.
    say("handlers", handled >= 20);
    say("open again", blocks(SIGCHLD));
    say("open in the command", system("grep -q 'SigBlk:.0000000000000000' /proc/self/status"));
    signal(SIGCHLD, SIG_DFL);
}

/// In a handler, where the signal is blocked that it is of: SIGUSR1.
int make_child_in_handler() {
    const char* const arguments[] = {"grep", "-q", "SigBlk:.00*200$", "/proc/self/status", nullptr};
    auto* const list = const_cast<char* const*>(arguments);
    pid_t pid = -1;
    int spawned = -1;
    posix_spawn(&pid, "/bin/grep", nullptr, nullptr, list, environ);
    waitpid(pid, &spawned, 0);
    const pid_t forked = fork();
    if (forked == 0) _exit(blocks(SIGUSR1) && !blocks(SIGTERM) ? 0 : 1);
    int status = -1;
    waitpid(forked, &status, 0);
    return spawned == 0 && status == 0 ? 1 : 0;
}

bool is_child = false;

/// Comes back twice.
int split_in_handler() {
    const pid_t forked = fork();
    is_child = forked == 0;
    if (is_child) return 1;
    int status = -1;
    waitpid(forked, &status, 0);
    return status == 0 ? 1 : 0;
}

// And of what a handler makes that of the thread as it is there.
void make_processes_in_handlers() {
    handle_by_acting(SIGUSR1, {}, &make_child_in_handler);
    seen_in_handler = -1;
    raise(SIGUSR1);
    say("made in a handler", seen_in_handler);
    seen_in_handler = -1;
    std::thread waiter{[] {
        while (seen_in_handler < 0) sched_yield();
    }};
    pthread_kill(waiter.native_handle(), SIGUSR1);
    waiter.join();
    say("made in the handler of another's", seen_in_handler);
    handle_by_acting(SIGUSR1, {}, &split_in_handler);
    seen_in_handler = -1;
    raise(SIGUSR1);
    if (is_child) _exit(blocks(SIGUSR1) || blocks(SIGTERM) ? 1 : 0);
    say("made in a handler, and returned", seen_in_handler);
    seen_in_handler = -1;
    const sigset_t set = set_of({SIGUSR1});
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    raise(SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    // What the kernel itself says.
    if (is_child) _exit(system("grep -q 'SigBlk:.00*$' /proc/$PPID/status"));
    say("made in one that was let in, and returned", seen_in_handler);
    in_handler = nullptr;
}

// A process begins with the mask of the thread that makes it.
void make_processes() {
    const sigset_t set = set_of({SIGUSR1});
    std::thread maker{[&] {
        pthread_sigmask(SIG_BLOCK, &set, nullptr);
        pid_t pid = fork();
        if (pid == 0) {
            // SIGUSR1 alone.
            execl("/bin/grep", "grep", "-q", "SigBlk:.00*200$", "/proc/self/status", nullptr);
            _exit(99);
        }
        say("fork and exec", status_of(pid));
        pid = fork();
        if (pid == 0) _exit(blocks(SIGUSR1) && !blocks(SIGTERM) ? 5 : 6);
        say("mask of fork", status_of(pid));
    }};
    maker.join();
}

/// What fibers of a worker share: weft-run warns of it.
thread_local std::string of_each_thread;

void* become_another(void*) {
    of_each_thread = "destroyed by nobody";
    const sigset_t set = set_of({SIGUSR2});
    pthread_sigmask(SIG_SETMASK, &set, nullptr);
    std::fflush(stdout);
    char* const environment[] = {nullptr};
    execle("/bin/grep", "grep", "SigBlk", "/proc/self/status", nullptr, environment);
    return nullptr;
}

/// A server with a thread for each connection, which one that waits for SIGTERM stops.
int serve() {
    const sigset_t set = set_of({SIGTERM});
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const general = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener, general, length) != 0 || listen(listener, 100) != 0) return 1;
    getsockname(listener, general, &length);
    say("port", ntohs(address.sin_port));
    std::fflush(stdout);
    std::thread stopper{[&] {
        int signal = 0;
        sigwait(&set, &signal);
        shutdown(listener, SHUT_RDWR);
    }};
    std::vector<std::thread> threads;
    std::atomic<int> echoed{0};
    for (int fd = accept(listener, nullptr, nullptr); fd >= 0;
         fd = accept(listener, nullptr, nullptr)) {
        threads.emplace_back([fd, &echoed] {
            char byte = 0;
            while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1) ++echoed;
            close(fd);
        });
    }
    stopper.join();
    for (auto& each : threads) each.join();
    say("echoed", echoed);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string what = argc > 1 ? argv[1] : "";
    if (what == "exec") {
        pthread_t thread;
        pthread_create(&thread, nullptr, &become_another, nullptr);
        pthread_join(thread, nullptr);
        return 9;
    }
    if (what == "killed") {  // by what the thread sends to itself
        std::thread{[] { raise(SIGTERM); }}.join();
        return 9;
    }
    if (what == "serve") return serve();
    have_masks_of_their_own();
    send_to_themselves();
    std::thread{send_to_themselves}.join();
    send_in_handlers();
    std::thread{send_in_handlers}.join();
    send_in_handlers_of_others_signals();
    send_while_sending();
    send_to_the_process();
    wait_for_signals();
    interrupt_calls();
    read_signals();
    wait_with_other_masks();
    make_processes();
    run_commands();
    make_processes_in_handlers();
    return 0;
}
