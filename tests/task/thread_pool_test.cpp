// What thread_pool.hpp and run_blocking.hpp promise beyond what both pools do
// (pool_test.cpp).
#include <weft/thread_pool.hpp>

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/event.hpp>
#include <weft/run_blocking.hpp>
#include <weft/timeout.hpp>

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <future>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::run_blocking;
using weft::ThreadPool;
using weft::test::on_workers;
using weft::test::until_waiting;

TEST_CASE("a fiber that waits for a thread only parks", "[thread_pool]") {
    weft::run(
        [] {
            ThreadPool pool{1};
            std::promise<int> given;
            auto waiter =
                weft::spawn([&] { return pool.apply([&] { return given.get_future().get(); }); });
            until_waiting(waiter);
            given.set_value(7);  // by the only worker
            CHECK(waiter.get() == 7);
        },
        {.workers = 1});
}

TEST_CASE("tasks run on threads that are no workers, with a name and a number", "[thread_pool]") {
    on_workers([] {
        ThreadPool pool{1, {.name = "disk"}};
        const auto name = pool.apply([] {
            char text[32] = {};
            pthread_getname_np(pthread_self(), text, sizeof text);
            return std::string{text};
        });
        CHECK(name == "disk-0");
        CHECK_FALSE(pool.apply([] { return weft::this_fiber::is_fiber(); }));
        CHECK(pool.apply([] {
            sigset_t blocked;
            pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
            return sigismember(&blocked, SIGINT) == 1 && sigismember(&blocked, SIGTERM) == 1;
        }));
    });
}

TEST_CASE("tasks that are given at once have a thread each", "[thread_pool]") {
    constexpr int each = 32;
    constexpr int rounds = weft::test::under_sanitizer ? 10 : 40;
    for (int round = 0; round < rounds; ++round) {
        std::latch together{2 * each};  // each task needs the others to run
        ThreadPool pool{2 * each};
        std::atomic<int> begun{0};
        const auto give = [&] {
            ++begun;
            while (begun < 2) std::this_thread::yield();
            for (int i = 0; i < each; ++i) pool.submit([&] { together.arrive_and_wait(); });
        };
        std::thread first{give};
        std::thread second{give};
        first.join();
        second.join();
        together.wait();
    }
}

TEST_CASE("threads are started as they are needed, and end with the pool", "[thread_pool]") {
    const std::size_t before = weft::test::threads();
    {
        ThreadPool pool{4};
        CHECK(weft::test::threads() == before);
        pool.apply([] {});
        CHECK(weft::test::threads() == before + 1);
        std::latch together{4};
        std::vector<weft::Future<void>> futures;
        for (int i = 0; i < 4; ++i) {
            futures.push_back(pool.submit([&] { together.arrive_and_wait(); }));
        }
        for (auto& future : futures) future.wait();
        CHECK(weft::test::threads() == before + 4);
    }
    CHECK(weft::test::threads() == before);
}

TEST_CASE("a ThreadPool needs no runtime", "[thread_pool][thread]") {
    ThreadPool pool{2};
    CHECK(pool.apply([] { return 3; }) == 3);
    const std::vector<int> items{1, 2, 3};
    int sum = 0;
    for (const int i : pool.imap([](int n) { return n; }, items)) sum += i;
    CHECK(sum == 6);
    pool.close();
    CHECK(pool.join());
}

TEST_CASE("as many tasks wait for a thread as the options say", "[thread_pool][full]") {
    on_workers([] {
        ThreadPool pool{1, {.waiting = 2}};
        weft::Event begun;
        weft::Event gate;
        auto first = pool.submit([&] {
            begun.set();
            gate.wait();
        });
        begun.wait();
        auto second = pool.try_submit([] {});
        auto third = pool.try_submit([] {});
        CHECK((second && third));
        CHECK_FALSE(pool.try_submit([] {}));
        CHECK(pool.unfinished() == 3);
        gate.set();
        third.wait();
        CHECK(pool.submit([] {}).wait());
    });
}

TEST_CASE("terminate cancels what waits, and lets threads end theirs", "[thread_pool][close]") {
    on_workers([] {
        ThreadPool pool{1};
        weft::Event begun;
        weft::Event gate;
        auto running = pool.submit([&] {
            begun.set();
            gate.wait();
            return 1;
        });
        begun.wait();
        auto waiting = pool.submit([] { return 2; });
        pool.terminate();
        CHECK_THROWS_AS(waiting.get(), weft::Cancelled);
        CHECK_FALSE(pool.join(0ms));
        gate.set();
        CHECK(pool.join());
        CHECK(running.get() == 1);
    });
}

TEST_CASE("each thread is initialized, once", "[thread_pool]") {
    on_workers([] {
        static thread_local int local = 0;
        std::atomic<int> initialized{0};
        ThreadPool pool{3, {}, [&] {
                            ++initialized;
                            local = 42;
                        }};
        std::latch together{3};
        std::vector<weft::Future<int>> futures;
        for (int i = 0; i < 3; ++i) {
            futures.push_back(pool.submit([&] {
                together.arrive_and_wait();
                return local;
            }));
        }
        for (auto& future : futures) CHECK(future.get() == 42);
        for (int i = 0; i < 10; ++i) CHECK(pool.apply([] { return local; }) == 42);
        CHECK(initialized == 3);
    });
}

TEST_CASE("what a task held is gone when the pool says it is done", "[thread_pool]") {
    on_workers([] {
        ThreadPool pool{2};
        const auto held = std::make_shared<int>(1);
        for (int i = 0; i < 20; ++i) pool.submit([held] {});
        pool.close();
        pool.join();
        CHECK(held.use_count() == 1);
    });
}

TEST_CASE("callbacks of a plain thread's tasks throw, for there is no runtime for them",
          "[thread_pool][thread]") {
    ThreadPool pool{1};
    CHECK_THROWS_AS(pool.apply_async([] { return 1; }, [](int) {}), std::logic_error);
    CHECK(pool.apply([] { return 2; }) == 2);
}

namespace {

// In a process without the thread that watches the tests' time.
const weft::test::Child waits_for_nobody{"waits for nobody beside a pool", [] {
                                             try {
                                                 weft::run(
                                                     [] {
                                                         ThreadPool pool{2};
                                                         pool.apply([] {});
                                                         weft::Event never;
                                                         never.wait();
                                                     },
                                                     {.workers = 1});
                                             } catch (const weft::Deadlock&) {
                                                 return 0;
                                             }
                                             return 1;
                                         }};

}  // namespace

TEST_CASE("threads that have nothing to do hide no deadlock", "[thread_pool][deadlock]") {
    const auto outcome = waits_for_nobody.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}

// --- run_blocking ---

TEST_CASE("run_blocking returns what its function does, and throws what it throws",
          "[run_blocking]") {
    on_workers([] {
        CHECK(run_blocking([](int a, int b) { return a + b; }, 2, 3) == 5);
        run_blocking([] {});
        int variable = 0;
        CHECK(&run_blocking([&]() -> int& { return variable; }) == &variable);
        CHECK_THROWS_AS(run_blocking([] { throw std::runtime_error{"no"}; }), std::runtime_error);
        CHECK_FALSE(run_blocking([] { return weft::this_fiber::is_fiber(); }));
    });
    CHECK(run_blocking([] { return 1; }) == 1);  // by a plain thread
}

TEST_CASE("blocking calls run at once, and more of them than threads in the end",
          "[run_blocking]") {
    on_workers([] {
        std::latch together{20};
        std::vector<weft::Fiber<int>> callers;
        for (int i = 0; i < 20; ++i) {
            callers.push_back(weft::spawn([&, i] {
                return run_blocking([&] {
                    together.arrive_and_wait();
                    return i;
                });
            }));
        }
        for (int i = 0; i < 20; ++i) CHECK(callers[static_cast<std::size_t>(i)].get() == i);
        std::vector<weft::Fiber<int>> many;
        for (int i = 0; i < 300; ++i) {
            many.push_back(weft::spawn([i] { return run_blocking([i] { return i; }); }));
        }
        for (int i = 0; i < 300; ++i) CHECK(many[static_cast<std::size_t>(i)].get() == i);
    });
}

TEST_CASE("who is cancelled during a blocking call waits for it", "[run_blocking][cancel]") {
    on_workers([] {
        weft::Event begun;
        weft::Event gate;
        std::atomic<bool> ended{false};
        auto caller = weft::spawn([&] {
            run_blocking([&] {
                begun.set();
                gate.wait();
                ended = true;
            });
        });
        begun.wait();
        until_waiting(caller);
        caller.cancel();
        CHECK_FALSE(caller.join(1ms));
        gate.set();
        CHECK_THROWS_AS(caller.get(), weft::Cancelled);
        CHECK(ended);
    });
}

TEST_CASE("a Timeout ends the wait for a thread, and then nothing is called",
          "[thread_pool][timeout]") {
    on_workers([] {
        ThreadPool pool{1};
        std::latch release{1};
        auto busy = weft::spawn([&] { pool.apply([&] { release.wait(); }); });
        until_waiting(busy);
        std::atomic<bool> called{false};
        {
            weft::Timeout limit{1ms};
            CHECK_THROWS_AS(pool.apply([&] { called = true; }), weft::TimedOut);
        }
        release.count_down();
        busy.join();
        CHECK(pool.apply([] { return 1; }) == 1);  // after whatever was before it
        CHECK_FALSE(called);
    });
}
