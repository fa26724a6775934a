// exit() while fibers run, from wherever: neither a crash nor a hang.
#include "support/catch.hpp"
#include "support/process.hpp"

#include <weft/barrier.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/rlock.hpp>
#include <weft/runtime.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_lock.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>

#include <sched.h>
#include <unistd.h>

using weft::test::Child;
using weft::test::Outcome;

namespace {

std::atomic<int> busy{0};

// Fibers that run, wake each other and wait for deadlines, without end.
void keep_busy() {
    for (int i = 0; i < 8; ++i) {
        weft::spawn([] {
            ++busy;
            for (;;) weft::this_fiber::yield();
        });
        weft::spawn([] {
            for (;;) weft::this_fiber::sleep_for(std::chrono::microseconds{50});
        });
    }
    while (busy < 8) weft::this_fiber::yield();
}

const Child in_main{"exit in main", [] {
                        weft::run(
                            [] {
                                keep_busy();
                                std::exit(7);
                            },
                            {.workers = 4});
                        return 1;
                    }};

const Child in_another{"exit in a fiber", [] {
                           weft::run(
                               [] {
                                   keep_busy();
                                   weft::spawn([] { std::exit(7); }).join();
                               },
                               {.workers = 4});
                           return 1;
                       }};

const Child in_a_thread{"exit in the thread of a runtime", [] {
                            auto* const runtime = new weft::Runtime{{.workers = 4}};
                            runtime->spawn([] { keep_busy(); }).join();
                            std::exit(7);
                            return 1;
                        }};

std::atomic<bool> gone{false};
std::atomic<unsigned> steps{0};

// A static object that fibers use, until its destructor.
struct Used {
    ~Used() { gone = true; }
};

// Destroyed after it: leaves fibers that still run the time to do so.
struct Slow {
    ~Slow() {
        const unsigned before = steps;
        const auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds{50};
        while (steps < before + 100 && std::chrono::steady_clock::now() < limit) sched_yield();
    }
};

const Child with_statics{
    "exit while fibers use a static object", [] {
        static const Slow slow;
        static const Used used;
        weft::run(
            [] {
                keep_busy();
                for (int i = 0; i < 4; ++i) {
                    weft::spawn([] {
                        for (;; ++steps) {
                            if (gone) _exit(9);  // it would be a use after destruction
                            weft::this_fiber::yield();
                        }
                    });
                }
                while (steps < 100) weft::this_fiber::yield();
                std::exit(7);
            },
            {.workers = 4});
        return 1;
    }};

const Child with_waiters{"exit while fibers wait for static objects, and hold them", [] {
                             static weft::Event event;
                             static weft::Barrier barrier{2};
                             static weft::Lock lock;
                             static weft::RLock rlock;
                             static weft::SharedLock written;
                             static weft::SharedLock read;
                             weft::run(
                                 [] {
                                     static std::atomic<int> ready{0};
                                     weft::spawn([] { event.wait(); });
                                     weft::spawn([] { barrier.wait(); });
                                     weft::spawn([] {
                                         lock.lock();
                                         rlock.lock();
                                         written.lock();
                                         read.lock_shared();
                                         ++ready;
                                         event.wait();
                                     });
                                     weft::spawn([] {
                                         while (ready < 1) weft::this_fiber::yield();
                                         ++ready;
                                         lock.lock();
                                     });
                                     while (ready < 2 || barrier.waiting() < 1)
                                         weft::this_fiber::yield();
                                     std::exit(7);
                                 },
                                 {.workers = 2});
                             return 1;
                         }};

struct LargeAtExit {
    ~LargeAtExit() {
        char text[20'000];
        std::memset(text, 'x', sizeof text);
        asm volatile("" : : "r"(text) : "memory");
    }
};

const Child with_large_destructor{
    "exit with a destructor that needs much stack", [] {
        static const LargeAtExit large;
        weft::run(
            [] {
                weft::spawn(weft::SpawnOptions{.stack_size = 64 << 10}, [] {
                    std::exit(7);
                }).join();
            },
            {.workers = 2});
        return 1;
    }};

std::optional<weft::Runtime> static_runtime;

const Child static_idle{"exit with an idle runtime in a static object", [] {
                            static_runtime.emplace(weft::Options{.workers = 2});
                            static_runtime->spawn([] {}).join();
                            return 7;
                        }};

const Child static_in_fiber{"exit in a fiber of a runtime in a static object", [] {
                                static_runtime.emplace(weft::Options{.workers = 2});
                                static_runtime->spawn([] { std::exit(7); }).join();
                                return 1;
                            }};

const Child quick{"quick_exit in a fiber", [] {
                      weft::run(
                          [] {
                              keep_busy();
                              std::quick_exit(7);
                          },
                          {.workers = 4});
                      return 1;
                  }};

// Several times, for it is a race.
void check_exits(const Child& child, int times) {
    for (int i = 0; i < times; ++i) {
        const Outcome outcome = child.run();
        INFO(outcome.describe());
        CHECK(outcome.exited_with(7));
        if (!outcome.exited_with(7)) return;
    }
}

}  // namespace

TEST_CASE("exit in the main fiber ends the process", "[exit]") { check_exits(in_main, 10); }
TEST_CASE("exit in another fiber ends the process", "[exit]") { check_exits(in_another, 10); }
TEST_CASE("exit in a plain thread ends the process", "[exit]") { check_exits(in_a_thread, 10); }
TEST_CASE("quick_exit in a fiber ends the process", "[exit]") { check_exits(quick, 3); }
TEST_CASE("exit has room for destructors of static objects", "[exit]") {
    check_exits(with_large_destructor, 1);
}
TEST_CASE("a runtime in a static object is stopped at exit", "[exit]") {
    check_exits(static_idle, 3);
}
TEST_CASE("exit stops the fibers before static objects go", "[exit]") {
    check_exits(with_statics, 10);
}
TEST_CASE("exit ends the process though fibers wait for static objects, and hold them", "[exit]") {
    check_exits(with_waiters, 3);
}
TEST_CASE("exit in a fiber of a runtime in a static object ends the process", "[exit]") {
    check_exits(static_in_fiber, 1);
}
