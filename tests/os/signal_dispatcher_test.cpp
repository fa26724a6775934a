#include "os/signal_dispatcher.hpp"
#include "support/catch.hpp"

#include <weft/semaphore.hpp>

#include <atomic>

#include <signal.h>
#include <unistd.h>

using namespace std::chrono_literals;
using weft::io::SignalInfo;
using weft::io::detail::bit_of;
using weft::io::detail::SignalDispatcher;
using weft::io::detail::SignalSubscriber;

namespace {

/// Keeps the dispatcher's thread in its first delivery.
class Slow final : public SignalSubscriber {
public:
    Slow() : SignalSubscriber{bit_of(SIGUSR1) | bit_of(SIGUSR2) | bit_of(SIGRTMIN)} {}

    void deliver(const SignalInfo& info) noexcept override {
        if (delivered++ == 0) go.acquire();
        if (info.number != SIGUSR2) return;
        sender = info.pid;
        last.release();
    }

    weft::Semaphore go{0};
    weft::Semaphore last{0};
    std::atomic<int> delivered{0};
    std::atomic<int> sender{-1};
};

}  // namespace

TEST_CASE("a signal that finds the pipe full loses its sender, and nothing else", "[os][signals]") {
    Slow slow;
    SignalDispatcher::subscribe(slow);
    ::kill(::getpid(), SIGUSR1);
    while (slow.delivered == 0) {
    }
    constexpr int more_than_a_pipe_takes = 6000;
    for (int i = 0; i < more_than_a_pipe_takes; ++i) {
        REQUIRE(::sigqueue(::getpid(), SIGRTMIN, {.sival_int = i}) == 0);
    }
    ::kill(::getpid(), SIGUSR2);
    REQUIRE(slow.delivered == 1);
    slow.go.release();
    REQUIRE(slow.last.acquire(1h));
    REQUIRE(slow.sender == 0);
    while (slow.delivered < 1000) {  // what was in the pipe comes after that
    }
    SignalDispatcher::unsubscribe(slow);
    REQUIRE(slow.delivered < more_than_a_pipe_takes);
}
