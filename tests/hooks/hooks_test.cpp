// What weft/hooks.hpp promises, and what signals do to fibers that call libc.
#include "hooks/conform.hpp"
#include "support/fd.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

using namespace weft::test;
using namespace std::chrono_literals;

namespace {

const weft::hooks::SymbolReport& of(const weft::hooks::Report& report, std::string_view name) {
    const auto found = std::find_if(report.symbols.begin(), report.symbols.end(),
                                    [&](const auto& each) { return name == each.name; });
    REQUIRE(found != report.symbols.end());
    return *found;
}

unsigned long long taken(std::string_view name) { return of(weft::hooks::report(), name).taken; }
unsigned long long passed(std::string_view name) { return of(weft::hooks::report(), name).passed; }

TEST_CASE("hooks: linked, they change nothing until something is patched", "[hooks]") {
    weft::hooks::unpatch_all();
    const auto before = taken("poll") + passed("poll");
    weft::run([] { ::poll(nullptr, 0, 1); });
    CHECK(taken("poll") + passed("poll") == before);
    const weft::hooks::Categories none = weft::hooks::patched();
    CHECK_FALSE((none.socket || none.select || none.time || none.dns || none.file || none.process ||
                 none.threads));
}

TEST_CASE("hooks: a category is patched beside those that are", "[hooks]") {
    weft::hooks::unpatch_all();
    weft::hooks::patch_time();
    weft::hooks::patch_time();
    CHECK(weft::hooks::patched().time);
    CHECK_FALSE(weft::hooks::patched().select);
    weft::hooks::patch_all({.socket = false,
                            .time = false,
                            .dns = false,
                            .file = false,
                            .process = false,
                            .threads = false});
    CHECK(weft::hooks::patched().time);
    CHECK(weft::hooks::patched().select);
    CHECK_FALSE(weft::hooks::patched().file);
    weft::hooks::unpatch_all();
    const auto before = taken("usleep");
    weft::run([] { ::usleep(1); });
    CHECK(taken("usleep") == before);
}

TEST_CASE("hooks: calls are counted, and those of plain threads are not", "[hooks]") {
    weft::hooks::patch_all();
    const auto before = taken("usleep");
    weft::run(
        [] {
            ::usleep(1);
            std::thread{[] { ::usleep(1); }}.join();
            weft::hooks::original (&::usleep)(1);
        },
        {.workers = 1});
    CHECK(taken("usleep") == before + 1);
    const auto left = passed("usleep");
    weft::run(
        [] {
            const weft::hooks::Bypass outer;
            { const weft::hooks::Bypass inner; }
            ::usleep(1);
        },
        {.workers = 1});
    CHECK(taken("usleep") == before + 1);
    CHECK(passed("usleep") == left + 1);
}

TEST_CASE("hooks: the original of what has no hook is itself", "[hooks]") {
    CHECK(weft::hooks::original(&::getppid) == &::getppid);
    CHECK(weft::hooks::original(&::usleep) != &::usleep);
}

TEST_CASE("hooks: the report names what is there, and reads as text", "[hooks]") {
    weft::hooks::patch_all();
    weft::run([] { ::usleep(1); });
    const weft::hooks::Report report = weft::hooks::report();
    CHECK(report.patched.time);
    CHECK(std::string_view{of(report, "usleep").category} == "time");
    CHECK(of(report, "usleep").interposed);
    CHECK(report.obstacles.find("RTLD_DEEPBIND") != std::string::npos);
    CHECK(report.text().find("usleep") != std::string::npos);
}

TEST_CASE("hooks: a fiber stays on its worker from its first call on, or not", "[hooks]") {
    weft::hooks::patch_all();
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    weft::run(
        [] {
            auto stays = weft::spawn([] {
                ::usleep(1);
                const auto thread = std::this_thread::get_id();
                for (int i = 0; i < 50; ++i) {
                    weft::this_fiber::sleep_for(1us);
                    CHECK(std::this_thread::get_id() == thread);
                }
            });
            auto roams = weft::spawn([] {
                ::usleep(1);
                weft::hooks::allow_migration();
                weft::hooks::allow_migration();
                const auto thread = std::this_thread::get_id();
                bool moved = false;
                // Many: a sleep that is over before it began does not wait.
                for (int i = 0; i < 1000 && !moved; ++i) {
                    weft::this_fiber::sleep_for(100us);
                    ::usleep(1);
                    moved = std::this_thread::get_id() != thread;
                }
                CHECK(moved);
            });
            stays.get();
            roams.get();
        },
        {.workers = 4});
    weft::hooks::allow_migration();  // nothing, outside
}

TEST_CASE("hooks: a cancelled call answers ECANCELED, and so does the next", "[hooks]") {
    weft::hooks::patch_all();
    on_workers_and_io([] {
        const Pair pair = sockets();
        const auto calls = taken("read");
        std::string errors;
        auto fiber = weft::spawn([&] {
            char byte = 0;
            const auto tell = [&](long result) {
                errors += result < 0 && errno == ECANCELED ? "c" : "?";
            };
            tell(::read(pair.a, &byte, 1));
            tell(::recv(pair.a, &byte, 1, 0));
            pollfd one{pair.a, POLLIN, 0};
            tell(::poll(&one, 1, -1));
            tell(::usleep(100'000'000));
            tell(::sleep(100) > 0 ? -1 : 0);
            weft::this_fiber::check_cancelled();
            errors += "not thrown";
        });
        while (taken("read") == calls) weft::this_fiber::yield();
        fiber.cancel();
        fiber.join();
        CHECK(errors.substr(0, 4) == "cccc");
        CHECK(errors.find("not thrown") == std::string::npos);
    });
}

// --- SIGPIPE ---

int pipe_signals_of(bool blocked, sighandler_t handler) {
    static std::atomic<int> count;
    count = 0;
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = handler == nullptr ? [](int) { ++count; } : handler;
    ::sigaction(SIGPIPE, &action, &before);
    Pair pair = sockets();
    Pair pipe = pipe_ends();
    pair.b.reset();
    pipe.a.reset();
    sigset_t set;
    sigset_t mask;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    if (blocked) ::pthread_sigmask(SIG_BLOCK, &set, &mask);
    int result = 0;
    const auto note = [&](long written) {
        result = result * 10 + count.exchange(0) + (written < 0 && errno == EPIPE ? 4 : 0);
    };
    char data[8] = {};
    iovec piece{data, 8};
    note(::write(pair.a, data, 8));
    note(::send(pair.a, data, 8, 0));
    note(::send(pair.a, data, 8, MSG_NOSIGNAL));
    note(::writev(pair.a, &piece, 1));
    note(::write(pipe.b, data, 8));
    note(::writev(pipe.b, &piece, 1));
    if (blocked) {
        sigset_t pending;
        ::sigpending(&pending);
        result = result * 10 + sigismember(&pending, SIGPIPE);
        const timespec at_once{};
        result = result * 10 + (::sigtimedwait(&set, nullptr, &at_once) == SIGPIPE ? 1 : 0);
        ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
        result = result * 10 + count;
    }
    ::sigaction(SIGPIPE, &before, nullptr);
    return result;
}

TEST_CASE("hooks: SIGPIPE comes as often as from libc, and where it is blocked it waits",
          "[hooks][signal]") {
    conforms([](Seen& seen) {
        seen.note("handled", pipe_signals_of(false, nullptr));
        seen.note("ignored", pipe_signals_of(false, SIG_IGN));
        seen.note("blocked", pipe_signals_of(true, nullptr));
        seen.note("handled again", pipe_signals_of(false, nullptr));
    });
}

TEST_CASE("hooks: SIGPIPE comes once to a write that waited", "[hooks][signal]") {
    static std::atomic<int> count;
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = [](int) { ++count; };
    ::sigaction(SIGPIPE, &action, &before);
    conforms([](Seen& seen) {
        const std::string much(1'000'000, 'x');
        for (const bool in_pieces : {false, true}) {
            for (const bool is_pipe : {true, false}) {
                Pair pair = is_pipe ? pipe_ends() : sockets();
                count = 0;
                Beside closer{[&] {
                    char data[4096];
                    (void)!::read(pair.a, data, sizeof data);
                    pair.a.reset();
                }};
                const iovec piece{const_cast<char*>(much.data()), much.size()};
                const long written = in_pieces ? ::writev(pair.b, &piece, 1)
                                               : ::write(pair.b, much.data(), much.size());
                seen.note("in part", written > 0 && written < 1'000'000);
                seen.note("signals", count);
                closer.join();
                seen.of("again", [&] { return ::write(pair.b, "x", 1); });
                seen.note("signals", count);
            }
        }
    });
    ::sigaction(SIGPIPE, &before, nullptr);
}

int write_to_nobody() {
    ::signal(SIGPIPE, SIG_DFL);  // whatever the tests were started with
    weft::hooks::patch_all();
    weft::run([] {
        int fds[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) return;
        ::close(fds[1]);
        (void)!::write(fds[0], "x", 1);
    });
    return 0;
}
const Child broken_pipe{"broken_pipe", &write_to_nobody};

TEST_CASE("hooks: SIGPIPE is the end of a program that says nothing else", "[hooks][signal]") {
    const Outcome outcome = broken_pipe.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGPIPE));
}

// --- handlers ---

std::atomic<int> handled{0};
int handler_pipe[2];

void call_libc(int) {
    const int saved = errno;
    const auto before = handled.load();
    (void)!::write(handler_pipe[1], "x", 1);
    pollfd none{-1, POLLIN, 0};
    ::poll(&none, 1, 0);
    char byte = 0;
    (void)!::read(handler_pipe[0], &byte, 1);
    ::usleep(1);
    handled = before + 1;
    errno = saved;
}

TEST_CASE("hooks: what a signal handler calls is libc's own", "[hooks][signal]") {
    REQUIRE(::pipe(handler_pipe) == 0);
    for (const bool early : {true, false}) {
        weft::hooks::unpatch_all();
        if (!early) weft::hooks::patch_all();
        struct sigaction action {};
        struct sigaction before {};
        action.sa_handler = &call_libc;
        ::sigaction(SIGPROF, &action, &before);
        if (early) weft::hooks::patch_all();
        struct sigaction told {};
        ::sigaction(SIGPROF, nullptr, &told);
        CHECK((told.sa_flags & SA_ONSTACK) == 0);
        CHECK(told.sa_handler == &call_libc);
        on_workers_and_io([] {
            const auto before_calls = taken("usleep");
            handled = 0;
            weft::spawn([] {
                while (handled < 20) {
                    ::pthread_kill(::pthread_self(), SIGPROF);
                    const Pair pair = sockets();
                    put(pair.b, "y");
                    char byte = 0;
                    CHECK(::read(pair.a, &byte, 1) == 1);
                }
            }).get();
            CHECK(taken("usleep") == before_calls);
        });
        ::sigaction(SIGPROF, &before, nullptr);
    }
    ::close(handler_pipe[0]);
    ::close(handler_pipe[1]);
}

TEST_CASE("hooks: signal() installs what it says", "[hooks][signal]") {
    conforms([](Seen& seen) {
        const sighandler_t before = ::signal(SIGUSR1, SIG_IGN);
        seen.note("first", before == SIG_DFL);
        seen.note("then", ::signal(SIGUSR1, SIG_DFL) == SIG_IGN);
        seen.of("bad", [] { return ::signal(77, SIG_IGN) == SIG_ERR ? 1 : 0; });
        struct sigaction action {};
        action.sa_handler = [](int) {};
        action.sa_flags = SA_RESTART;
        seen.of("sigaction", [&] { return ::sigaction(SIGUSR1, &action, nullptr); });
        struct sigaction told {};
        ::sigaction(SIGUSR1, nullptr, &told);
        seen.note("flags", told.sa_flags & (SA_RESTART | SA_ONSTACK | SA_NODEFER));
        ::signal(SIGUSR1, SIG_DFL);
        seen.of("bad sigaction", [&] { return ::sigaction(SIGKILL, &action, nullptr); });
    });
}

// --- before main(), and after it ---

const int before_main = [] {
    char byte = 0;
    int ends[2];
    if (::pipe(ends) != 0 || ::write(ends[1], "b", 1) != 1 || ::read(ends[0], &byte, 1) != 1) {
        return -1;
    }
    ::close(ends[0]);
    ::close(ends[1]);
    pollfd none{-1, 0, 0};
    return ::poll(&none, 1, 1) == 0 ? byte : -1;
}();

TEST_CASE("hooks: before main() they are libc", "[hooks]") { CHECK(before_main == 'b'); }

void say_late() {
    pollfd none{-1, 0, 0};
    ::usleep(1);
    if (::poll(&none, 1, 1) == 0) (void)!::write(STDERR_FILENO, "late", 4);
}

int call_at_exit() {
    weft::hooks::patch_all();
    std::atexit(&say_late);
    weft::run([] { ::usleep(1); });
    ::usleep(1);
    return 5;
}
const Child at_exit{"at_exit", &call_at_exit};

int exit_in_a_fiber() {
    weft::hooks::patch_all();
    std::atexit(&say_late);
    weft::run([] {
        auto sleeper = weft::spawn([] { ::usleep(100'000'000); });
        std::exit(6);
    });
    return 5;
}
const Child exit_in_fiber{"exit_in_fiber", &exit_in_a_fiber};

TEST_CASE("hooks: after the runtime's end, and in exit(), they are libc", "[hooks]") {
    const Outcome late = at_exit.run();
    CHECK(late.exited_with(5));
    CHECK(late.says("late"));
    const Outcome inside = exit_in_fiber.run();
    INFO(inside.describe());
    CHECK(inside.exited_with(6));
    CHECK(inside.says("late"));
}

}  // namespace
