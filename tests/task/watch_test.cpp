// What as_completed.hpp and wait.hpp promise, each promise once.
#include "support/catch.hpp"
#include "support/everywhere.hpp"
#include "support/journal.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/as_completed.hpp>
#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/promise.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>
#include <weft/wait.hpp>

#include <algorithm>
#include <array>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using weft::as_completed;
using weft::Fiber;
using weft::Future;
using weft::Promise;
using weft::Until;
using weft::test::everywhere;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::seeds;
using weft::test::until_waiting;

namespace {

struct Promised {
    explicit Promised(std::size_t count) : promises(count) {
        for (const auto& promise : promises) futures.push_back(promise.future());
    }
    std::vector<Promise<int>> promises;
    std::vector<Future<int>> futures;
};

template <class T>
std::vector<T*> pointers(const weft::Waited<T>& waited) {
    std::vector<T*> all;
    for (T& one : waited.done()) all.push_back(&one);
    return all;
}

}  // namespace

// --- as_completed ---

TEST_CASE("those that are done come in the order of their ends", "[as_completed]") {
    everywhere([] {
        Promised p{4};
        p.promises[2].set_value(2);
        auto setter = weft::spawn([&] {
            for (const std::size_t i : {3u, 0u, 1u}) {
                weft::this_fiber::sleep_for(1us);
                p.promises[i].set_value(static_cast<int>(i));
            }
        });
        std::vector<int> order;
        for (auto& future : as_completed(p.futures)) order.push_back(future.get());
        CHECK(order == std::vector{2, 3, 0, 1});
        setter.join();
    });
}

TEST_CASE("fibers come as they end, and keep their results", "[as_completed]") {
    everywhere([] {
        std::array<Fiber<int>, 3> fibers;
        for (int i = 0; i < 3; ++i) {
            fibers[static_cast<std::size_t>(i)] = weft::spawn([i] {
                weft::this_fiber::sleep_for((3 - i) * 10ms);
                if (i == 1) throw std::runtime_error{"failed"};
                return i;
            });
        }
        std::vector<int> order;
        for (auto& fiber : as_completed(fibers)) {
            CHECK(fiber.done());
            try {
                order.push_back(fiber.get());
            } catch (const std::runtime_error&) {
                order.push_back(-1);
            }
        }
        std::sort(order.begin(), order.end());
        CHECK(order == std::vector{-1, 0, 2});
    });
}

TEST_CASE("the loop ends at the deadline, and those left are unharmed",
          "[as_completed][deadline]") {
    everywhere([] {
        Promised p{3};
        p.promises[1].set_value(1);
        auto some = as_completed(p.futures, 1ms);
        int count = 0;
        for (auto& future : some) {
            CHECK(future.get() == 1);
            ++count;
        }
        CHECK(count == 1);
        CHECK_FALSE(some.complete());
        p.promises[0].set_value(0);
        p.promises[2].set_value(2);
        auto all = as_completed(p.futures, 0ms);
        count = 0;
        for (auto& future : all) count += future.done() ? 1 : 0;
        CHECK(count == 3);
        CHECK(all.complete());
        std::vector<Future<int>> none;
        for (auto& future : as_completed(none)) FAIL(future.done());
    });
}

TEST_CASE("a Future that is given twice comes twice", "[as_completed]") {
    everywhere([] {
        Promised p{1};
        p.futures.push_back(p.futures[0]);
        auto setter = weft::spawn([&] { p.promises[0].set_value(7); });
        int sum = 0;
        for (auto& future : as_completed(p.futures)) sum += future.get();
        CHECK(sum == 14);
    });
}

TEST_CASE("a wait for the next one is cancelled and timed out, and can be gone on with",
          "[as_completed][cancel]") {
    everywhere([] {
        Promised p{2};
        auto fiber = weft::spawn([&] { as_completed(p.futures).next(); });
        until_waiting(fiber);
        fiber.cancel();
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        auto completed = as_completed(p.futures);
        CHECK_FALSE(weft::with_timeout(1ms, [&] { completed.next(); }));
        p.promises[1].set_value(1);
        CHECK(completed.next() == &p.futures[1]);
    });
}

TEST_CASE("what was waited for may be given up in between", "[as_completed]") {
    everywhere([] {
        std::vector<Fiber<int>> fibers;
        fibers.push_back(weft::spawn([] { return 1; }));
        fibers.push_back(weft::spawn([] {
            weft::this_fiber::sleep_for(1ms);
            return 2;
        }));
        fibers[0].join();
        auto completed = as_completed(fibers);
        CHECK(completed.next() == &fibers[0]);
        for (auto& fiber : fibers) fiber.detach();
    });
}

TEST_CASE("each of many that end at once comes exactly once", "[as_completed][stress]") {
    const auto body = [](std::uint64_t seed) {
        std::mt19937_64 random{seed};
        constexpr std::size_t count = 60;
        Promised p{count};
        std::vector<Fiber<>> setters;
        for (std::size_t s = 0; s < 4; ++s) {
            setters.push_back(weft::spawn([&, s] {
                for (std::size_t i = s; i < count; i += 4) {
                    if (i % 7 == 0) weft::this_fiber::yield();
                    p.promises[i].set_value(static_cast<int>(i));
                }
            }));
        }
        if (random() % 2 == 0) weft::this_fiber::yield();
        for (int loops = 0; loops < 3; ++loops) {
            std::vector<int> seen;
            const std::size_t most = loops == 2 ? count : random() % count;
            for (auto& future : as_completed(p.futures)) {
                seen.push_back(future.get());
                if (seen.size() == most) break;
            }
            std::sort(seen.begin(), seen.end());
            CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
            if (loops == 2) CHECK(seen.size() == count);
        }
        weft::join_all(setters);
    };
    on_seeds(seeds, body);
    on_workers([&] {
        for (std::uint64_t seed = 0; seed < seeds; ++seed) body(seed);
    });
}

TEST_CASE("plain threads wait for the next one, too", "[as_completed][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        std::vector<Fiber<int>> fibers;
        for (int i = 0; i < 20; ++i) {
            fibers.push_back(runtime.spawn([i] {
                weft::this_fiber::sleep_for((i % 3) * 1us);
                return i;
            }));
        }
        int sum = 0;
        for (auto& fiber : as_completed(fibers)) sum += fiber.get();
        CHECK(sum == 190);
    }
}

// --- wait ---

TEST_CASE("wait_any returns the first that is done", "[wait]") {
    everywhere([] {
        Promised p{3};
        auto setter = weft::spawn([&] { p.promises[1].set_value(1); });
        CHECK(weft::wait_any(p.futures) == &p.futures[1]);
        CHECK(weft::wait_any(p.futures, 0ms) == &p.futures[1]);
        Promised none{2};
        CHECK(weft::wait_any(none.futures, 1ms) == nullptr);
    });
}

TEST_CASE("wait for all returns when all are done", "[wait]") {
    everywhere([] {
        std::vector<Fiber<int>> fibers;
        for (int i = 0; i < 5; ++i) {
            fibers.push_back(weft::spawn([i] {
                weft::this_fiber::sleep_for((5 - i) * 1us);
                return i;
            }));
        }
        const auto waited = weft::wait(fibers);
        CHECK(waited.not_done().empty());
        int expected = 0;
        for (auto& fiber : waited.done()) CHECK(fiber.get() == expected++);
        CHECK(expected == 5);
    });
}

TEST_CASE("wait for the first returns with one that is done", "[wait]") {
    everywhere([] {
        Promised p{3};
        auto setter = weft::spawn([&] { p.promises[1].set_value(1); });
        const auto waited = weft::wait(p.futures, Until::first_completed);
        CHECK(pointers(waited) == std::vector{&p.futures[1]});
        CHECK(waited.not_done().size() == 2);
        CHECK(&waited.not_done()[0] == &p.futures[0]);
        CHECK(&waited.not_done()[1] == &p.futures[2]);
        CHECK(weft::wait(p.futures, Until::first_completed).done().size() == 1);
    });
}

TEST_CASE("wait for an exception goes on over values and cancellations", "[wait]") {
    everywhere([] {
        Promised p{4};
        auto setter = weft::spawn([&] {
            p.promises[0].set_value(0);
            p.futures[1].cancel();
            weft::this_fiber::sleep_for(1us);
            p.promises[3].set_exception(std::runtime_error{"failed"});
        });
        const auto waited = weft::wait(p.futures, Until::first_exception);
        CHECK(pointers(waited) == std::vector{&p.futures[0], &p.futures[1], &p.futures[3]});
        p.promises[2].set_value(2);
        CHECK(weft::wait(p.futures, Until::first_exception).done().size() >= 3);

        std::vector<Fiber<>> fibers;
        weft::Event never;
        fibers.push_back(weft::spawn([&] { never.wait(); }));
        fibers.push_back(weft::spawn([] { throw std::runtime_error{"failed"}; }));
        fibers.push_back(weft::spawn([&] { never.wait(); }));
        fibers[2].cancel();
        CHECK(weft::wait(fibers, Until::first_exception).not_done().size() >= 1);
        CHECK(fibers[1].done());
        weft::cancel_all(fibers);
        CHECK(weft::wait(fibers).not_done().empty());
        CHECK_THROWS_AS(fibers[1].get(), std::runtime_error);
    });
}

TEST_CASE("wait gives up at its deadline and harms none", "[wait][deadline]") {
    everywhere([] {
        Promised p{2};
        p.promises[0].set_value(0);
        for (const Until until : {Until::all_completed, Until::first_exception}) {
            const auto waited = weft::wait(p.futures, until, 1ms);
            CHECK(pointers(waited) == std::vector{&p.futures[0]});
            CHECK(waited.not_done().size() == 1);
        }
        std::vector<Future<int>> none;
        CHECK(weft::wait(none).done().empty());
        p.promises[1].set_value(1);
    });
}

TEST_CASE("fibers are waited for from aside", "[wait]") {
    everywhere([] {
        std::vector<weft::FiberRef> fibers;
        for (int i = 0; i < 3; ++i) fibers.push_back(weft::spawn([] {}));
        CHECK(weft::wait(fibers, Until::first_exception).done().size() == 3);
        for (const auto& fiber : as_completed(fibers)) CHECK(fiber.done());
    });
}
