// What fiber.hpp promises of spawn_later(), and timer.hpp of Timer.
#include "support/catch.hpp"
#include "support/journal.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/diag.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timer.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using namespace std::chrono_literals;
using weft::test::on_workers;

namespace {

std::chrono::steady_clock::time_point now() { return weft::Deadline{0s}.at(); }

std::atomic<int> reports{0};

void count_report(std::uint64_t, std::string_view, std::exception_ptr) { ++reports; }

// Runs it in many orders, with a clock that jumps.
template <class Body>
void in_many_orders(Body&& body) {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
        INFO("seed: " << seed);
        weft::simulate(seed, body);
    }
}

}  // namespace

TEST_CASE("a fiber spawned for later begins when its time has come", "[later]") {
    in_many_orders([] {
        const auto begin = now();
        auto fiber = weft::spawn_later(
            3h,
            [](int x) {
                return std::pair{now(), x};
            },
            7);
        CHECK_FALSE(fiber.done());
        const auto [began, x] = fiber.get();
        CHECK(began - begin == 3h);
        CHECK(x == 7);
    });
    on_workers([] { CHECK(weft::spawn_later(1ms, [] { return 42; }).get() == 42); });
}

TEST_CASE("fibers spawned for later begin in the order of their times", "[later]") {
    in_many_orders([] {
        weft::test::Journal<int> order;
        std::vector<weft::Fiber<>> fibers;
        for (const int i : {3, 1, 2, 0}) {
            fibers.push_back(weft::spawn_later(i * 1h, [&order, i] { order.add(i); }));
        }
        weft::join_all(fibers);
        CHECK(order.entries() == std::vector{0, 1, 2, 3});
    });
}

TEST_CASE("a fiber for later is spawned with a name, as a daemon, pinned", "[later]") {
    on_workers([] {
        const weft::SpawnOptions options{.name = "late", .daemon = true, .pinned = true};
        auto fiber = weft::spawn_later(options, 1ms, [] {
            return weft::this_fiber::name() == "late" && weft::current().daemon();
        });
        CHECK(fiber.name() == "late");
        CHECK(fiber.get());
    });
}

TEST_CASE("a time that has passed is now", "[later]") {
    on_workers([] {
        CHECK(weft::spawn_later(0ms, [] { return 1; }).get() == 1);
        CHECK(weft::spawn_later(-1h, [] { return 1; }).get() == 1);
    });
}

TEST_CASE("cancelled before its time, a fiber never runs and lets go of all", "[later][cancel]") {
    const auto body = [] {
        auto captured = std::make_shared<int>(1);
        bool ran = false;
        auto fiber = weft::spawn_later(1h, [&ran, captured] { ran = true; });
        CHECK(captured.use_count() == 2);
        fiber.cancel();
        CHECK(fiber.join());
        CHECK_FALSE(ran);
        CHECK(captured.use_count() == 1);
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
    };
    in_many_orders(body);
    on_workers(body);
}

TEST_CASE("a cancellation at the very time wins or loses, but nothing hangs", "[later][cancel]") {
    std::atomic<int> ran{0};
    in_many_orders([&] {
        const weft::Deadline at{1h};
        weft::Fiber<> fiber;
        auto canceller = weft::spawn([&] {
            weft::this_fiber::sleep_until(at);
            fiber.cancel();
        });
        weft::this_fiber::sleep_for(1s);  // while that goes to sleep, on another worker
        fiber = weft::spawn_later(at, [&] { ++ran; });
        canceller.join();
        fiber.join();
    });
    CHECK(ran > 0);
    CHECK(ran < 100);
    on_workers([] {
        for (int i = 0; i < 300; ++i) {
            auto fiber = weft::spawn_later(std::chrono::microseconds{i % 50}, [] {});
            weft::this_fiber::yield();
            fiber.cancel();
            fiber.join();
        }
    });
}

TEST_CASE("one that waits for no time is begun by nothing", "[later]") {
    on_workers([] {
        auto fiber = weft::spawn_later(weft::Deadline::never(), [] {});
        CHECK_FALSE(fiber.join(1ms));
        fiber.cancel();
        CHECK(fiber.join());
    });
    // Nor does it hide that all the others wait for ever.
    CHECK_THROWS_AS(weft::simulate(1, [] { weft::spawn_later(weft::Deadline::never(), [] {}); }),
                    weft::Deadlock);
}

TEST_CASE("waiting for its time, a fiber has no stack", "[later]") {
    on_workers([] {
        auto& runtime = weft::Runtime::current();
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 1000; ++i) fibers.push_back(weft::spawn_later(1h, [] {}));
        for (const auto& fiber : fibers) CHECK(weft::FiberRef{fiber}.doing() == "spawn_later");
        CHECK(runtime.counters().stacks <= 1);
        weft::cancel_all(fibers);
        weft::join_all(fibers);
    });
}

TEST_CASE("a dump shows a fiber that waits for its time", "[later]") {
    weft::run(
        [] {
            auto fiber = weft::spawn_later(weft::SpawnOptions{.name = "late"}, 1h, [] {});
            int ends[2];
            REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
            weft::dump_fibers(ends[1]);
            ::close(ends[1]);
            std::string text(65536, '\0');
            text.resize(static_cast<std::size_t>(::read(ends[0], text.data(), text.size())));
            ::close(ends[0]);
            CHECK(text.find("\"late\"") != std::string::npos);
            CHECK(text.find("spawn_later") != std::string::npos);
            fiber.cancel();
        },
        {.workers = 1});
}

TEST_CASE("run waits for a fiber for later, and cancels a daemon", "[later]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        bool ran = false;
        bool daemon_ran = false;
        weft::run(
            [&] {
                weft::spawn_later(1ms, [&] { ran = true; });
                weft::spawn_later(weft::SpawnOptions{.daemon = true}, 1h,
                                  [&] { daemon_ran = true; });
            },
            {.workers = workers});
        CHECK(ran);
        CHECK_FALSE(daemon_ran);
    }
}

TEST_CASE("spawn_later outside a runtime says so", "[later]") {
    CHECK_THROWS_AS(weft::spawn_later(1ms, [] {}), std::logic_error);
}

TEST_CASE("a timer calls its callable once, at its time", "[timer]") {
    in_many_orders([] {
        const auto begin = now();
        std::chrono::nanoseconds late{};
        int calls = 0;
        weft::Timer timer{2h,
                          [&](int by) {
                              calls += by;
                              late = now() - begin;
                          },
                          1};
        CHECK_FALSE(timer.finished());
        CHECK(timer.join());
        CHECK(timer.finished());
        CHECK(calls == 1);
        CHECK(late == 2h);
        CHECK_FALSE(timer.cancel());
    });
}

TEST_CASE("a timer called off in time never calls", "[timer]") {
    const auto body = [] {
        bool called = false;
        weft::Timer timer{1h, [&] { called = true; }};
        CHECK(timer.cancel());
        CHECK(timer.finished());
        CHECK(timer.cancel());
        CHECK(timer.join());
        CHECK_FALSE(called);
    };
    in_many_orders(body);
    on_workers(body);
}

TEST_CASE("what a timer has captured goes when it is called off", "[timer]") {
    const auto body = [] {
        const auto captured = std::make_shared<int>(1);
        weft::Timer timer{1h, [captured] {}};
        CHECK(captured.use_count() == 2);
        CHECK(timer.cancel());
        CHECK(captured.use_count() == 1);
        CHECK(timer.cancel());
        {
            const weft::Timer scoped{1h, [captured, big = std::array<char, 100>{}] { (void)big; }};
            CHECK(captured.use_count() == 2);
        }
        CHECK(captured.use_count() == 1);
        timer = weft::Timer{0ms, [captured] {}};
        CHECK(timer.join());
        CHECK(captured.use_count() == 1);
    };
    in_many_orders(body);
    on_workers(body);
}

TEST_CASE("what a timer has captured goes once, though its fiber is cancelled by another",
          "[timer][cancel]") {
    const auto race = [](std::uint64_t turn) {
        const auto captured = std::make_shared<int>(1);
        bool called = false;
        weft::Timer timer{std::chrono::microseconds{turn % 20},
                          [&called, captured] { called = true; }};
        auto other = weft::spawn([] {
            for (const weft::FiberRef& fiber : weft::all_fibers()) {
                if (fiber.name() == "timer") fiber.cancel();
            }
        });
        if (turn % 3 != 0) weft::this_fiber::yield();
        const bool off = timer.cancel();
        other.join();
        timer.join();
        if (off) CHECK_FALSE(called);
        CHECK(captured.use_count() == 1);
    };
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        weft::simulate(seed, [&] { race(seed); });
    }
    on_workers([&] {
        for (std::uint64_t i = 0; i < 300; ++i) race(i);
    });
}

TEST_CASE("calling a timer off too late does not disturb the callable", "[timer]") {
    on_workers([] {
        weft::Event began;
        weft::Event go;
        bool whole = false;
        weft::Timer timer{0ms, [&] {
                              began.set();
                              go.wait();
                              whole = true;
                          }};
        began.wait();
        CHECK_FALSE(timer.cancel());
        CHECK_FALSE(timer.finished());
        CHECK_FALSE(timer.join(1ms));
        go.set();
        CHECK(timer.join());
        CHECK(whole);
    });
}

TEST_CASE("whether a timer was called off in time is what happens", "[timer]") {
    int in_time = 0;
    in_many_orders([&] {
        bool called = false;
        const weft::Deadline at{1h};
        weft::Timer timer;
        auto canceller = weft::spawn([&] {
            weft::this_fiber::sleep_until(at);
            return timer.cancel();
        });
        weft::this_fiber::sleep_for(1s);  // while that goes to sleep, on another worker
        timer = weft::Timer{at, [&] { called = true; }};
        const bool off = canceller.get();
        timer.join();
        CHECK(off != called);
        in_time += off ? 1 : 0;
    });
    CHECK(in_time > 0);
    CHECK(in_time < 100);
    on_workers([] {
        for (int i = 0; i < 300; ++i) {
            std::atomic<bool> called{false};
            weft::Timer timer{0ms, [&] { called = true; }};
            if (i % 2 == 0) weft::this_fiber::yield();
            const bool off = timer.cancel();
            timer.join();
            CHECK(off != called);
        }
    });
}

TEST_CASE("destroying a timer calls it off, and so does giving it another", "[timer]") {
    in_many_orders([] {
        bool called = false;
        {
            const weft::Timer timer{1h, [&] { called = true; }};
        }
        int replaced = 0;
        weft::Timer timer{1h, [&] { replaced = 1; }};
        timer = weft::Timer{2h, [&] { replaced = 2; }};
        weft::Timer moved{std::move(timer)};
        CHECK(timer.finished());
        CHECK_FALSE(timer.cancel());
        CHECK(moved.join());
        CHECK_FALSE(called);
        CHECK(replaced == 2);
    });
    weft::Timer none;
    CHECK(none.finished());
    CHECK(none.join());
    CHECK_FALSE(none.cancel());
}

TEST_CASE("what a timer's callable throws is reported at once", "[timer]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        reports = 0;
        const weft::Options options{.workers = workers, .on_unhandled = &count_report};
        weft::run(
            [] {
                weft::Timer timer{0ms, [] { throw std::runtime_error{"late"}; }};
                timer.join();
                CHECK(reports == 1);
                weft::Timer off{1h, [] {}};
                off.cancel();
            },
            options);
        CHECK(reports == 1);
    }
}
