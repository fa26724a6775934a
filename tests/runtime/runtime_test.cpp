// Starting, running and stopping, over and over, with nothing left behind.
#include "support/runtime.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <alloca.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

using namespace std::chrono_literals;
using weft::test::Child;
using weft::test::on_workers;
using weft::test::Outcome;

namespace {

// More workers than there is room for stacks of threads. What was started is
// stopped again, and a small runtime still works.
const Child no_threads{"a runtime without room for its threads", [] {
                           weft::test::limit_address_space(std::size_t{512} << 20);
                           try {
                               weft::Runtime{{.workers = 500}};
                               return 2;
                           } catch (const std::system_error&) {
                           }
                           if (weft::test::threads() != 1) return 3;
                           return weft::run([] { return 0; }, {.workers = 1});
                       }};

[[gnu::noinline]] void use_stack(std::size_t size) { ::memset(alloca(size), 1, size); }

}  // namespace

TEST_CASE("run returns what main returned", "[runtime]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        const weft::Options options{.workers = workers};
        CHECK(weft::run([] { return 42; }, options) == 42);
        CHECK(weft::run([] { return std::string{"text"}; }, options) == "text");
        weft::run([] {}, options);
    }
}

TEST_CASE("run throws what main threw, after all others have ended", "[runtime]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        std::atomic<int> ended{0};
        std::string what;
        try {
            weft::run(
                [&] {
                    for (int i = 0; i < 10; ++i) {
                        weft::spawn([&] {
                            weft::this_fiber::sleep_for(1ms);
                            ++ended;
                        });
                    }
                    throw std::runtime_error{"from main"};
                },
                {.workers = workers});
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "from main");
        CHECK(ended == 10);
    }
}

TEST_CASE("the first fiber is called main and has its own stack size", "[runtime]") {
    on_workers([] {
        CHECK(weft::this_fiber::name() == "main");
        use_stack(7 << 20);
    });
    weft::run([] { use_stack(60 << 10); }, {.workers = 1, .main_stack_size = 128 << 10});
}

TEST_CASE("runtimes started and stopped 200 times leave nothing behind", "[runtime]") {
    for (const auto io : weft::test::available_io()) {
        const auto once = [&] {
            weft::run(
                [] {
                    std::vector<weft::Fiber<>> fibers;
                    for (int i = 0; i < 20; ++i) {
                        fibers.push_back(weft::spawn([] { weft::this_fiber::sleep_for(10us); }));
                    }
                    weft::join_all(fibers);
                },
                {.workers = 3, .io = io});
        };
        for (int i = 0; i < 5; ++i) once();  // what is made once is made now
        const auto fds = weft::test::open_fds();
        const auto threads = weft::test::threads();
        const auto mappings = weft::test::mappings();
        for (int i = 0; i < 200; ++i) once();
        INFO("io: " << weft::test::name_of(io));
        CHECK(weft::test::open_fds() == fds);
        CHECK(weft::test::threads() == threads);
        // Sanitizers map more for themselves as time goes by; malloc a little.
        if (!weft::test::under_sanitizer) CHECK(weft::test::mappings() <= mappings + 8);
    }
}

TEST_CASE("a runtime that was never used stops", "[runtime]") {
    for (const auto io : weft::test::available_io()) {
        for (int i = 0; i < 50; ++i) weft::Runtime{{.workers = 4, .io = io}};
    }
}

TEST_CASE("a runtime within a fiber of another works", "[runtime]") {
    on_workers([] {
        const auto inner = weft::run(
            [] {
                weft::this_fiber::sleep_for(1ms);
                return weft::Runtime::current().workers();
            },
            {.workers = 2});
        CHECK(inner == 2);
    });
}

// The kernel interrupts whom it ties to a ring, some 20 ms after that was closed.
TEST_CASE("a thread is not interrupted after the end of its runtime", "[runtime]") {
    const int nothing = ::epoll_create1(EPOLL_CLOEXEC);
    for (const auto io : weft::test::available_io()) {
        for (int i = 0; i < 5; ++i) {
            weft::run([] { weft::this_fiber::sleep_for(100us); }, {.workers = 2, .io = io});
            epoll_event event{};
            REQUIRE(::epoll_wait(nothing, &event, 1, 60) == 0);
        }
    }
    ::close(nothing);
}

TEST_CASE("the destructor waits for fibers spawned from outside", "[runtime]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        std::atomic<int> ended{0};
        {
            weft::Runtime runtime{{.workers = workers}};
            for (int i = 0; i < 100; ++i) {
                runtime.spawn([&] {
                    weft::this_fiber::yield();
                    ++ended;
                });
            }
        }
        CHECK(ended == 100);
    }
}

TEST_CASE("fibers spawned while the runtime stops are waited for", "[runtime]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        std::atomic<int> ended{0};
        struct Chain {
            static void link(std::atomic<int>& ended, int left) {
                weft::this_fiber::yield();
                if (left > 0) weft::spawn([&ended, left] { link(ended, left - 1); });
                ++ended;
            }
        };
        weft::run([&] { weft::spawn([&] { Chain::link(ended, 200); }); }, {.workers = workers});
        CHECK(ended == 201);
    }
}

TEST_CASE("a daemon spawned by a daemon that is being cancelled is cancelled too",
          "[runtime][daemon]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        std::atomic<bool> second_began{false};
        std::atomic<bool> second_unwound{false};
        weft::run(
            [&] {
                auto first = weft::spawn(weft::SpawnOptions{.daemon = true}, [&] {
                    try {
                        weft::this_fiber::sleep_until(weft::Deadline::never());
                    } catch (const weft::Cancelled&) {
                        weft::spawn(weft::SpawnOptions{.daemon = true}, [&] {
                            second_began = true;
                            try {
                                weft::this_fiber::sleep_until(weft::Deadline::never());
                            } catch (const weft::Cancelled&) {
                                second_unwound = true;
                                throw;
                            }
                        });
                        throw;
                    }
                });
                weft::test::until_waiting(first);
            },
            {.workers = workers});
        CHECK(second_began == second_unwound);
    }
}

TEST_CASE("a runtime that cannot start its threads throws and leaves nothing",
          "[runtime][shortage]") {
    if (weft::test::under_sanitizer) return;  // they map more than any limit
    const Outcome outcome = no_threads.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}
