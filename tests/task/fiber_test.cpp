// What fiber.hpp promises, each promise once.
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/fiber_ref.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

struct Adder {
    int base;
    int add(int x) const { return base + x; }
};

std::atomic<int> reports{0};
std::string last_report;  // written before reports, read after

void count_report(std::uint64_t, std::string_view name, std::exception_ptr) {
    last_report = name;
    ++reports;
}

}  // namespace

TEST_CASE("get returns what the fiber returned", "[fiber]") {
    on_workers([] {
        CHECK(weft::spawn([] { return 42; }).get() == 42);
        CHECK(weft::spawn([](int a, int b) { return a * b; }, 6, 7).get() == 42);
        CHECK(*weft::spawn([] { return std::make_unique<int>(7); }).get() == 7);
        weft::spawn([] {}).get();
    });
}

TEST_CASE("a member function is spawned on its object", "[fiber]") {
    on_workers([] {
        const Adder adder{40};
        CHECK(weft::spawn(&Adder::add, &adder, 2).get() == 42);
        CHECK(weft::spawn(&Adder::add, adder, 2).get() == 42);
    });
}

TEST_CASE("arguments are moved in and live as long as the call", "[fiber]") {
    on_workers([] {
        auto owned = std::make_unique<std::string>("kept");
        auto fiber = weft::spawn(
            [](std::unique_ptr<std::string> text) {
                weft::this_fiber::yield();
                return *text;
            },
            std::move(owned));
        CHECK(fiber.get() == "kept");
    });
}

TEST_CASE("a reference result refers to the original", "[fiber]") {
    on_workers([] {
        int target = 1;
        auto fiber = weft::spawn([&target]() -> int& { return target; });
        fiber.get() = 5;
        CHECK(target == 5);
    });
}

TEST_CASE("callables and results larger than a control block work", "[fiber]") {
    on_workers([] {
        std::array<int, 500> big{};
        big[499] = 9;
        auto fiber = weft::spawn([big] { return big; });
        CHECK(fiber.get()[499] == 9);
    });
}

TEST_CASE("get throws what the fiber threw, join does not", "[fiber]") {
    on_workers([] {
        auto fiber = weft::spawn([]() -> int { throw std::runtime_error{"boom"}; });
        CHECK(fiber.join());
        CHECK_THROWS_WITH(fiber.get(), "boom");
    });
}

TEST_CASE("the result is taken once", "[fiber]") {
    on_workers([] {
        auto fiber = weft::spawn([] { return 1; });
        CHECK(fiber.get() == 1);
        CHECK_THROWS_AS(fiber.get(), std::logic_error);
    });
}

TEST_CASE("join gives up at its deadline and the fiber goes on", "[fiber][deadline]") {
    on_workers([] {
        weft::Event go;
        auto fiber = weft::spawn([&] { go.wait(); });
        CHECK_FALSE(fiber.join(0ms));
        CHECK_FALSE(fiber.join(1ms));
        CHECK_FALSE(fiber.done());
        go.set();
        CHECK(fiber.join());
        CHECK(fiber.done());
    });
}

TEST_CASE("a fiber that joins itself is told so", "[fiber]") {
    on_workers([] {
        weft::Fiber<> self;
        weft::Event ready;
        self = weft::spawn([&] {
            ready.wait();
            self.join();
        });
        ready.set();
        CHECK_THROWS_AS(self.get(), std::system_error);
    });
}

TEST_CASE("a cancelled fiber ends at its next cancellation point", "[fiber][cancel]") {
    on_workers([] {
        weft::Event never;
        bool unwound = false;
        auto fiber = weft::spawn([&] {
            struct Guard {
                bool& flag;
                ~Guard() { flag = true; }
            } guard{unwound};
            never.wait();
        });
        weft::test::until_waiting(fiber);
        fiber.cancel();
        fiber.cancel();
        CHECK(fiber.join());
        CHECK(unwound);
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        fiber.cancel();  // fine on one that has ended
    });
}

TEST_CASE("a fiber cancelled before it started never runs", "[fiber][cancel]") {
    weft::run(
        [] {
            bool ran = false;
            auto fiber = weft::spawn([&] { ran = true; });
            fiber.cancel();
            fiber.join();
            CHECK_FALSE(ran);
            CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        },
        {.workers = 1});
}

TEST_CASE("what a fiber captured is gone when it has ended, run or not", "[fiber]") {
    weft::run(
        [] {
            auto captured = std::make_shared<int>(1);
            auto ran = weft::spawn([captured] { (void)captured; });
            auto cancelled = weft::spawn([captured] { (void)captured; });
            cancelled.cancel();
            ran.join();
            cancelled.join();
            CHECK(captured.use_count() == 1);
        },
        {.workers = 1});
}

TEST_CASE("a plain thread may wake the last fiber of a runtime that then ends", "[fiber][thread]") {
    for (int round = 0; round < 300; ++round) {
        weft::Semaphore go{0};
        std::thread waker;
        {
            weft::Runtime runtime{{.workers = 1}};
            runtime.spawn([&] { go.acquire(); }).detach();
            waker = std::thread{[&] { go.release(); }};
        }
        waker.join();
    }
}

TEST_CASE("what a cancelled fiber captured may wait when it is destroyed", "[fiber][cancel]") {
    struct JoinsAtItsEnd {
        explicit JoinsAtItsEnd(weft::Fiber<> fiber) : child{std::move(fiber)} {}
        JoinsAtItsEnd(JoinsAtItsEnd&&) noexcept = default;
        JoinsAtItsEnd& operator=(JoinsAtItsEnd&&) = delete;
        ~JoinsAtItsEnd() {
            if (child) child.join();
        }
        weft::Fiber<> child;
    };
    on_workers([] {
        weft::Event go;
        bool went = false;
        JoinsAtItsEnd captured{weft::spawn([&] {
            go.wait();
            went = true;
        })};
        auto fiber = weft::spawn([captured = std::move(captured)] {
            weft::this_fiber::sleep_until(weft::Deadline::never());
        });
        until_waiting(fiber);
        fiber.cancel();
        CHECK_FALSE(fiber.join(1ms));
        go.set();
        fiber.join();
        CHECK(went);
    });
}

TEST_CASE("a result that nobody takes may wait when it is destroyed", "[fiber][cancel]") {
    struct WaitsAtItsEnd {
        explicit WaitsAtItsEnd(weft::Event& e) : event{&e} {}
        WaitsAtItsEnd(WaitsAtItsEnd&& other) noexcept
            : event{std::exchange(other.event, nullptr)} {}
        WaitsAtItsEnd& operator=(WaitsAtItsEnd&&) = delete;
        ~WaitsAtItsEnd() {
            if (event != nullptr) event->wait();
        }
        weft::Event* event;
    };
    on_workers([] {
        weft::Event end;
        auto fiber = weft::spawn([&] {
            try {
                weft::this_fiber::sleep_until(weft::Deadline::never());
            } catch (const weft::Cancelled&) {
            }
            return WaitsAtItsEnd{end};
        });
        until_waiting(fiber);
        const weft::FiberRef ref = fiber;
        fiber.detach();
        ref.cancel();
        CHECK_FALSE(ref.join(1ms));
        end.set();
        ref.join();
    });
}

TEST_CASE("a swallowed cancellation comes back at the next point", "[fiber][cancel]") {
    on_workers([] {
        weft::Event never;
        weft::Event started;
        int seen = 0;
        auto fiber = weft::spawn([&] {
            started.set();
            for (int i = 0; i < 3; ++i) {
                try {
                    never.wait();
                } catch (const weft::Cancelled&) {
                    ++seen;
                }
            }
        });
        started.wait();
        fiber.cancel();
        fiber.get();
        CHECK(seen == 3);
    });
}

TEST_CASE("a shield puts the cancellation off to its end", "[fiber][cancel]") {
    on_workers([] {
        weft::Event go;
        weft::Event started;
        bool finished_work = false;
        auto fiber = weft::spawn([&] {
            {
                const weft::this_fiber::Shield shield;
                started.set();
                go.wait();
                finished_work = true;
            }
            weft::this_fiber::check_cancelled();
            FAIL("the cancellation got lost");
        });
        started.wait();
        fiber.cancel();
        CHECK_FALSE(fiber.join(1ms));
        go.set();
        fiber.join();
        CHECK(finished_work);
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}

TEST_CASE("dropping the handle detaches, and run waits for the fiber", "[fiber]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        std::atomic<bool> ended{false};
        weft::run(
            [&] {
                weft::spawn([&] {
                    weft::this_fiber::sleep_for(2ms);
                    ended = true;
                });
            },
            {.workers = workers});
        CHECK(ended);
    }
}

TEST_CASE("daemons are cancelled when run leaves, and waited for", "[fiber]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        std::atomic<bool> unwound{false};
        weft::run(
            [&] {
                weft::Event started;
                weft::spawn(weft::SpawnOptions{.name = "daemon", .daemon = true}, [&] {
                    struct Guard {
                        std::atomic<bool>& flag;
                        ~Guard() { flag = true; }
                    } guard{unwound};
                    started.set();
                    weft::this_fiber::sleep_until(weft::Deadline::never());
                });
                started.wait();
            },
            {.workers = workers});
        CHECK(unwound);
    }
}

TEST_CASE("an exception nobody can take is reported once", "[fiber]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        reports = 0;
        const weft::Options options{.workers = workers, .on_unhandled = &count_report};
        weft::run(
            [] {
                weft::spawn(weft::SpawnOptions{.name = "thrower"},
                            [] { throw std::runtime_error{"lost"}; });
            },
            options);
        CHECK(reports == 1);
        CHECK(last_report == "thrower");

        reports = 0;
        weft::run(
            [] {
                auto held = weft::spawn([] { throw std::runtime_error{"held"}; });
                held.join();  // ended; the handle goes without get()
            },
            options);
        CHECK(reports == 1);

        reports = 0;
        weft::run(
            [] {
                auto taken = weft::spawn([] { throw std::runtime_error{"taken"}; });
                CHECK_THROWS(taken.get());
                auto cancelled = weft::spawn([] { weft::this_fiber::sleep_for(1h); });
                cancelled.cancel();
            },
            options);
        CHECK(reports == 0);
    }
}

TEST_CASE("ids are unique and names are kept", "[fiber]") {
    on_workers([] {
        bool knows_its_name = false;
        auto a = weft::spawn(weft::SpawnOptions{.name = "a fiber"}, [&] {
            knows_its_name = weft::this_fiber::name() == "a fiber";
            return weft::this_fiber::id();
        });
        auto b = weft::spawn([] { return weft::this_fiber::id(); });
        CHECK(a.name() == "a fiber");
        CHECK(b.name().empty());
        CHECK(a.id() != b.id());
        CHECK(a.id() != 0);
        const auto id = a.id();
        CHECK(a.get() == id);
        CHECK(knows_its_name);
    });
}

TEST_CASE("join_all waits for all, or gives up at the deadline", "[fiber]") {
    on_workers([] {
        weft::Event go;
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 100; ++i) fibers.push_back(weft::spawn([&] { go.wait(); }));
        CHECK_FALSE(weft::join_all(fibers, 1ms));
        go.set();
        CHECK(weft::join_all(fibers));
        for (const auto& fiber : fibers) CHECK(fiber.done());
    });
}

TEST_CASE("plain threads spawn into a runtime and wait for its fibers", "[fiber][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        CHECK_FALSE(weft::this_fiber::is_fiber());
        std::vector<std::thread> threads;
        std::atomic<int> sum{0};
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&] {
                for (int i = 0; i < 200; ++i) {
                    sum += runtime.spawn([] { return weft::this_fiber::is_fiber() ? 1 : 0; }).get();
                }
            });
        }
        for (auto& thread : threads) thread.join();
        CHECK(sum == 800);
    }
}

TEST_CASE("spawning outside a runtime says how to do it", "[fiber]") {
    CHECK_THROWS_AS(weft::spawn([] {}), std::logic_error);
    CHECK_THROWS_AS(weft::Runtime::current(), std::logic_error);
}

TEST_CASE("two runtimes coexist and their fibers wait for each other", "[fiber]") {
    weft::Runtime one{{.workers = 2}};
    weft::Runtime two{{.workers = 1}};
    weft::Semaphore ping{0};
    weft::Semaphore pong{0};
    auto a = one.spawn([&] {
        for (int i = 0; i < 1000; ++i) {
            ping.release();
            pong.acquire();
        }
        return &weft::Runtime::current();
    });
    auto b = two.spawn([&] {
        for (int i = 0; i < 1000; ++i) {
            ping.acquire();
            pong.release();
        }
        return &weft::Runtime::current();
    });
    CHECK(a.get() == &one);
    CHECK(b.get() == &two);
}

TEST_CASE("a pinned fiber stays on its spawner's worker", "[fiber]") {
    on_workers([] {
        const auto home = std::this_thread::get_id();
        std::vector<weft::Fiber<bool>> fibers;
        for (int i = 0; i < 20; ++i) {
            fibers.push_back(weft::spawn(weft::SpawnOptions{.pinned = true}, [home] {
                for (int turn = 0; turn < 50; ++turn) {
                    weft::this_fiber::yield();
                    if (turn % 10 == 0) weft::this_fiber::sleep_for(100us);
                    // Asked through a pointer, for the compiler may believe the id constant.
                    auto* volatile ask = &std::this_thread::get_id;
                    if (ask() != home) return false;
                }
                return true;
            }));
        }
        for (auto& fiber : fibers) CHECK(fiber.get());
    });
}

TEST_CASE("callbacks of a fiber run after its end, in the order they were given",
          "[fiber][callback]") {
    const auto body = [] {
        weft::Semaphore called{0};
        weft::Semaphore go{0};
        std::atomic<int> order{0};
        auto fiber = weft::spawn([&] {
            go.acquire();
            throw std::runtime_error{"failed"};
        });
        fiber.on_done([&](const weft::FiberRef& ended) {
            CHECK(ended.done());
            CHECK(ended.id() == fiber.id());
            order = order * 10 + 1;
            called.release();
        });
        fiber.on_done([&] {
            order = order * 10 + 2;
            called.release();
        });
        go.release();
        CHECK_THROWS_AS(fiber.get(), std::runtime_error);
        fiber.on_done([&] { called.release(); });
        for (int i = 0; i < 3; ++i) called.acquire();
        return order.load();
    };
    on_workers([&] {
        const int order = body();
        CHECK((order == 12 || order == 21));
    });
    weft::run([&] { CHECK(body() == 12); }, {.workers = 1});
}

TEST_CASE("what a callback of a fiber throws is reported, as what the fiber throws",
          "[fiber][callback]") {
    reports = 0;
    weft::run(
        [] {
            auto fiber = weft::spawn([] { throw std::runtime_error{"first"}; });
            fiber.on_done([] { throw std::runtime_error{"second"}; });
        },
        {.on_unhandled = &count_report});
    CHECK(reports == 2);
}
