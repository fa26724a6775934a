// Waiting for signals in fibers that are no threads of weft-run's, and other calls that a thread
// makes for them: as libc has them.
#include "hooks/conform.hpp"
#include "support/fd.hpp"
#include "support/hooked.hpp"

#include <netdb.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <threads.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>

using namespace weft::test;

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // sigset() is to be right, too

namespace {

/// Before main(), and so by all threads: those of the tests' main() take signals, too.
const sigset_t blocked = [] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    return set;
}();

/// By the kernel's thread, which is a worker.
std::uint64_t blocked_by_thread() {
    std::uint64_t mask = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sizeof mask);
    return mask;
}

}  // namespace

TEST_CASE("signals: a fiber takes what comes to the process", "[hooks][signal]") {
    conforms([](Seen& seen) {
        int signal = 0;
        {
            Beside sender{[] { ::kill(::getpid(), SIGUSR1); }};
            seen.of("sigwait", [&] { return ::sigwait(&blocked, &signal); });
        }
        seen.note("which", signal);
        siginfo_t info{};
        {
            Beside sender{[] { ::sigqueue(::getpid(), SIGUSR2, {.sival_int = 7}); }};
            seen.of("sigwaitinfo", [&] { return ::sigwaitinfo(&blocked, &info); });
        }
        seen.note("value", info.si_value.sival_int);
        const timespec brief{0, 1'000'000};
        const timespec wrong{0, -1};
        seen.of("in vain", [&] { return ::sigtimedwait(&blocked, &info, &brief); });
        seen.of("wrong time", [&] { return ::sigtimedwait(&blocked, &info, &wrong); });
        ::kill(::getpid(), SIGUSR1);
        seen.of("pending", [&] { return ::sigtimedwait(&blocked, nullptr, &brief); });
    });
}

TEST_CASE("signals: a cancelled fiber waits for none", "[hooks][signal][cancel]") {
    on_hooked_workers([] {
        auto waits = weft::spawn([] {
            int signal = 0;
            return ::sigwait(&blocked, &signal);
        });
        until_doing(waits, "sigwait");
        waits.cancel();
        CHECK(waits.get() == ECANCELED);
    });
}

TEST_CASE("signals: sigset() leaves what a fiber's worker blocks", "[hooks][signal]") {
    on_workers_and_io([] {
        const auto before = blocked_by_thread();
        for (const int signal : {SIGWINCH, SIGPIPE}) {
            CHECK(::sigset(signal, SIG_IGN) == SIG_DFL);
            CHECK(::sigset(signal, SIG_DFL) == SIG_IGN);
            CHECK(blocked_by_thread() == before);
        }
        CHECK(::sigset(7777, SIG_IGN) == SIG_ERR);
    });
}

namespace {

std::uint64_t bits_of(const sigset_t& set) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &set, sizeof bits);
    return bits;
}

std::uint64_t blocked_now() {
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    return bits_of(mask);
}

sigset_t only(int signal) {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    return set;
}

sigset_t all_signals() {
    sigset_t all;
    ::sigfillset(&all);
    return all;
}

void* tell_blocked(void* told) {
    *static_cast<std::uint64_t*>(told) = blocked_by_thread();
    return nullptr;
}

std::atomic<int> handled{0};
void handle(int) { ++handled; }

}  // namespace

TEST_CASE("signals: a fiber has a mask as a thread has", "[hooks][signal]") {
    conforms([](Seen& seen) {
        seen.note("at first", static_cast<long>(blocked_now()));
        const sigset_t all = all_signals();
        sigset_t before;
        seen.of("all", [&] { return ::pthread_sigmask(SIG_SETMASK, &all, &before); });
        seen.note("before", static_cast<long>(bits_of(before)));
        seen.note("all", static_cast<long>(blocked_now()));
        seen.of("none such", [&] { return ::pthread_sigmask(77, &all, nullptr); });
        seen.of("none such", [&] { return ::sigprocmask(77, &all, nullptr); });
        const sigset_t one = only(SIGTERM);
        seen.of("opened", [&] { return ::sigprocmask(SIG_UNBLOCK, &one, nullptr); });
        seen.note("but one", static_cast<long>(blocked_now()));
        seen.of("back", [&] { return ::pthread_sigmask(SIG_SETMASK, &before, nullptr); });
        seen.note("in the end", static_cast<long>(blocked_now()));
    });
}

TEST_CASE("signals: masks of fibers are none of their worker's", "[hooks][signal]") {
    on_hooked_workers([] {
        const std::uint64_t at_first = blocked_by_thread();
        const sigset_t all = all_signals();
        sigset_t before;
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        CHECK(blocked_by_thread() == at_first);
        CHECK(weft::spawn(&blocked_now).get() == bits_of(blocked));
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        CHECK(blocked_by_thread() == at_first);
    });
}

TEST_CASE("signals: what a fiber raises it handles at once, unless it blocks it",
          "[hooks][signal]") {
    conforms([](Seen& seen) {
        struct sigaction action {};
        struct sigaction before {};
        action.sa_handler = &handle;
        ::sigaction(SIGWINCH, &action, &before);
        handled = 0;
        seen.of("raise", [&] { return ::raise(SIGWINCH); });
        seen.note("handled", handled);
        seen.of("kill", [&] { return ::pthread_kill(::pthread_self(), SIGWINCH); });
        seen.note("handled", handled);
        const sigset_t one = only(SIGWINCH);
        ::pthread_sigmask(SIG_BLOCK, &one, nullptr);
        seen.of("raise", [&] { return ::raise(SIGWINCH); });
        seen.note("handled", handled);
        ::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
        seen.note("handled", handled);
        ::sigaction(SIGWINCH, &before, nullptr);
    });
}

TEST_CASE("signals: threads that a fiber makes have its mask", "[hooks][signal]") {
    conforms([](Seen& seen) {
        const sigset_t one = only(SIGTERM);
        for (int i = 0; i < 2; ++i) {
            std::uint64_t mask = 0;
            pthread_t thread;
            ::pthread_create(&thread, nullptr, &tell_blocked, &mask);
            ::pthread_join(thread, nullptr);
            seen.note("pthread", static_cast<long>(mask));
            thrd_t other;
            const thrd_start_t body = [](void* told) {
                return tell_blocked(told) == nullptr ? 0 : 1;
            };
            ::thrd_create(&other, body, &mask);
            ::thrd_join(other, nullptr);
            seen.note("thrd", static_cast<long>(mask));
            ::pthread_sigmask(SIG_BLOCK, &one, nullptr);
        }
        ::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
    });
}

TEST_CASE("signals: children that a fiber makes have its mask", "[hooks][signal]") {
    conforms([](Seen& seen) {
        const sigset_t one = only(SIGTERM);
        for (int i = 0; i < 2; ++i) {
            seen.note("system", ::system("exit $(grep -c '^SigBlk:.*4a00$' /proc/self/status)"));
            // As many do who start a process themselves.
            const sigset_t all = all_signals();
            sigset_t before;
            ::pthread_sigmask(SIG_SETMASK, &all, &before);
            const pid_t child = ::fork();
            if (child == 0) {
                ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
                ::_exit(static_cast<int>(blocked_by_thread() >> 8));
            }
            ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
            int status = 0;
            ::waitpid(child, &status, 0);
            seen.note("child", status);
            ::pthread_sigmask(SIG_BLOCK, &one, nullptr);
        }
        ::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
    });
}

TEST_CASE("signals: what a terminal has still to send is waited for", "[hooks][file]") {
    conforms([](Seen& seen) {
        int master = -1;
        int slave = -1;
        if (::openpty(&master, &slave, nullptr, nullptr, nullptr) != 0) return;
        termios settings{};
        ::tcgetattr(slave, &settings);
        seen.of("drain", [&] { return ::tcsetattr(slave, TCSADRAIN, &settings); });
        seen.of("flush", [&] { return ::tcsetattr(slave, TCSAFLUSH, &settings); });
        seen.of("now", [&] { return ::tcsetattr(slave, TCSANOW, &settings); });
        seen.of("no such way", [&] { return ::tcsetattr(slave, 77, &settings); });
        seen.of("break", [&] { return ::tcsendbreak(slave, 0); });
        ::close(master);
        ::close(slave);
        seen.of("closed", [&] { return ::tcsetattr(slave, TCSADRAIN, &settings); });
        seen.of("closed", [&] { return ::tcsendbreak(slave, 0); });
    });
}

TEST_CASE("signals: look-ups that others make are waited for", "[hooks][dns]") {
    conforms([](Seen& seen) {
        gaicb request{};
        request.ar_name = "127.0.0.1";
        gaicb* list[] = {&request};
        seen.of("begun", [&] { return ::getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr); });
        const gaicb* const awaited[] = {&request};
        int result = 0;
        // Done by then, maybe, which it says at once.
        while (result != EAI_ALLDONE) result = ::gai_suspend(awaited, 1, nullptr);
        seen.note("found", ::gai_error(&request));
        if (request.ar_result != nullptr) ::freeaddrinfo(request.ar_result);
    });
}
