// What fiber_ref.hpp promises, each promise once.
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/diag.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/fiber_ref.hpp>
#include <weft/semaphore.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::test::on_workers;

namespace {

std::atomic<int> reports{0};

void count_report(std::uint64_t, std::string_view, std::exception_ptr) { ++reports; }

bool contains(const weft::FiberList& list, const weft::FiberRef& fiber) {
    return std::find(list.begin(), list.end(), fiber) != list.end();
}

weft::FiberRef stillborn;

// A callable that fails to be moved into its fiber, when others know that already.
struct Stubborn {
    Stubborn() = default;
    Stubborn(const Stubborn&) {
        for (const weft::FiberRef& fiber : weft::all_fibers()) {
            if (fiber.name() == "stillborn") stillborn = fiber;
        }
        throw std::runtime_error{"not me"};
    }
    void operator()() const {}
};

}  // namespace

TEST_CASE("a reference tells id, name, kind and end of its fiber", "[fiber_ref]") {
    on_workers([] {
        weft::Event go;
        auto fiber = weft::spawn(weft::SpawnOptions{.name = "worker bee", .daemon = true},
                                 [&] { go.wait(); });
        const weft::FiberRef ref = fiber;
        CHECK(ref);
        CHECK(ref.id() == fiber.id());
        CHECK(ref.name() == "worker bee");
        CHECK(ref.daemon());
        CHECK_FALSE(ref.done());
        CHECK_FALSE(ref.join(0ms));
        go.set();
        CHECK(ref.join());
        CHECK(ref.done());
        CHECK(ref.doing() == "ended");
        CHECK_FALSE(weft::FiberRef{});
    });
}

TEST_CASE("references are equal when their fiber is, and ordered by id", "[fiber_ref]") {
    on_workers([] {
        auto a = weft::spawn([] {});
        auto b = weft::spawn([] {});
        const weft::FiberRef first{a};
        weft::FiberRef second{b};
        CHECK(first == weft::FiberRef{a});
        CHECK(first != second);
        CHECK((first < second) == (a.id() < b.id()));
        CHECK(weft::FiberRef{} < first);
        second = first;
        CHECK(second == first);
        CHECK(weft::FiberRef{} == weft::FiberRef{});
    });
}

TEST_CASE("a reference outlives handle and fiber, and its block stays its own", "[fiber_ref]") {
    on_workers([] {
        weft::FiberRef ref = weft::spawn(weft::SpawnOptions{.name = "gone"}, [] {});
        const auto id = ref.id();
        ref.join();
        for (int i = 0; i < 1000; ++i) weft::spawn([] {}).join();
        CHECK(ref.id() == id);
        CHECK(ref.name() == "gone");
        CHECK(ref.done());
        ref.cancel();  // fine on one that has ended
    });
}

TEST_CASE("a reference does not keep an exception from being reported", "[fiber_ref]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        reports = 0;
        const weft::Options options{.workers = workers, .on_unhandled = &count_report};
        weft::run(
            [] {
                const weft::FiberRef ref = weft::spawn([] { throw std::runtime_error{"lost"}; });
                CHECK(ref.join());
                CHECK(reports == 1);
                auto taken = weft::spawn([] { throw std::runtime_error{"taken"}; });
                const weft::FiberRef other{taken};
                CHECK_THROWS(taken.get());
            },
            options);
        CHECK(reports == 1);
    }
}

TEST_CASE("a reference cancels, and says so", "[fiber_ref][cancel]") {
    on_workers([] {
        auto fiber = weft::spawn([] { weft::this_fiber::sleep_until(weft::Deadline::never()); });
        const weft::FiberRef ref{fiber};
        CHECK_FALSE(ref.cancelled());
        ref.cancel();
        CHECK(ref.cancelled());
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}

TEST_CASE("who goes on though cancelled is told by name and by what it does",
          "[fiber_ref][cancel]") {
    on_workers([] {
        weft::Event release;
        const weft::FiberRef ref = weft::spawn(weft::SpawnOptions{.name = "deaf"}, [&] {
            while (!release.is_set()) {
                try {
                    const weft::this_fiber::Shield shield;
                    release.wait();
                } catch (const weft::Cancelled&) {
                }
            }
        });
        while (ref.doing() == "runs") weft::this_fiber::yield();
        ref.cancel();
        CHECK_FALSE(ref.join(1ms));
        CHECK(ref.cancelled());
        CHECK(ref.name() == "deaf");
        CHECK(ref.doing() == "Event::wait");
        release.set();
        ref.join();
        CHECK(weft::current().doing() == "runs");
    });
}

// The joiner gets its turn though the other never waits, for each throw counts as one operation.
TEST_CASE("who swallows its cancellation is told from who has not come to it",
          "[fiber_ref][cancel]") {
    on_workers([] {
        weft::Event release;
        weft::Semaphore begun{0};
        const weft::FiberRef swallows = weft::spawn([&] {
            begun.release();
            while (!release.is_set()) {
                try {
                    weft::this_fiber::check_cancelled();
                    weft::this_fiber::yield();
                } catch (const weft::Cancelled&) {
                }
            }
        });
        const weft::FiberRef is_shielded = weft::spawn([&] {
            const weft::this_fiber::Shield shield;
            begun.release();
            release.wait();
        });
        const weft::FiberRef computes = weft::spawn([&] {
            begun.release();
            while (!release.is_set()) weft::this_fiber::yield();
        });
        begun.acquire();
        begun.acquire();
        begun.acquire();
        CHECK(swallows.cancellations_swallowed() == 0);
        for (const auto& ref : {swallows, is_shielded, computes}) {
            ref.cancel();
            CHECK_FALSE(ref.join(1ms));
            CHECK(ref.cancelled());
        }
        while (swallows.cancellations_swallowed() < 3) weft::this_fiber::yield();
        CHECK(is_shielded.cancellations_swallowed() == 0);
        CHECK(computes.cancellations_swallowed() == 0);
        release.set();
        swallows.join();
        is_shielded.join();
        computes.join();
        CHECK(swallows.cancellations_swallowed() >= 3);
    });
}

TEST_CASE("who lets its cancellation through has swallowed none", "[fiber_ref][cancel]") {
    on_workers([] {
        const weft::FiberRef ends =
            weft::spawn([] { weft::this_fiber::sleep_until(weft::Deadline::never()); });
        while (ends.doing() != "sleep") weft::this_fiber::yield();
        ends.cancel();
        ends.join();
        CHECK(ends.cancellations_swallowed() == 0);
        const weft::FiberRef later = weft::spawn_later(1h, [] {});
        later.cancel();
        later.join();
        CHECK(later.cancellations_swallowed() == 0);
    });
}

TEST_CASE("a cancellation may be swallowed more often than is counted", "[fiber_ref][cancel]") {
    weft::run(
        [] {
            std::atomic<int> caught{0};
            auto fiber = weft::spawn([&] {
                weft::current().cancel();
                while (caught < 10'000) {
                    try {
                        weft::this_fiber::check_cancelled();
                    } catch (const weft::Cancelled&) {
                        ++caught;
                    }
                }
                weft::this_fiber::check_cancelled();
            });
            fiber.join();
            CHECK(caught == 10'000);
            CHECK(weft::FiberRef{fiber}.cancellations_swallowed() == 8190);
            CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
            auto next = weft::spawn([] {});
            CHECK(weft::FiberRef{next}.cancellations_swallowed() == 0);
            CHECK_FALSE(weft::FiberRef{next}.cancelled());
        },
        {.workers = 1});
}

TEST_CASE("asking what a fiber does neither loses nor delays its wake-up", "[fiber_ref]") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        weft::simulate(seed, [] {
            weft::Event go;
            const weft::FiberRef waiter = weft::spawn([&] { go.wait(); });
            const weft::FiberRef asker = weft::spawn([&] {
                while (!waiter.done()) {
                    (void)waiter.doing();
                    weft::this_fiber::yield();
                }
            });
            weft::spawn([&] { go.set(); });
            asker.join();
        });
    }
    on_workers([] {
        for (int i = 0; i < 200; ++i) {
            weft::Event go;
            const weft::FiberRef waiter = weft::spawn([&] { go.wait(); });
            const weft::FiberRef asker = weft::spawn([&] {
                while (!waiter.done()) {
                    (void)waiter.doing();
                    weft::this_fiber::yield();
                }
            });
            go.set();
            asker.join();
        }
    });
}

TEST_CASE("current is the calling fiber", "[fiber_ref]") {
    on_workers([] {
        CHECK(weft::current().id() == weft::this_fiber::id());
        auto fiber = weft::spawn([] { return weft::current(); });
        const weft::FiberRef ref{fiber};
        CHECK(fiber.get() == ref);
        CHECK_THROWS_AS(weft::current().join(), std::system_error);
    });
}

TEST_CASE("main_fiber is the one that run started, also when it has ended", "[fiber_ref]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        bool ended = false;
        weft::run(
            [&] {
                CHECK(weft::main_fiber() == weft::current());
                CHECK(weft::main_fiber().name() == "main");
                weft::spawn([&] {
                    weft::main_fiber().join();
                    ended = weft::main_fiber().done();
                });
            },
            {.workers = workers});
        CHECK(ended);
    }
    weft::simulate(1, [] { CHECK(weft::main_fiber() == weft::current()); });
    weft::Runtime runtime{{.workers = 1}};
    CHECK_FALSE(runtime.spawn([] { return static_cast<bool>(weft::main_fiber()); }).get());
}

TEST_CASE("outside a runtime there is no current, main or list of fibers", "[fiber_ref]") {
    CHECK_THROWS_AS(weft::current(), std::logic_error);
    CHECK_THROWS_AS(weft::main_fiber(), std::logic_error);
    CHECK_THROWS_AS(weft::all_fibers(), std::logic_error);
    CHECK_THROWS_AS(weft::active_count(), std::logic_error);
}

TEST_CASE("all_fibers has those that have not ended, of one runtime", "[fiber_ref]") {
    weft::Runtime other{{.workers = 1}};
    on_workers([&] {
        weft::Event go;
        const weft::FiberRef stranger = other.spawn([&] { go.wait(); });
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 300; ++i) fibers.push_back(weft::spawn([&] { go.wait(); }));
        const auto ended = weft::spawn([] {});
        CHECK(ended.done() == false);
        weft::FiberRef{ended}.join();
        {
            const weft::FiberList list = weft::all_fibers();
            CHECK(list.size() == 301);
            CHECK(weft::active_count() == 301);
            CHECK(contains(list, weft::current()));
            CHECK(std::all_of(fibers.begin(), fibers.end(),
                              [&](const auto& fiber) { return contains(list, fiber); }));
            CHECK_FALSE(contains(list, ended));
            CHECK_FALSE(contains(list, stranger));
            CHECK(contains(other.fibers(), stranger));
        }
        go.set();
        weft::join_all(fibers);
        stranger.join();
        CHECK(weft::active_count() == 1);
        CHECK(weft::Runtime::current().fibers()[0] == weft::current());
    });
    CHECK(other.fibers().empty());
}

TEST_CASE("fibers may be listed, named and cancelled while they come and go", "[fiber_ref]") {
    on_workers([] {
        std::atomic<bool> stop{false};
        auto breeder = weft::spawn([&] {
            while (!stop) {
                weft::spawn(weft::SpawnOptions{.name = "mayfly"},
                            [] { weft::this_fiber::yield(); });
                weft::this_fiber::yield();
            }
        });
        for (int i = 0; i < 200; ++i) {
            for (const weft::FiberRef& fiber : weft::all_fibers()) {
                if (fiber.name() == "mayfly") fiber.cancel();
                (void)fiber.doing();
            }
            weft::this_fiber::yield();
        }
        stop = true;
        breeder.join();
    });
}

TEST_CASE("a plain thread lists, joins and cancels fibers of a runtime", "[fiber_ref][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        for (int i = 0; i < 20; ++i) {
            runtime.spawn([] { weft::this_fiber::sleep_until(weft::Deadline::never()); });
        }
        const weft::FiberList list = runtime.fibers();
        CHECK(list.size() == 20);
        for (const weft::FiberRef& fiber : list) fiber.cancel();
        for (const weft::FiberRef& fiber : list) CHECK(fiber.join());
        CHECK(runtime.fibers().empty());
    }
}

TEST_CASE("who knows of a fiber whose spawn failed is told that it is over", "[fiber_ref]") {
    on_workers([] {
        const Stubborn stubborn;
        CHECK_THROWS_AS(weft::spawn(weft::SpawnOptions{.name = "stillborn"}, stubborn),
                        std::runtime_error);
        REQUIRE(stillborn);
        CHECK(stillborn.join(0ms));
        stillborn.cancel();
        CHECK(weft::active_count() == 1);
        stillborn = {};
    });
}
