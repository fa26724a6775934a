// Waiting for descriptors that are not weft's.
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/fd.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/wait.hpp>

#include <cstdio>
#include <string>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::io::wait_readable;
using weft::io::wait_writable;

namespace {

Fd event() { return Fd{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)}; }

void count_up(int fd) {
    const std::uint64_t one = 1;
    REQUIRE(::write(fd, &one, sizeof one) == sizeof one);
}

/// Until the next write waits.
void fill_pipe(int fd) {
    const std::string data(4096, 'x');
    while (::write(fd, data.data(), data.size()) > 0) {
    }
}

}  // namespace

TEST_CASE("a fiber waits for an eventfd", "[os][wait]") {
    on_all_io([] {
        const Fd fd = event();
        auto fiber = waiting([&] { return wait_readable(fd); });
        count_up(fd);
        REQUIRE(fiber.get());
        REQUIRE(wait_readable(fd));  // it still is, until it is read
        REQUIRE(wait_writable(fd));
    });
}

TEST_CASE("several fibers wait for one descriptor, and all are told", "[os][wait]") {
    on_all_io([] {
        const Fd fd = event();
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < 5; ++i) fibers.push_back(waiting([&] { return wait_readable(fd); }));
        count_up(fd);
        for (auto& fiber : fibers) REQUIRE(fiber.get());
    });
}

TEST_CASE("a fiber waits for a timerfd", "[os][wait]") {
    on_workers_and_io([] {
        const Fd fd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)};
        const itimerspec soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 1'000'000}};
        REQUIRE_FALSE(wait_readable(fd, 0ms));
        REQUIRE(::timerfd_settime(fd, 0, &soon, nullptr) == 0);
        REQUIRE(wait_readable(fd));
        std::uint64_t expired = 0;
        REQUIRE(::read(fd, &expired, sizeof expired) == sizeof expired);
        REQUIRE(expired == 1);
    });
}

namespace {

bool waits_for_a_signal(const sigset_t& set) {
    const Fd fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    auto fiber = waiting([&] { return wait_readable(fd); });
    ::kill(::getpid(), SIGUSR1);
    signalfd_siginfo info{};
    return fiber.get() && ::read(fd, &info, sizeof info) == sizeof info &&
           info.ssi_signo == SIGUSR1;
}

// In a process of its own, which a signal ends that any thread has not blocked.
const Child signals{"signals", [] {
                        sigset_t set;
                        ::sigemptyset(&set);
                        ::sigaddset(&set, SIGUSR1);
                        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
                        bool all = true;
                        for (const weft::Io io : available_io()) {
                            for (const unsigned workers : {1u, 2u, 8u}) {
                                weft::run([&] { all = waits_for_a_signal(set) && all; },
                                          {.workers = workers, .io = io});
                            }
                        }
                        return all ? 0 : 1;
                    }};

}  // namespace

TEST_CASE("a fiber waits for a signalfd", "[os][wait]") {
    const auto outcome = signals.run();
    INFO(outcome.describe());
    REQUIRE(outcome.exited_with(0));
}

TEST_CASE("a full pipe becomes writable when it is read", "[os][wait]") {
    on_all_io([] {
        const Pair pipe = pipe_ends(O_NONBLOCK | O_CLOEXEC);
        REQUIRE(wait_writable(pipe.b));
        fill_pipe(pipe.b);
        REQUIRE_FALSE(wait_writable(pipe.b, 0ms));
        auto fiber = waiting([&] { return wait_writable(pipe.b); });
        std::string text(65536, '\0');
        REQUIRE(::read(pipe.a, text.data(), text.size()) > 0);
        REQUIRE(fiber.get());
    });
}

TEST_CASE("the other end going is something to read, and to write", "[os][wait]") {
    on_all_io([] {
        Pair ends = sockets();
        auto reader = waiting([&] { return wait_readable(ends.a); });
        ends.b.reset();
        REQUIRE(reader.get());

        Pair pipe = pipe_ends(O_NONBLOCK | O_CLOEXEC);
        fill_pipe(pipe.b);
        auto writer = waiting([&] { return wait_writable(pipe.b); });
        pipe.a.reset();
        REQUIRE(writer.get());
    });
}

TEST_CASE("a reader and a writer wait for one descriptor, each for its own", "[os][wait]") {
    on_all_io([] {
        const Pair ends = sockets();
        auto reader = waiting([&] { return wait_readable(ends.a); });
        REQUIRE(wait_writable(ends.a));
        REQUIRE_FALSE(reader.done());
        put(ends.b);
        REQUIRE(reader.get());
    });
}

TEST_CASE("files are always ready", "[os][wait]") {
    on_all_io([] {
        const Fd fd{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
        REQUIRE(wait_readable(fd));
        REQUIRE(wait_writable(fd));
    });
}

TEST_CASE("waiting for a descriptor ends at its deadline", "[os][wait][deadline]") {
    on_workers_and_io([] {
        const Fd fd = event();
        const auto begin = Deadline::Clock::now();
        REQUIRE_FALSE(wait_readable(fd, begin + 5ms));
        REQUIRE(Deadline::Clock::now() >= begin + 5ms);
        count_up(fd);
        REQUIRE(wait_readable(fd, begin));  // being ready beats it
    });
}

TEST_CASE("waiting for a descriptor ends with a cancellation", "[os][wait][cancel]") {
    on_all_io([] {
        const Fd fd = event();
        auto fiber = waiting([&] { return wait_readable(fd); });
        fiber.cancel();
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}

TEST_CASE("there is nothing to wait for without a descriptor", "[os][wait]") {
    const auto on_nothing = [] {
        for (const int fd : {-1, 1 << 20}) {
            REQUIRE(is(error_of([&] { (void)wait_readable(fd); }), std::errc::bad_file_descriptor));
            REQUIRE(is(error_of([&] { (void)wait_writable(fd); }), std::errc::bad_file_descriptor));
        }
    };
    on_all_io(on_nothing);
    on_nothing();
}

TEST_CASE("plain threads wait for descriptors too", "[os][wait]") {
    const Fd fd = event();
    REQUIRE_FALSE(wait_readable(fd, 1ms));
    std::thread writer{[&] { count_up(fd); }};
    REQUIRE(wait_readable(fd));
    REQUIRE(wait_writable(fd));
    writer.join();
}
