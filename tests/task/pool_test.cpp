// What pool.hpp promises of FiberPool and ThreadPool both.
//
// Where nobody holds the Future, exceptions are told by their type alone: TSan does not see
// that libstdc++ counts who holds one before it frees it.
#include <weft/pool.hpp>

#include "support/catch.hpp"
#include "support/journal.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber_pool.hpp>
#include <weft/latch.hpp>
#include <weft/semaphore.hpp>
#include <weft/thread_pool.hpp>
#include <weft/timeout.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <unwind.h>

using namespace std::chrono_literals;
using weft::FiberPool;
using weft::PoolClosed;
using weft::ThreadPool;
using weft::test::Journal;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

using Pools = std::tuple<FiberPool, ThreadPool>;

int square(int n) { return n * n; }

[[noreturn, gnu::noinline]] void throw_three() { throw std::runtime_error{"three"}; }

int fails_at_three(int n) {
    if (n == 3) throw_three();
    return n;
}

// A pool whose only place is taken until the gate is opened, and that takes no more.
template <class AnyPool>
struct Busy {
    Busy() : pool{1, {.waiting = 1}} {
        running = pool.submit([this] {
            begun.set();
            gate.wait();
        });
        begun.wait();
        if constexpr (std::is_same_v<AnyPool, ThreadPool>) waiting = pool.submit([] {});
    }
    ~Busy() { gate.set(); }

    weft::Event begun;
    weft::Event gate;
    weft::Future<void> running;
    weft::Future<void> waiting;
    AnyPool pool;
};

}  // namespace

// --- submit, apply ---

TEMPLATE_LIST_TEST_CASE("a pool returns what its tasks return", "[pool]", Pools) {
    on_workers([] {
        TestType pool{2};
        CHECK(pool.size() == 2);
        auto future = pool.submit(square, 7);
        CHECK(future.get() == 49);
        CHECK(pool.submit([] {}).wait());
        CHECK(pool.apply(square, 8) == 64);
        pool.apply([] {});
        int variable = 1;
        CHECK(&pool.apply([&]() -> int& { return variable; }) == &variable);
        auto only = std::make_unique<int>(5);
        CHECK(*pool.apply([](std::unique_ptr<int> p) { return p; }, std::move(only)) == 5);
        std::vector<weft::Future<int>> futures;
        for (int i = 0; i < 200; ++i) futures.push_back(pool.submit(square, i));
        for (int i = 0; i < 200; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i * i);
    });
}

TEMPLATE_LIST_TEST_CASE("what a task throws is kept in its Future", "[pool]", Pools) {
    on_workers([] {
        TestType pool{1};
        auto future = pool.submit(fails_at_three, 3);
        CHECK_THROWS_WITH(future.get(), "three");
        CHECK_THROWS_AS(pool.apply(fails_at_three, 3), std::runtime_error);
        CHECK(pool.apply(fails_at_three, 4) == 4);
    });
}

TEMPLATE_LIST_TEST_CASE("a Future of a task knows where what that threw was thrown", "[pool]",
                        Pools) {
    const auto is_in = [](void* function, std::span<void* const> stack) {
        return std::any_of(stack.begin(), stack.end(), [&](void* at) {
            return _Unwind_FindEnclosingFunction(static_cast<char*>(at) - 1) == function;
        });
    };
    on_workers([&] {
        TestType pool{2};
        auto future = pool.submit(fails_at_three, 3);
        auto other = pool.submit([] { throw std::logic_error{"other"}; });
        CHECK_THROWS_WITH(future.get(), "three");
        CHECK_THROWS_WITH(other.get(), "other");
        auto* const thrower = reinterpret_cast<void*>(&throw_three);
        CHECK(is_in(thrower, future.thrown_at()));
        CHECK_FALSE(is_in(thrower, other.thrown_at()));
        if (!weft::test::under_sanitizer) {
            const auto first = future.thrown_at().first(1);
            CHECK(is_in(thrower, first));  // not what throwing itself is made of
        }

        auto pointer = pool.submit([] { throw &square; });
        pointer.wait();
        CHECK(pointer.thrown_at().empty());
        auto value = pool.submit(square, 3);
        value.wait();
        CHECK(value.thrown_at().empty());
    });
}

TEMPLATE_LIST_TEST_CASE("of tasks that throw at once each has its own stack", "[pool]", Pools) {
    on_workers([&] {
        TestType pool{4};
        std::vector<weft::Future<int>> futures;
        for (int i = 0; i < 100; ++i) {
            futures.push_back(pool.submit([i] {
                struct Slow {
                    ~Slow() { weft::this_fiber::yield(); }
                } slow;
                if (i % 2 == 0) throw i;
                return fails_at_three(3);
            }));
        }
        for (int i = 0; i < 100; ++i) {
            futures[i].wait();
            REQUIRE(futures[i].exception());
            CHECK_FALSE(futures[i].thrown_at().empty());
        }
    });
}

TEMPLATE_LIST_TEST_CASE("no more tasks run at once than the pool has places, and as many do",
                        "[pool]", Pools) {
    on_workers([] {
        constexpr int places = 3;
        TestType pool{places};
        std::atomic<int> inside{0};
        std::atomic<int> most{0};
        weft::Latch all_in{places};
        for (int i = 0; i < 30; ++i) {
            pool.submit([&, i] {
                const int now = ++inside;
                int before = most;
                while (before < now && !most.compare_exchange_weak(before, now)) {
                }
                if (i < places) all_in.arrive_and_wait();
                --inside;
            });
        }
        pool.close();
        CHECK(pool.join());
        CHECK(most == places);
    });
}

TEMPLATE_LIST_TEST_CASE("tasks begin in the order they were given", "[pool][order]", Pools) {
    weft::run(
        [] {
            TestType pool{1};
            Journal<int> order;
            std::vector<int> expected;
            for (int i = 0; i < 50; ++i) {
                expected.push_back(i);
                pool.submit([&order, i] { order.add(i); });
            }
            pool.close();
            pool.join();
            CHECK(order.entries() == expected);
        },
        {.workers = 1});
}

TEMPLATE_LIST_TEST_CASE("who gives a full pool work waits", "[pool][full]", Pools) {
    on_workers([] {
        Busy<TestType> busy;
        CHECK(busy.pool.free_count() == 0);
        CHECK_FALSE(busy.pool.try_submit(square, 2));
        CHECK_FALSE(busy.pool.submit_by(1ms, square, 2));
        auto giver = weft::spawn([&] { return busy.pool.submit(square, 3).get(); });
        auto cancelled = weft::spawn([&] { return busy.pool.submit(square, 4).get(); });
        until_waiting(giver);
        until_waiting(cancelled);
        cancelled.cancel();
        CHECK_THROWS_AS(cancelled.get(), weft::Cancelled);
        busy.gate.set();
        CHECK(giver.get() == 9);
        auto last = busy.pool.submit(square, 5);
        CHECK(last.get() == 25);
    });
}

TEMPLATE_LIST_TEST_CASE("a task whose Future is cancelled first never begins", "[pool][cancel]",
                        Pools) {
    on_workers([] {
        TestType pool{1};
        weft::Event begun;
        weft::Event gate;
        std::atomic<bool> ran{false};
        auto first = pool.submit([&] {
            begun.set();
            gate.wait();
            return 1;
        });
        begun.wait();
        CHECK_FALSE(first.cancel());
        auto other = weft::spawn([&] { return pool.submit([&] { ran = true; }); });
        if constexpr (std::is_same_v<TestType, ThreadPool>) {
            auto second = other.get();
            CHECK(second.cancel());
            CHECK_THROWS_AS(second.get(), weft::Cancelled);
        } else {
            until_waiting(other);
            other.cancel();
            other.join();
        }
        gate.set();
        CHECK(first.get() == 1);
        pool.close();
        pool.join();
        CHECK_FALSE(ran);
    });
}

TEMPLATE_LIST_TEST_CASE("who is cancelled in apply waits for the task that has begun",
                        "[pool][cancel]", Pools) {
    on_workers([] {
        TestType pool{1};
        weft::Event begun;
        weft::Event gate;
        std::atomic<bool> ended{false};
        auto caller = weft::spawn([&] {
            int on_the_stack = 0;
            pool.apply([&] {
                begun.set();
                gate.wait();
                ++on_the_stack;
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

TEMPLATE_LIST_TEST_CASE("callbacks get the value or the error, in the runtime", "[pool][callback]",
                        Pools) {
    on_workers([] {
        TestType pool{2};
        weft::Semaphore called{0};
        int value = 0;
        std::string error;
        const auto on_value = [&](int v) {
            CHECK(weft::this_fiber::is_fiber());
            value = v;
            called.release();
        };
        const auto on_error = [&](const std::exception_ptr& e) {
            try {
                std::rethrow_exception(e);
            } catch (const std::exception& caught) {
                error = caught.what();
            }
            called.release();
        };
        auto good = pool.apply_async([] { return 6; }, on_value, on_error);
        called.acquire();
        CHECK(value == 6);
        CHECK(good.get() == 6);
        auto bad = pool.apply_async([] { return fails_at_three(3); }, on_value, on_error);
        called.acquire();
        CHECK(error == "three");
        CHECK_THROWS(bad.get());
        pool.apply_async([] {}, [&] { called.release(); });
        called.acquire();
        pool.apply_async([]() -> int { throw 1; }, [](int) { FAIL("it has no value"); }).wait();
    });
}

// --- map ---

TEMPLATE_LIST_TEST_CASE("map returns the results in the order of the items", "[pool][map]", Pools) {
    on_workers([] {
        TestType pool{3};
        std::vector<int> items;
        for (int i = 0; i < 100; ++i) items.push_back(i);
        const auto squares = pool.map(square, items);
        REQUIRE(squares.size() == 100);
        for (std::size_t i = 0; i < 100; ++i) CHECK(squares[i] == items[i] * items[i]);
        CHECK(pool.map(square, std::vector<int>{}).empty());
        const std::array<std::pair<int, std::string>, 2> pairs{{{2, "a"}, {3, "b"}}};
        const auto repeated = pool.starmap(
            [](int n, const std::string& text) {
                std::string all;
                for (int i = 0; i < n; ++i) all += text;
                return all;
            },
            pairs);
        CHECK(repeated[0] == "aa");
        CHECK(repeated[1] == "bbb");
        std::atomic<int> sum{0};
        pool.map([&](int i) { sum += i; }, items);
        CHECK(sum == 99 * 50);
        const auto owners = pool.map([](int i) { return std::make_unique<int>(i); }, items);
        CHECK(*owners[42] == 42);
    });
}

TEMPLATE_LIST_TEST_CASE("map throws what the first item in order throws, once all have ended",
                        "[pool][map]", Pools) {
    on_workers([] {
        TestType pool{2};
        std::atomic<int> running{0};
        const auto work = [&running](int i) {
            ++running;
            const int result = fails_at_three(i % 10);
            --running;
            return result;
        };
        const std::vector<int> items{1, 2, 3, 4, 13, 6};
        CHECK_THROWS_AS(pool.map(work, items), std::runtime_error);
        const int failed = running;
        CHECK((failed == 1 || failed == 2));
        CHECK(pool.apply(square, 3) == 9);
        CHECK(running == failed);
    });
}

TEMPLATE_LIST_TEST_CASE("imap gives the results in order, one by one", "[pool][map]", Pools) {
    on_workers([] {
        TestType pool{2};
        std::vector<int> items;
        for (int i = 0; i < 50; ++i) items.push_back(i);
        int expected = 0;
        for (const int result : pool.imap(square, items)) {
            CHECK(result == expected * expected);
            ++expected;
        }
        CHECK(expected == 50);
        auto none = pool.imap(square, std::vector<int>{});
        CHECK_FALSE(none.next());
    });
}

TEMPLATE_LIST_TEST_CASE("imap takes no more items than twice its size ahead", "[pool][map]",
                        Pools) {
    on_workers([] {
        TestType pool{2};
        std::vector<int> items(100);
        std::atomic<int> begun{0};
        auto results = pool.imap([&begun](int) { return ++begun; }, items);
        CHECK(results.next());
        CHECK(begun <= 4);
        CHECK(results.next());
        CHECK(begun <= 5);
    });
}

TEMPLATE_LIST_TEST_CASE("imap goes on after an item that failed", "[pool][map]", Pools) {
    on_workers([] {
        TestType pool{2};
        const std::vector<int> items{1, 2, 3, 4};
        auto results = pool.imap(fails_at_three, items);
        CHECK(results.next() == 1);
        CHECK(results.next() == 2);
        CHECK_THROWS_AS(results.next(), std::runtime_error);
        CHECK(results.next() == 4);
        CHECK_FALSE(results.next());
        CHECK_FALSE(results.next());
    });
}

TEMPLATE_LIST_TEST_CASE("imap_unordered gives the results as they come", "[pool][map]", Pools) {
    on_workers([] {
        TestType pool{2};
        weft::Event second_done;
        const std::vector<int> items{1, 2};
        auto results = pool.imap_unordered(
            [&](int i) {
                if (i == 1) second_done.wait();
                return i;
            },
            items);
        CHECK(results.next() == 2);
        second_done.set();
        CHECK(results.next() == 1);
        CHECK_FALSE(results.next());

        std::vector<int> many;
        std::vector<int> got;
        for (int i = 0; i < 60; ++i) many.push_back(i);
        for (const int i : pool.imap_unordered([](int n) { return n; }, many)) got.push_back(i);
        std::sort(got.begin(), got.end());
        CHECK(got == many);
    });
}

TEMPLATE_LIST_TEST_CASE("imap_unordered goes on after an item that failed", "[pool][map]", Pools) {
    on_workers([] {
        TestType pool{1};
        const std::vector<int> items{3, 1, 3, 2};
        auto results = pool.imap_unordered(fails_at_three, items);
        int failed = 0;
        int sum = 0;
        for (;;) {
            try {
                const auto result = results.next();
                if (!result) break;
                sum += *result;
            } catch (const std::runtime_error&) {
                ++failed;
            }
        }
        CHECK(failed == 2);
        CHECK(sum == 3);
    });
}

TEMPLATE_LIST_TEST_CASE("who is interrupted while it waits for an imap misses no result",
                        "[pool][map]", Pools) {
    on_workers([] {
        TestType pool{2};
        weft::Event gate;
        const auto wait_for_gate = [&gate](int i) {
            gate.wait();
            return i;
        };
        const std::vector<int> items{1, 2, 3};
        auto ordered = pool.imap(wait_for_gate, items);
        CHECK_FALSE(weft::with_timeout(1ms, [&] { return ordered.next(); }));
        gate.set();
        for (const int i : items) CHECK(ordered.next() == i);
        CHECK_FALSE(ordered.next());

        gate.clear();
        auto unordered = pool.imap_unordered(wait_for_gate, items);
        CHECK_FALSE(weft::with_timeout(1ms, [&] { return unordered.next(); }));
        gate.set();
        int sum = 0;
        while (const auto result = unordered.next()) sum += *result;
        CHECK(sum == 6);
    });
}

TEMPLATE_LIST_TEST_CASE("an imap that is dropped half way leaves the pool usable", "[pool][map]",
                        Pools) {
    on_workers([] {
        TestType pool{2};
        const std::vector<int> items(100, 1);
        CHECK(pool.imap(square, items).next() == 1);
        CHECK(pool.imap_unordered(square, items).next() == 1);
        CHECK(pool.apply(square, 2) == 4);
    });
}

TEMPLATE_LIST_TEST_CASE("what waits for imap_unordered is told when the pool is terminated",
                        "[pool][map][close]", Pools) {
    on_workers([] {
        Busy<TestType> busy;
        const std::vector<int> items{1, 2};
        auto reader = weft::spawn([&] { return busy.pool.imap_unordered(square, items).next(); });
        until_waiting(reader);
        busy.gate.set();
        busy.pool.terminate();
        try {
            const auto result = reader.get();
            CHECK(result == 1);
        } catch (const weft::Cancelled&) {
        } catch (const PoolClosed&) {
        }
    });
}

static_assert(
    std::ranges::input_range<decltype(std::declval<FiberPool&>().imap(square, std::vector{1}))>);

// --- close, terminate, join ---

TEMPLATE_LIST_TEST_CASE("a pool is closed before it is joined", "[pool][close]", Pools) {
    on_workers([] {
        TestType pool{2};
        CHECK_THROWS_AS(pool.join(), std::logic_error);
        CHECK_THROWS_AS(pool.join(0ms), std::logic_error);
        std::atomic<int> ran{0};
        for (int i = 0; i < 20; ++i) pool.submit([&] { ++ran; });
        pool.close();
        pool.close();
        CHECK_THROWS_AS(pool.submit(square, 1), PoolClosed);
        CHECK_THROWS_AS(pool.try_submit(square, 1), PoolClosed);
        CHECK_THROWS_AS(pool.apply(square, 1), PoolClosed);
        CHECK_THROWS_AS(pool.map(square, std::vector{1}), PoolClosed);
        CHECK(pool.join());
        CHECK(ran == 20);
        CHECK(pool.unfinished() == 0);
        pool.terminate();
        CHECK(pool.join());
    });
    CHECK_THROWS_AS(TestType{0}, std::invalid_argument);
}

TEMPLATE_LIST_TEST_CASE("join waits for what runs, until its deadline", "[pool][close]", Pools) {
    on_workers([] {
        Busy<TestType> busy;
        busy.pool.close();
        CHECK_FALSE(busy.pool.join(0ms));
        CHECK_FALSE(busy.pool.join(1ms));
        CHECK(busy.pool.unfinished() > 0);
        auto joiner = weft::spawn([&] { return busy.pool.join(); });
        until_waiting(joiner);
        busy.gate.set();
        CHECK(joiner.get());
    });
}

TEMPLATE_LIST_TEST_CASE("who waits to give work is told when the pool is closed", "[pool][close]",
                        Pools) {
    on_workers([] {
        Busy<TestType> busy;
        auto giver = weft::spawn([&] { busy.pool.submit(square, 1); });
        until_waiting(giver);
        busy.pool.close();
        CHECK_THROWS_AS(giver.get(), PoolClosed);
        busy.gate.set();
        CHECK(busy.pool.join());
    });
}

TEMPLATE_LIST_TEST_CASE("a pool that is destroyed waits for what it runs", "[pool][close]", Pools) {
    on_workers([] {
        std::atomic<int> ended{0};
        weft::Semaphore begun{0};
        {
            TestType pool{2};
            for (int i = 0; i < 2; ++i) {
                pool.submit([&] {
                    begun.release();
                    const weft::this_fiber::Shield shield;
                    weft::this_fiber::sleep_for(1ms);
                    ++ended;
                });
            }
            begun.acquire();
            begun.acquire();
        }
        CHECK(ended == 2);
    });
}

TEMPLATE_LIST_TEST_CASE("an initializer is run before any task", "[pool]", Pools) {
    on_workers([] {
        std::atomic<int> initialized{0};
        std::atomic<int> too_early{0};
        TestType pool{2, {.name = "set up"}, [&] { ++initialized; }};
        for (int i = 0; i < 10; ++i) {
            pool.submit([&] {
                if (initialized == 0) ++too_early;
            });
        }
        pool.close();
        pool.join();
        CHECK(too_early == 0);
        CHECK(initialized > 0);
    });
}

TEMPLATE_LIST_TEST_CASE("tasks of a pool whose initializer throws fail with that", "[pool]",
                        Pools) {
    on_workers([] {
        TestType pool{1, {}, [] { throw std::runtime_error{"no set-up"}; }};
        try {
            for (int i = 0; i < 3; ++i) {
                auto future = pool.submit(square, i);
                CHECK_THROWS_WITH(future.get(), "no set-up");
            }
        } catch (const std::runtime_error&) {
            // submit() came after the thread that was to be set up.
        }
        const std::vector<int> items{1, 2};
        TestType another{1, {}, [] { throw std::runtime_error{"no set-up"}; }};
        CHECK_THROWS_WITH(another.imap_unordered(square, items).next(), "no set-up");
        pool.close();
        CHECK(pool.join());
    });
}

TEMPLATE_LIST_TEST_CASE("a storm of tasks by many givers loses none", "[pool]", Pools) {
    on_workers([] {
        TestType pool{3, {.waiting = 2}};
        std::atomic<long> sum{0};
        std::vector<weft::Fiber<>> givers;
        for (int g = 0; g < 4; ++g) {
            givers.push_back(weft::spawn([&] {
                for (int i = 1; i <= 100; ++i) {
                    pool.submit([&sum, i] {
                        if (i % 7 == 0) weft::this_fiber::yield();
                        sum += i;
                    });
                }
            }));
        }
        weft::join_all(givers);
        pool.close();
        CHECK(pool.join());
        CHECK(sum == 4 * 5050);
    });
}
