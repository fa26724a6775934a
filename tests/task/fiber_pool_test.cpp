// What fiber_pool.hpp promises beyond what both pools do (pool_test.cpp).
#include <weft/fiber_pool.hpp>

#include "base/random.hpp"

#include "support/catch.hpp"
#include "support/journal.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber_ref.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::FiberPool;
using weft::test::Journal;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::until_waiting;

TEST_CASE("each task of a FiberPool has a fiber of its own, with the pool's name", "[fiber_pool]") {
    on_workers([] {
        FiberPool pool{2, {.name = "crawl"}};
        Journal<std::uint64_t> ids;
        for (int i = 0; i < 5; ++i) {
            CHECK(pool.apply([&] {
                ids.add(weft::this_fiber::id());
                return std::string{weft::this_fiber::name()};
            }) == "crawl");
        }
        const auto all = ids.entries();
        CHECK(std::set<std::uint64_t>(all.begin(), all.end()).size() == 5);
    });
}

TEST_CASE("a FiberPool counts its free places", "[fiber_pool]") {
    on_workers([] {
        FiberPool pool{3};
        weft::Event gate;
        CHECK(pool.free_count() == 3);
        auto first = pool.submit([&] { gate.wait(); });
        CHECK(pool.free_count() == 2);
        auto second = pool.submit([&] { gate.wait(); });
        auto third = pool.submit([&] { gate.wait(); });
        CHECK(pool.free_count() == 0);
        CHECK(pool.unfinished() == 3);
        CHECK_FALSE(pool.try_submit([] {}));
        gate.set();
        pool.close();
        pool.join();
        CHECK(pool.free_count() == 3);
    });
}

TEST_CASE("who waits for a place gets it in order of arrival", "[fiber_pool][order]") {
    on_workers([] {
        FiberPool pool{1};
        weft::Event gate;
        Journal<int> order;
        pool.submit([&] { gate.wait(); });
        std::vector<weft::Fiber<>> givers;
        for (int i = 0; i < 10; ++i) {
            givers.push_back(weft::spawn([&, i] { pool.submit([&, i] { order.add(i); }); }));
            until_waiting(givers.back());
        }
        gate.set();
        weft::join_all(givers);
        pool.close();
        pool.join();
        CHECK(order.entries() == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    });
}

TEST_CASE("terminate cancels the fibers that run, and those that have not begun",
          "[fiber_pool][cancel]") {
    on_workers([] {
        FiberPool pool{4};
        weft::Semaphore begun{0};
        std::vector<weft::Future<void>> futures;
        for (int i = 0; i < 4; ++i) {
            futures.push_back(pool.submit([&] {
                begun.release();
                weft::this_fiber::sleep_for(1h);
            }));
        }
        begun.acquire();
        pool.terminate();
        CHECK(pool.join());
        for (auto& future : futures) CHECK_THROWS_AS(future.get(), weft::Cancelled);
    });
}

TEST_CASE("a pool that goes takes its fibers with it", "[fiber_pool][cancel]") {
    on_workers([] {
        weft::Future<void> future;
        {
            FiberPool pool{1};
            future = pool.submit([] { weft::this_fiber::sleep_for(1h); });
        }
        CHECK_THROWS_AS(future.get(), weft::Cancelled);
    });
}

TEST_CASE("a task whose fiber is cancelled before it begins gives its place back",
          "[fiber_pool][cancel]") {
    weft::run(
        [] {
            FiberPool pool{1, {.name = "unlucky"}};
            std::atomic<bool> ran{false};
            auto future = pool.submit([&] { ran = true; });
            for (auto fiber : weft::all_fibers()) {
                if (fiber.name() == "unlucky") fiber.cancel();
            }
            CHECK_THROWS_AS(future.get(), weft::Cancelled);
            CHECK_FALSE(ran);
            CHECK(pool.apply([] { return 1; }) == 1);
        },
        {.workers = 1});
}

TEST_CASE("plain threads give work to a FiberPool of a runtime", "[fiber_pool][thread]") {
    for (const unsigned workers : {1u, 2u}) {
        weft::Runtime runtime{{.workers = workers}};
        FiberPool pool{runtime, 2};
        std::atomic<int> sum{0};
        std::vector<std::thread> threads;
        for (int t = 0; t < 3; ++t) {
            threads.emplace_back([&] {
                for (int i = 1; i <= 50; ++i) {
                    pool.submit([&sum, i] {
                        weft::this_fiber::yield();
                        sum += i;
                    });
                }
            });
        }
        for (auto& thread : threads) thread.join();
        CHECK(pool.apply([] { return weft::this_fiber::is_fiber(); }));
        pool.close();
        CHECK(pool.join());
        CHECK(sum == 3 * 1275);
    }
    FiberPool homeless{1};
    CHECK_THROWS_AS(homeless.submit([] {}), std::logic_error);
    CHECK(homeless.free_count() == 1);
}

namespace {

// Givers that wait in all ways, some of them cancelled; in the end all places are there.
void give_in_all_ways(std::uint64_t seed) {
    weft::detail::Random random{seed};
    const std::size_t places = 1 + random.below(3);
    FiberPool pool{places};
    std::atomic<int> inside{0};
    std::atomic<bool> exceeded{false};
    std::atomic<int> given{0};
    std::atomic<int> done{0};
    std::vector<weft::Fiber<>> givers;
    for (int g = 0; g < 6; ++g) {
        givers.push_back(weft::spawn([&, own = weft::detail::Random{random.next()}]() mutable {
            for (int i = 0; i < 10; ++i) {
                const auto deadline =
                    own.below(2) == 0 ? weft::Deadline::never()
                                      : weft::Deadline{std::chrono::microseconds{own.below(50)}};
                const auto naps = own.below(3);
                const auto future = pool.submit_by(deadline, [&, naps] {
                    if (static_cast<std::size_t>(++inside) > places) exceeded = true;
                    for (auto n = naps; n > 0; --n) weft::this_fiber::yield();
                    --inside;
                    ++done;
                });
                if (future) ++given;
            }
        }));
    }
    for (int c = 0; c < 3; ++c) {
        for (auto turns = random.below(5); turns > 0; --turns) weft::this_fiber::yield();
        givers[random.below(6)].cancel();
    }
    for (auto& giver : givers) giver.join();
    CHECK_FALSE(exceeded);
    pool.close();
    CHECK(pool.join());
    CHECK(pool.free_count() == places);
    CHECK(done >= given);  // one whose giver was cancelled after it was taken is not counted
}

}  // namespace

TEST_CASE("no place is lost or made, whoever is cancelled and whenever", "[fiber_pool][cancel]") {
    on_seeds(weft::test::under_sanitizer ? 50 : 300, give_in_all_ways);
    on_workers([] {
        for (std::uint64_t seed = 0; seed < 10; ++seed) give_in_all_ways(seed);
    });
}
