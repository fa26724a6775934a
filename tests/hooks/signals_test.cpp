// Waiting for signals in fibers that are no threads of weft-run's, and other calls that a thread
// makes for them: as libc has them.
#include "hooks/conform.hpp"
#include "support/fd.hpp"
#include "support/hooked.hpp"

#include <netdb.h>
#include <pty.h>
#include <signal.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
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
        const auto blocked_by_worker = [] {
            std::uint64_t mask = 0;
            ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sizeof mask);
            return mask;
        };
        const auto before = blocked_by_worker();
        for (const int signal : {SIGWINCH, SIGPIPE}) {
            CHECK(::sigset(signal, SIG_IGN) == SIG_DFL);
            CHECK(::sigset(signal, SIG_DFL) == SIG_IGN);
            CHECK(blocked_by_worker() == before);
        }
        CHECK(::sigset(7777, SIG_IGN) == SIG_ERR);
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
