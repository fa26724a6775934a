#include "support/process.hpp"
#include "support/runtime.hpp"

#include <weft/cancelled.hpp>
#include <weft/channel.hpp>
#include <weft/fiber.hpp>
#include <weft/io/process.hpp>
#include <weft/io/signals.hpp>
#include <weft/select.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::on_signal;
using weft::io::SignalInfo;
using weft::io::Signals;

namespace {

void send(int number) { REQUIRE(::kill(::getpid(), number) == 0); }

/// Sends a signal with a higher number than all others and waits for it: the kernel hands those
/// out first, on whatever thread each.
void await_last() {
    Signals marker{SIGRTMIN + 5};
    send(SIGRTMIN + 5);
    marker.wait();
}

void queue(int number, int value) {
    REQUIRE(::sigqueue(::getpid(), number, {.sival_int = value}) == 0);
}

std::atomic<int> handled{0};
void count(int) { handled.fetch_add(1); }

// A thread that took a signal may come to its handler after the last Signals for it is gone. The
// signal is sent again then, to what was there before, which must not be what ends the process.
[[maybe_unused]] const bool survives = [] {
    for (const int number : {SIGUSR1, SIGUSR2, SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 5}) {
        ::signal(number, [](int) {});
    }
    return true;
}();

/// A handler of the program, as long as it lives.
class Handler {
public:
    explicit Handler(int number) : number_{number} {
        struct sigaction action {};
        action.sa_handler = &count;
        ::sigaction(number, &action, &before_);
    }
    ~Handler() { ::sigaction(number_, &before_, nullptr); }
    bool is_installed() const {
        struct sigaction now {};
        ::sigaction(number_, nullptr, &now);
        return now.sa_handler == &count;
    }

private:
    const int number_;
    struct sigaction before_ {};
};

/// On workers, and on a plain thread.
template <class Body>
void everywhere_real(Body&& body) {
    on_workers(body);
    std::thread{[&] { body(); }}.join();
}

}  // namespace

TEST_CASE("a signal wakes who waits for it, and tells who sent it", "[os][signals]") {
    everywhere_real([] {
        Signals signals{SIGUSR1, SIGUSR2};
        std::thread sender{[] { send(SIGUSR2); }};
        const SignalInfo got = signals.wait();
        sender.join();
        REQUIRE(got.number == SIGUSR2);
        REQUIRE(got.pid == ::getpid());
        REQUIRE(got.uid == ::getuid());
        queue(SIGUSR1, 42);
        const SignalInfo valued = signals.wait();
        REQUIRE(valued.number == SIGUSR1);
        REQUIRE(valued.value == 42);
    });
}

TEST_CASE("a signal that comes before anybody waits is kept", "[os][signals]") {
    everywhere_real([] {
        Signals signals{SIGUSR1};
        REQUIRE_FALSE(signals.try_wait().has_value());
        REQUIRE_FALSE(signals.wait(1ms).has_value());
        send(SIGUSR1);
        REQUIRE(signals.wait(1h).has_value());
        REQUIRE_FALSE(signals.try_wait().has_value());
    });
}

TEST_CASE("each of several Signals gets a signal, and one who waits at it", "[os][signals]") {
    on_workers([] {
        Signals first{SIGUSR1};
        Signals second{SIGUSR1, SIGUSR2};
        weft::Semaphore woken{0};
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 2; ++i) {
            fibers.push_back(weft::spawn([&] {
                first.wait();
                woken.release();
            }));
        }
        send(SIGUSR1);
        REQUIRE(second.wait().number == SIGUSR1);
        woken.acquire();
        REQUIRE_FALSE(woken.acquire(1ms));
        send(SIGUSR1);
        woken.acquire();
        for (auto& fiber : fibers) fiber.get();
        REQUIRE(second.wait().number == SIGUSR1);
    });
}

TEST_CASE("a signal sent again before it is taken counts once, a real-time one each time",
          "[os][signals]") {
    if (under_tsan) return;  // it keeps one of each number only
    everywhere_real([] {
        Signals signals{SIGUSR1, SIGRTMIN, SIGRTMIN + 1};
        for (const int value : {1, 2, 4}) queue(SIGRTMIN, value);
        for (int i = 0; i < 100; ++i) queue(SIGRTMIN + 1, i);
        for (int i = 0; i < 100; ++i) send(SIGUSR1);
        // Several threads may have run the handler: so in any order.
        int plain = 0;
        int sum = 0;
        int many = 0;
        while (sum < 7 || many < 16 || plain < 1) {
            const SignalInfo info = signals.wait();
            plain += info.number == SIGUSR1 ? 1 : 0;
            sum += info.number == SIGRTMIN ? info.value : 0;
            many += info.number == SIGRTMIN + 1 ? 1 : 0;
        }
        REQUIRE(sum == 7);
        await_last();
    });
}

namespace {

/// In a process where one thread takes signals, so that they come in order.
int come_in_order() {
    int wrong = 0;
    weft::run([&] {
        Signals signals{SIGUSR1, SIGRTMIN};
        Signals marker{SIGRTMIN + 1};
        for (int value = 1; value <= 20; ++value) {
            ::kill(::getpid(), SIGUSR1);
            ::sigqueue(::getpid(), SIGRTMIN, {.sival_int = value});
        }
        ::kill(::getpid(), SIGRTMIN + 1);  // comes after those with lower numbers
        marker.wait();
        wrong += signals.wait().number == SIGUSR1 ? 0 : 1;
        for (int value = 1; value <= 16; ++value) wrong += signals.wait().value == value ? 0 : 2;
        wrong += signals.try_wait() ? 4 : 0;
        ::kill(::getpid(), SIGUSR1);
        wrong += signals.wait().number == SIGUSR1 ? 0 : 8;
    });
    return wrong;
}
const Child in_order{"signals: order", &come_in_order};

}  // namespace

TEST_CASE("signals come in order, and no more of one than may be kept", "[os][signals]") {
    if (under_tsan) return;  // as above
    const Outcome outcome = in_order.run();
    INFO(outcome.describe());
    REQUIRE(outcome.exited_with(0));
}

TEST_CASE("a flood of signals loses none of a number and does not block", "[os][signals]") {
    on_workers([] {
        Signals flooded{SIGRTMIN};
        for (int i = 0; i < 5000; ++i) queue(SIGRTMIN, i);
        await_last();
        REQUIRE(flooded.wait().number == SIGRTMIN);
    });
}

TEST_CASE("a handler of before comes back with the last who leaves", "[os][signals]") {
    const int of_its_own = SIGRTMIN + 7;  // of which none comes late
    everywhere_real([=] {
        const Handler handler{of_its_own};
        handled = 0;
        const std::size_t before = threads();
        {
            Signals outer{of_its_own};
            {
                Signals inner{of_its_own};
                REQUIRE_FALSE(handler.is_installed());
            }
            REQUIRE_FALSE(handler.is_installed());
            send(of_its_own);
            outer.wait();
        }
        REQUIRE(handler.is_installed());
        REQUIRE(threads() == before);
        REQUIRE(handled == 0);
    });
}

TEST_CASE("a handler that was put in the place of weft's stays", "[os][signals]") {
    std::optional<Signals> signals;
    signals.emplace(std::initializer_list<int>{SIGUSR1});
    const Handler handler{SIGUSR1};
    signals.reset();
    REQUIRE(handler.is_installed());
}

TEST_CASE("a cancelled wait for a signal takes none", "[os][signals]") {
    on_workers([] {
        Signals signals{SIGUSR1};
        auto waiting = weft::spawn([&] { signals.wait(); });
        weft::this_fiber::yield();
        waiting.cancel();
        REQUIRE_THROWS_AS(waiting.get(), weft::Cancelled);
        send(SIGUSR1);
        REQUIRE(signals.wait().number == SIGUSR1);
    });
}

TEST_CASE("a signal is a case of a select", "[os][signals]") {
    on_workers([] {
        Signals signals{SIGUSR1};
        weft::Channel<int> channel;
        for (int round = 0; round < 3; ++round) {
            auto sender = weft::spawn([&, round] {
                if (round == 1) {
                    channel.send(1);
                } else {
                    send(SIGUSR1);
                }
            });
            int got = 0;
            weft::select(on_signal(signals, [&](const SignalInfo& info) { got = info.number; }),
                         weft::on_recv<int>(channel, [&](std::optional<int> i) { got = *i; }));
            REQUIRE(got == (round == 1 ? 1 : SIGUSR1));
            sender.get();
        }
        REQUIRE_FALSE(signals.try_wait().has_value());
    });
}

TEST_CASE("what cannot be waited for is refused", "[os][signals]") {
    const auto make = [](int number) { const Signals signals{number}; };
    for (const int number : {0, -1, 65, 32, 33, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGURG}) {
        REQUIRE_THROWS_AS(make(number), std::invalid_argument);
    }
    REQUIRE_THROWS_AS(Signals{}, std::invalid_argument);
}

TEST_CASE("Signals come and go on all workers at once", "[os][signals]") {
    on_workers([] {
        Signals lasting{SIGUSR1};
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 20; ++i) {
            fibers.push_back(weft::spawn([] {
                for (int round = 0; round < 10; ++round) {
                    Signals signals{SIGUSR1, SIGUSR2};
                    send(SIGUSR1);
                    if (signals.wait().number != SIGUSR1) throw std::runtime_error{"another"};
                }
            }));
        }
        for (auto& fiber : fibers) fiber.get();
        await_last();
        REQUIRE(lasting.wait().number == SIGUSR1);
    });
}

TEST_CASE("a child made by fork has the handlers of before and makes its own Signals",
          "[os][signals]") {
    const Handler handler{SIGUSR1};
    const auto in_child = [] {
        handled = 0;
        ::raise(SIGUSR1);
        if (handled != 1) return 1;
        Signals own{SIGUSR1};
        ::raise(SIGUSR1);
        if (own.wait().number != SIGUSR1) return 2;
        return handled == 1 ? 0 : 3;
    };
    Signals signals{SIGUSR1};
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::alarm(20);
        // What sanitizers do about threads after a fork is their own affair.
        ::_exit(under_sanitizer ? 0 : in_child());
    }
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    REQUIRE(status == 0);
    REQUIRE_FALSE(signals.try_wait().has_value());
    send(SIGUSR1);
    REQUIRE(signals.wait().pid == ::getpid());
}

TEST_CASE("a signal for a child just made by fork is the child's", "[os][signals]") {
    if (under_tsan) return;  // which keeps it back
    Signals signals{SIGVTALRM};
    for (int i = 0; i < 20; ++i) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::alarm(5);
            for (;;) ::pause();
        }
        ::kill(pid, SIGVTALRM);  // seldom is it past its first steps by now
        int status = 0;
        REQUIRE(::waitpid(pid, &status, 0) == pid);
        REQUIRE(WIFSIGNALED(status));
        CHECK(WTERMSIG(status) == SIGVTALRM);
        await_last();
        CHECK_FALSE(signals.try_wait().has_value());
    }
}

TEST_CASE("a process started meanwhile has none of it", "[os][signals]") {
    on_workers_and_io([] {
        Signals signals{SIGUSR1};
        const auto child = weft::io::run({"cat", "/proc/self/status"});
        REQUIRE(child.output.find("SigCgt:\t0000000000000000\n") != std::string::npos);
        auto killed = weft::io::run({"sh", "-c", "kill -USR1 $$"});
        REQUIRE(killed.status == weft::io::ExitStatus::killed(SIGUSR1));
        REQUIRE_FALSE(signals.try_wait().has_value());
    });
}

namespace {

/// Ends by SIGTERM's default once the Signals is gone.
int end_by_default() {
    weft::run([] {
        Signals signals{SIGTERM};
        ::kill(::getpid(), SIGTERM);
        signals.wait();
        std::fputs("waited", stderr);
    });
    ::raise(SIGTERM);
    return 0;
}
const Child by_default{"signals: default", &end_by_default};

}  // namespace

TEST_CASE("the default of a signal comes back, too", "[os][signals]") {
    const Outcome outcome = by_default.run();
    INFO(outcome.describe());
    REQUIRE(outcome.says("waited"));
    REQUIRE(outcome.killed_by(SIGTERM));
}
