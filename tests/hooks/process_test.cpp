// Children, sleeping and names in fibers, as libc has them.
#include "support/process.hpp"
#include "hooks/conform.hpp"
#include "support/fd.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>

#include <climits>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

using namespace weft::test;

namespace {

pid_t child_that_ends_with(int code) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(code);
    return pid;
}

/// One that ends when it is told to.
pid_t child_that_waits(int told, int code) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        char byte = 0;
        (void)!::read(told, &byte, 1);
        ::_exit(code);
    }
    return pid;
}

/// One that stops, and then waits to be killed.
pid_t stopped_child() {
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::raise(SIGSTOP);
        for (;;) ::pause();
    }
    return pid;
}

TEST_CASE("process: waiting for children of every kind", "[hooks][process]") {
    conforms([](Seen& seen) {
        const HalfMapped memory;
        int status = 0;
        pid_t pid = child_that_ends_with(3);
        seen.note("waitpid", ::waitpid(pid, &status, 0) == pid);
        seen.note("status", status);
        seen.of("again", [&] { return ::waitpid(pid, &status, 0); });
        seen.of("WNOHANG", [&] { return ::waitpid(pid, &status, WNOHANG); });
        seen.of("options", [&] { return ::waitpid(pid, &status, 0x100); });
        seen.of("INT_MIN", [&] { return ::waitpid(INT_MIN, &status, 0); });

        const Pair end = pipe_ends(O_CLOEXEC);
        pid = child_that_waits(end.a, 4);
        seen.of("not yet", [&] { return ::waitpid(pid, &status, WNOHANG); });
        siginfo_t info;
        std::memset(&info, 0xee, sizeof info);
        seen.of("waitid, not yet",
                [&] { return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG); });
        seen.note("nobody", info.si_pid);
        {
            Beside teller{[&] { put(end.b); }};
            seen.of("waitid", [&] {
                return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
            });
        }
        seen.note("who", info.si_pid == pid);
        seen.note("how", info.si_status * 100 + info.si_code);
        rusage usage{};
        seen.note("wait4", ::wait4(pid, &status, 0, &usage) == pid);
        seen.note("status", status);
        seen.of("no such options", [&] { return ::waitid(P_PID, 1, &info, 0); });
        seen.of("no such kind", [&] { return ::waitid(idtype_t(77), 1, &info, WEXITED); });

        {
            const Pair until = pipe_ends(O_CLOEXEC);
            pid = child_that_waits(until.a, 9);
            const Fd at_once{static_cast<int>(::syscall(SYS_pidfd_open, pid, O_NONBLOCK))};
            seen.of("O_NONBLOCK pidfd",
                    [&] { return ::waitid(P_PIDFD, static_cast<id_t>(at_once), &info, WEXITED); });
            put(until.b);
            ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
            seen.of("O_NONBLOCK pidfd, ended",
                    [&] { return ::waitid(P_PIDFD, static_cast<id_t>(at_once), &info, WEXITED); });
        }
        pid = child_that_ends_with(5);
        const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
        seen.of("pidfd",
                [&] { return ::waitid(P_PIDFD, static_cast<id_t>(pidfd), nullptr, WEXITED); });
        ::close(pidfd);

        pid = stopped_child();
        seen.note("stopped", ::waitpid(pid, &status, WUNTRACED) == pid);
        seen.note("status", status);
        ::kill(pid, SIGKILL);
        seen.note("killed", ::waitpid(pid, &status, WUNTRACED) == pid);
        seen.note("status", status);

        pid = child_that_ends_with(6);
        ::siginfo_t gone{};
        ::waitid(P_PID, static_cast<id_t>(pid), &gone, WEXITED | WNOWAIT);
        if (may_be_bad) {
            seen.of("bad status", [&] { return ::waitpid(pid, memory.bad<int>(), 0); });
        } else {
            ::waitpid(pid, nullptr, 0);
        }
        pid = child_that_ends_with(6);
        ::waitid(P_PID, static_cast<id_t>(pid), &gone, WEXITED | WNOWAIT);
        if (may_be_bad) {
            seen.of("bad info", [&] {
                return ::waitid(P_PID, static_cast<id_t>(pid), memory.bad<siginfo_t>(), WEXITED);
            });
        } else {
            ::waitpid(pid, nullptr, 0);
        }
        // Of a process group of their own, in which there is nobody else.
        pid = ::fork();
        if (pid == 0) {
            ::setpgid(0, 0);
            ::_exit(8);
        }
        ::setpgid(pid, pid);
        seen.note("of the group", ::waitpid(-pid, &status, 0) == pid);
        seen.note("status", status);
    });
}

TEST_CASE("process: any child, and none", "[hooks][process]") {
    conforms([](Seen& seen) {
        int status = 0;
        const pid_t pid = child_that_ends_with(9);
        seen.note("wait", ::wait(&status) == pid);
        seen.note("status", status);
        seen.of("none", [&] { return ::wait(&status); });
        seen.of("none of wait3", [&] { return ::wait3(&status, 0, nullptr); });
        seen.of("none of waitid", [&] { return ::waitid(P_ALL, 0, nullptr, WEXITED); });
    });
}

TEST_CASE("process: system, popen and what their children begin with", "[hooks][process]") {
    conforms([](Seen& seen) {
        seen.of("system", [] { return ::system("exit 3"); });
        seen.of("no shell?", [] { return ::system(nullptr) != 0; });
        seen.of("killed", [] { return ::system("kill -9 $$"); });
        seen.of("nothing there", [] { return ::system("/nonexistent/weft 2>/dev/null"); });
        const auto output = [&](const char* command) {
            FILE* const stream = ::popen(command, "re");
            char line[256] = "";
            (void)!std::fgets(line, sizeof line, stream);
            seen.note(command, line);
            seen.of("pclose", [&] { return ::pclose(stream); });
        };
        output("echo hello; exit 5");
        output("grep SigBlk /proc/self/status");
        output("grep SigIgn /proc/self/status");
        seen.of("mask",
                [] { return ::system("grep -q 'SigBlk:.0000000000000000' /proc/self/status"); });
        struct sigaction before {};
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGINT, &ignore, &before);
        seen.of("ignored stays", [] { return ::system("kill -2 $$; exit 6"); });
        ::sigaction(SIGINT, &before, nullptr);
        struct sigaction after {};
        ::sigaction(SIGINT, nullptr, &after);
        seen.note("as before", after.sa_handler == before.sa_handler);
        seen.of("killed by it", [] { return ::system("kill -2 $$; exit 6"); });
        errno = 0;
        FILE* const odd = ::popen("true", "x");
        seen.note("no such mode", odd == nullptr ? errno : 0);

        char shell[] = "/bin/sh";
        char option[] = "-c";
        char command[] = "grep -q 'SigBlk:.0000000000000000' /proc/self/status";
        char* const arguments[] = {shell, option, command, nullptr};
        pid_t pid = 0;
        int status = -1;
        seen.of("posix_spawn",
                [&] { return ::posix_spawn(&pid, shell, nullptr, nullptr, arguments, environ); });
        ::waitpid(pid, &status, 0);
        seen.note("its mask", status);
        pid = ::fork();
        if (pid == 0) {
            ::execv(shell, arguments);
            ::_exit(99);
        }
        ::waitpid(pid, &status, 0);
        seen.note("of fork", status);
        pid = ::vfork();
        if (pid == 0) {
            ::execv(shell, arguments);
            ::_exit(99);
        }
        ::waitpid(pid, &status, 0);
        seen.note("of vfork", status);
    });
}

TEST_CASE("process: a child of a fiber calls libc", "[hooks][process]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        const Pair in = pipe_ends();
        const pid_t pid = ::fork();
        if (pid == 0) {
            char byte = 0;
            ::usleep(1000);
            if (::read(in.a, &byte, 1) != 1) ::_exit(1);
            pollfd one{in.a, POLLIN, 0};
            if (::poll(&one, 1, 1) != 0) ::_exit(2);
            if (::system("exit 7") != 7 << 8) ::_exit(3);
            if (weft::this_fiber::is_fiber()) ::_exit(4);
            ::close(in.a);
            ::_exit(byte);
        }
        put(in.b, "\x2a");
        int status = 0;
        ::waitpid(pid, &status, 0);
        seen.note("status", status);
    });
}

/// 0 if a child of a fiber found the fiber's value of a key, and ended when that body did: by its
/// end or by pthread_exit().
template <bool exits>
int child_ends() {
    weft::hooks::patch_all();
    int status = -1;
    weft::run(
        [&] {
            weft::spawn([&] {
                pthread_key_t key;
                ::pthread_key_create(&key, nullptr);
                ::pthread_setspecific(key, &status);
                const pid_t pid = ::fork();
                if (pid == 0) {
                    if (::pthread_getspecific(key) != &status) ::_exit(3);
                    if (exits) ::pthread_exit(nullptr);
                    return;
                }
                ::waitpid(pid, &status, 0);
            }).get();
        },
        {.workers = 2});
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

const Child returning{"a child of fork() that returns", &child_ends<false>};
const Child exiting{"a child of fork() that exits its thread", &child_ends<true>};

TEST_CASE("process: a child of a fiber has its keys, and ends when its body returns",
          "[hooks][process]") {
    // The child has none of the parent's threads: what only their stacks name seems lost.
    const Environment no_leaks{"ASAN_OPTIONS", "detect_leaks=0"};
    for (const Child* child : {&returning, &exiting}) {
        const Outcome outcome = child->run();
        INFO(outcome.describe());
        REQUIRE(outcome.exited_with(0));
    }
}

// What the parent's fibers do at that moment, and the threads that do it for them, are not there.
TEST_CASE("process: a child of a fiber may have a runtime of its own", "[hooks][process]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        const Pair unread = pipe_ends();
        const Pair in = pipe_ends();
        auto reads = weft::spawn([&] {
            char byte = 0;
            return ::read(unread.a, &byte, 1);
        });
        auto sleeps = weft::spawn([] { return ::system("sleep 0.05"); });
        REQUIRE(weft::run_blocking([] { return 5; }) == 5);
        (void)weft::io::resolve("localhost", 80);
        ::usleep(1000);
        const pid_t pid = ::fork();
        if (pid == 0) {
            int failed = 1;
            weft::run([&] {
                auto reader = weft::spawn([&] {
                    char byte = 0;
                    return ::read(in.a, &byte, 1) == 1 && byte == '!';
                });
                ::usleep(1000);
                if (::write(in.b, "!", 1) != 1 || !reader.get()) return;
                ::close(unread.a);
                if (::system("exit 7") != 7 << 8) return;
                if (weft::run_blocking([] { return 5; }) != 5) return;
                (void)weft::io::resolve("localhost", 80);
                failed = 0;
            });
            ::_exit(failed);
        }
        int status = -1;
        REQUIRE(::waitpid(pid, &status, 0) == pid);
        CHECK(status == 0);
        put(unread.b, "x");
        CHECK(reads.get() == 1);
        CHECK(sleeps.get() == 0);
    });
}

TEST_CASE("process: sleeping, for all kinds of times", "[hooks][time]") {
    conforms([](Seen& seen) {
        const HalfMapped memory;
        const timespec brief{0, 100'000};
        const timespec wrong{0, -1};
        const timespec past{1, 0};
        timespec left{5, 5};
        seen.of("nanosleep", [&] { return ::nanosleep(&brief, &left); });
        seen.note("left is left alone", left.tv_sec);
        seen.of("wrong", [&] { return ::nanosleep(&wrong, &left); });
        if (may_be_bad)
            seen.of("bad", [&] { return ::nanosleep(memory.bad<timespec>(), nullptr); });
        if (may_be_bad) seen.of("null", [&] { return ::nanosleep(nullptr, nullptr); });
        seen.of("thrd_sleep", [&] { return ::thrd_sleep(&brief, nullptr); });
        seen.of("sleep", [] { return ::sleep(0); });
        seen.of("usleep", [] { return ::usleep(10); });
        for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
                                      CLOCK_THREAD_CPUTIME_ID, 77}) {
            seen.of("clock", [&] { return ::clock_nanosleep(clock, 0, &brief, nullptr); });
            seen.of("past",
                    [&] { return ::clock_nanosleep(clock, TIMER_ABSTIME, &past, nullptr); });
            seen.of("wrong", [&] { return ::clock_nanosleep(clock, 0, &wrong, nullptr); });
            seen.of("bad",
                    [&] { return ::clock_nanosleep(clock, 0, memory.bad<timespec>(), nullptr); });
        }
    });
}

std::string name_of(const sockaddr* address) {
    char text[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        const auto* const four = reinterpret_cast<const sockaddr_in*>(address);
        ::inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
    } else if (address->sa_family == AF_INET6) {
        const auto* const six = reinterpret_cast<const sockaddr_in6*>(address);
        ::inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
    }
    return text;
}

TEST_CASE("process: names that need no server", "[hooks][dns]") {
    conforms([](Seen& seen) {
        const auto look_up = [&](const char* host, const char* service, int flags, int family) {
            addrinfo hints{};
            hints.ai_flags = flags;
            hints.ai_family = family;
            addrinfo* found = nullptr;
            const int result = ::getaddrinfo(host, service, &hints, &found);
            seen.note("getaddrinfo", result);
            for (addrinfo* each = found; each != nullptr; each = each->ai_next) {
                seen.note(name_of(each->ai_addr), each->ai_socktype * 100 + each->ai_protocol);
            }
            if (found != nullptr) ::freeaddrinfo(found);
        };
        look_up("127.0.0.1", "80", 0, AF_UNSPEC);
        look_up("::1", "80", 0, AF_UNSPEC);
        look_up("localhost", "http", 0, AF_INET);
        look_up("localhost", nullptr, 0, AF_UNSPEC);
        look_up("localhost", "80", AI_NUMERICHOST, AF_UNSPEC);
        look_up("127.0.0.1", "no-such-service", 0, AF_UNSPEC);
        look_up(nullptr, nullptr, 0, AF_UNSPEC);
        look_up(nullptr, "80", AI_PASSIVE, AF_UNSPEC);
        look_up("127.0.0.1", "80", 1 << 20, AF_UNSPEC);
        look_up("127.0.0.1", "80", 0, 77);
        look_up("::1", "80", 0, AF_INET);

        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(80);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const auto* const general = reinterpret_cast<const sockaddr*>(&address);
        char host[64] = "";
        char service[64] = "";
        const auto name = [&](socklen_t length, socklen_t host_room, socklen_t service_room,
                              int flags) {
            seen.note("getnameinfo", ::getnameinfo(general, length, host, host_room, service,
                                                   service_room, flags));
            seen.note(host, service);
        };
        name(sizeof address, 64, 64, 0);
        name(sizeof address, 64, 64, NI_NUMERICHOST | NI_NUMERICSERV);
        name(sizeof address, 2, 64, 0);
        name(sizeof address, 64, 2, 0);
        name(sizeof address, 0, 0, 0);
        name(3, 64, 64, 0);

        const auto show = [&](const hostent* entry) {
            seen.note("entry", entry == nullptr ? -h_errno : entry->h_length);
            if (entry != nullptr) seen.note("name", entry->h_name);
        };
        show(::gethostbyname("localhost"));
        show(::gethostbyname("127.0.0.1"));
        show(::gethostbyname2("localhost", AF_INET));
        show(::gethostbyaddr(&address.sin_addr, 4, AF_INET));
        hostent entry{};
        hostent* found = nullptr;
        char room[512];
        int error = 0;
        seen.note("_r", ::gethostbyname_r("localhost", &entry, room, sizeof room, &found, &error));
        show(found);
        seen.note("no room", ::gethostbyname_r("localhost", &entry, room, 8, &found, &error));
        seen.note("none", found == nullptr);
    });
}

TEST_CASE("process: queues and semaphores between processes", "[hooks][process]") {
    conforms([](Seen& seen) {
        const int queue = ::msgget(IPC_PRIVATE, 0600);
        struct {
            long type;
            char text[4];
        } message{1, {'a', 'b', 'c', 'd'}};
        {
            Beside sender{[&] { ::msgsnd(queue, &message, 4, 0); }};
            seen.of("msgrcv", [&] { return ::msgrcv(queue, &message, 4, 0, 0); });
        }
        seen.of("none", [&] { return ::msgrcv(queue, &message, 4, 0, IPC_NOWAIT); });
        ::msgctl(queue, IPC_RMID, nullptr);
        seen.of("gone", [&] { return ::msgsnd(queue, &message, 4, 0); });

        const int set = ::semget(IPC_PRIVATE, 1, 0600);
        sembuf down{0, -1, 0};
        sembuf up{0, 1, 0};
        {
            Beside other{[&] { ::semop(set, &up, 1); }};
            seen.of("semop", [&] { return ::semop(set, &down, 1); });
        }
        const timespec brief{0, 1'000'000};
        seen.of("semtimedop", [&] { return ::semtimedop(set, &down, 1, &brief); });
        ::semctl(set, 0, IPC_RMID);
        seen.of("gone", [&] { return ::semop(set, &down, 1); });

        const mqd_t posix = ::mq_open("/weft-test", O_RDWR | O_CREAT, 0600, nullptr);
        if (posix < 0) return;
        ::mq_unlink("/weft-test");
        std::string room(8192, ' ');
        unsigned priority = 0;
        {
            Beside other{[&] { ::mq_send(posix, "abc", 3, 7); }};
            seen.of("mq_receive",
                    [&] { return ::mq_receive(posix, room.data(), room.size(), &priority); });
        }
        seen.note("priority", priority);
        const timespec past{1, 0};
        seen.of("past", [&] {
            return ::mq_timedreceive(posix, room.data(), room.size(), &priority, &past);
        });
        seen.of("small", [&] { return ::mq_receive(posix, room.data(), 1, &priority); });
        ::mq_close(posix);
        seen.of("closed", [&] { return ::mq_send(posix, "abc", 3, 7); });
    });
}

// Also where they need not wait.
TEST_CASE("process: queues and semaphores refuse a time that is none", "[hooks][process]") {
    conforms([](Seen& seen) {
        const timespec negative{-1, 0};
        const timespec short_of_it{0, -1};
        const timespec too_much{0, 1'000'000'000};
        const HalfMapped memory;
        std::vector<const timespec*> times{&negative, &short_of_it, &too_much};
        if (may_be_bad) times.push_back(memory.bad<timespec>());

        const int set = ::semget(IPC_PRIVATE, 1, 0600);
        const mqd_t queue = ::mq_open("/weft-time", O_RDWR | O_CREAT, 0600, nullptr);
        ::mq_unlink("/weft-time");
        if (queue >= 0) REQUIRE(::mq_send(queue, "abc", 3, 7) == 0);
        std::string room(8192, ' ');
        unsigned priority = 0;
        for (const timespec* time : times) {
            for (short by : {1, -1}) {
                sembuf change{0, by, 0};
                seen.of("semtimedop", [&] { return ::semtimedop(set, &change, 1, time); });
            }
            if (queue < 0) continue;
            seen.of("mq_timedsend", [&] { return ::mq_timedsend(queue, "abc", 3, 7, time); });
            seen.of("mq_timedreceive", [&] {
                return ::mq_timedreceive(queue, room.data(), room.size(), &priority, time);
            });
        }
        ::semctl(set, 0, IPC_RMID);
        if (queue >= 0) ::mq_close(queue);
    });
}

}  // namespace
