// In which order fibers run, and that every worker and every fiber gets its turn.
#include "sched/worker.hpp"

#include "io/probe.hpp"
#include "support/catch.hpp"
#include "support/hand_clock.hpp"
#include "support/journal.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>

using namespace std::chrono_literals;
using weft::detail::Worker;
using weft::test::Environment;
using weft::test::Journal;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

template <class Body>
void on_one_worker(Body&& body) {
    weft::run([&] { body(); }, {.workers = 1});
}

std::string text_of(const Journal<char>& journal) {
    const auto letters = journal.entries();
    return {letters.begin(), letters.end()};
}

std::uint32_t worker_index() { return Worker::current()->index(); }

// Keeps the worker to itself until it is so: what a loop that never waits does.
template <class Condition>
void hog_until(Condition&& condition) {
    while (!condition()) sched_yield();
}

}  // namespace

TEST_CASE("new fibers run in the order of their spawns", "[worker][order]") {
    on_one_worker([] {
        Journal<int> order;
        std::vector<int> expected;
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 200; ++i) {
            expected.push_back(i);
            fibers.push_back(weft::spawn([&order, i] { order.add(i); }));
        }
        CHECK(order.entries().empty());
        weft::join_all(fibers);
        CHECK(order.entries() == expected);
    });
}

TEST_CASE("yield goes to the end of the queue", "[worker][order]") {
    on_one_worker([] {
        Journal<char> order;
        std::vector<weft::Fiber<>> fibers;
        for (const char letter : {'a', 'b', 'c'}) {
            fibers.push_back(weft::spawn([&order, letter] {
                for (int turn = 0; turn < 4; ++turn) {
                    order.add(letter);
                    weft::this_fiber::yield();
                }
            }));
        }
        weft::join_all(fibers);
        CHECK(text_of(order) == "abcabcabcabc");
    });
}

TEST_CASE("fibers that yield get equal turns", "[worker][order]") {
    on_one_worker([] {
        constexpr int count = 10;
        std::vector<std::atomic<int>> turns(count);
        std::atomic<bool> over{false};
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < count; ++i) {
            fibers.push_back(weft::spawn([&, i] {
                while (!over) {
                    ++turns[static_cast<std::size_t>(i)];
                    weft::this_fiber::yield();
                }
            }));
        }
        while (turns[0] < 1000) weft::this_fiber::yield();
        over = true;
        weft::join_all(fibers);
        for (const auto& n : turns) CHECK((n >= 999 && n <= 1001));
    });
}

TEST_CASE("a yield with nobody else to run returns", "[worker]") {
    on_workers([] {
        for (int i = 0; i < 1000; ++i) weft::this_fiber::yield();
    });
}

TEST_CASE("two that keep waking each other do not starve a third", "[worker][order]") {
    on_one_worker([] {
        weft::Semaphore ping{0};
        weft::Semaphore pong{0};
        std::atomic<bool> over{false};
        std::atomic<int> rounds{0};
        auto a = weft::spawn([&] {
            while (!over) {
                ++rounds;
                ping.release();
                pong.acquire();
            }
            ping.release();
        });
        auto b = weft::spawn([&] {
            while (!over) {
                ping.acquire();
                pong.release();
            }
        });
        int rounds_before = -1;
        auto third = weft::spawn([&] {
            for (int turn = 0; turn < 5; ++turn) weft::this_fiber::yield();
            rounds_before = rounds.load();
            over = true;
        });
        third.join();
        CHECK(rounds_before <= 6 * 16);
        a.join();
        b.join();
    });
}

TEST_CASE("a fiber whose operations never wait leaves room for others", "[worker][order]") {
    on_one_worker([] {
        weft::Semaphore plenty{1};
        std::atomic<bool> over{false};
        auto other = weft::spawn([&] { over = true; });
        int operations = 0;
        while (!over) {
            plenty.acquire();
            plenty.release();
            ++operations;
        }
        CHECK(operations <= 1000);
        other.join();
    });
}

TEST_CASE("fibers from outside get their turn among fibers that yield", "[worker][order]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        std::atomic<bool> over{false};
        std::vector<weft::Fiber<>> yielding;
        for (unsigned i = 0; i < 2 * workers; ++i) {
            yielding.push_back(runtime.spawn([&] {
                while (!over) weft::this_fiber::yield();
            }));
        }
        for (int i = 0; i < 20; ++i) runtime.spawn([] {}).join();
        over = true;
        for (auto& fiber : yielding) fiber.join();
    }
}

TEST_CASE("deadlines are served among fibers that yield", "[worker][deadline]") {
    on_workers([] {
        std::atomic<bool> over{false};
        std::vector<weft::Fiber<>> yielding;
        for (int i = 0; i < 20; ++i) {
            yielding.push_back(weft::spawn([&] {
                while (!over) weft::this_fiber::yield();
            }));
        }
        for (int i = 0; i < 20; ++i) weft::this_fiber::sleep_for(100us);
        over = true;
        weft::join_all(yielding);
    });
}

// Goal: who has slept long enough does not queue behind thousands that have not begun.
// Method: one worker, kept busy (not so long that the watchdog would step in) until 2,000 are
// due and 20,000 are spawned: both more than
// its queue holds. Then all new ones count themselves, and who wakes looks at the count.
TEST_CASE("fibers whose time has come go before crowds that have not begun",
          "[worker][order][deadline]") {
    on_one_worker([] {
        constexpr int crowd = weft::test::under_sanitizer ? 5'000 : 20'000;
        std::atomic<int> begun{0};
        std::atomic<int> late{0};
        std::atomic<int> asleep{0};
        const weft::Deadline deadline{50ms};
        const weft::Deadline shortly_before{deadline.at() - 500us};
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 2'000; ++i) {
            fibers.push_back(weft::spawn([&] {
                ++asleep;
                weft::this_fiber::sleep_until(deadline);
                if (begun >= crowd / 2) ++late;
            }));
        }
        while (asleep < 2'000 || !shortly_before.passed()) weft::this_fiber::yield();
        hog_until([&] { return deadline.passed(); });
        for (int i = 0; i < crowd; ++i) fibers.push_back(weft::spawn([&] { ++begun; }));
        weft::join_all(fibers);
        CHECK(begun == crowd);
        CHECK(late < 100);  // one, where the queue happens to be full to the last place
    });
}

// Method: one worker, whose queue a fiber all but fills with fibers of its own and keeps from
// running, while a plain thread spawns ten times as many.
TEST_CASE("what comes from outside does not push those that queue here behind it",
          "[worker][order]") {
    weft::Runtime runtime{{.workers = 1}};
    std::atomic<bool> is_filled{false};
    std::atomic<bool> may_run{false};
    std::atomic<int> from_outside{0};
    std::atomic<int> late{0};
    auto filler = runtime.spawn([&] {
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 1'000; ++i) {
            fibers.push_back(weft::spawn([&] {
                if (from_outside >= 3'000) ++late;
            }));
        }
        is_filled = true;
        hog_until([&] { return may_run.load(); });
        weft::join_all(fibers);
    });
    hog_until([&] { return is_filled.load(); });
    std::vector<weft::Fiber<>> others;
    constexpr int crowd = weft::test::under_sanitizer ? 4'000 : 10'000;
    for (int i = 0; i < crowd; ++i) others.push_back(runtime.spawn([&] { ++from_outside; }));
    may_run = true;
    filler.join();
    for (auto& other : others) other.join();
    CHECK(late == 0);
}

TEST_CASE("pinned fibers that yield do not starve those that are not", "[worker][order][pin]") {
    on_workers([] {
        std::atomic<bool> over{false};
        std::vector<weft::Fiber<>> pinned;
        for (int i = 0; i < 2; ++i) {
            pinned.push_back(weft::spawn(weft::SpawnOptions{.pinned = true}, [&] {
                while (!over) weft::this_fiber::yield();
            }));
        }
        auto other = weft::spawn([&] { over = true; });
        other.join();
        weft::join_all(pinned);
    });
}

TEST_CASE("pinned fibers run in the order of their wake-ups", "[worker][order][pin]") {
    on_one_worker([] {
        Journal<char> order;
        std::vector<weft::Fiber<>> fibers;
        for (const char letter : {'a', 'b', 'c'}) {
            fibers.push_back(weft::spawn(weft::SpawnOptions{.pinned = true}, [&order, letter] {
                for (int turn = 0; turn < 3; ++turn) {
                    order.add(letter);
                    weft::this_fiber::yield();
                }
            }));
        }
        weft::join_all(fibers);
        CHECK(text_of(order) == "abcabcabc");
    });
}

TEST_CASE("a Pin keeps the fiber on its worker, and its end lets it go", "[worker][pin]") {
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    for (const unsigned workers : {2u, 8u}) {
        weft::run(
            [] {
                weft::Semaphore units{0};
                auto giver = weft::spawn([&] {
                    for (int i = 0; i < 200; ++i) {
                        units.release();
                        weft::this_fiber::yield();
                    }
                });
                int moved = 0;
                {
                    const weft::this_fiber::Pin outer;
                    const auto home = worker_index();
                    for (int i = 0; i < 100; ++i) {
                        const weft::this_fiber::Pin inner;
                        units.acquire();
                        moved += worker_index() == home ? 0 : 1;
                    }
                }
                CHECK(moved == 0);
                giver.join();  // a wait outside the scope: forced to another worker
                // Several: a sleep that is over before it began does not wait.
                std::set<std::uint32_t> seen;
                for (int i = 0; i < 1000 && seen.size() < 2; ++i) {
                    weft::this_fiber::sleep_for(10us);
                    seen.insert(worker_index());
                }
                CHECK(seen.size() > 1);
            },
            {.workers = workers});
    }
}

TEST_CASE("as many fibers as there are workers run at the same time", "[worker][parallel]") {
    // Each keeps its worker until all of them run.
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::run(
            [&] {
                std::atomic<unsigned> running{0};
                std::vector<weft::Fiber<std::thread::id>> fibers;
                for (unsigned i = 0; i < workers; ++i) {
                    fibers.push_back(weft::spawn([&] {
                        ++running;
                        hog_until([&] { return running == workers; });
                        return std::this_thread::get_id();
                    }));
                }
                std::set<std::thread::id> threads;
                for (auto& fiber : fibers) threads.insert(fiber.get());
                CHECK(threads.size() == workers);
            },
            {.workers = workers});
    }
}

TEST_CASE("a thousand busy fibers spread over all workers", "[worker][parallel]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::run(
            [&] {
                std::vector<std::atomic<int>> ran(workers);
                std::atomic<unsigned> used{0};
                std::vector<weft::Fiber<>> fibers;
                for (int i = 0; i < 1000; ++i) {
                    fibers.push_back(weft::spawn([&] {
                        if (ran[worker_index()]++ == 0) ++used;
                        // Busy: for a while, or until everybody has some of it.
                        for (int turn = 0; turn < 2000 && used < workers; ++turn) sched_yield();
                    }));
                }
                weft::join_all(fibers);
                CHECK(used == workers);
                int sum = 0;
                for (const auto& n : ran) sum += n;
                CHECK(sum == 1000);
            },
            {.workers = workers});
    }
}

TEST_CASE("a fiber queued behind one that hogs is taken by another worker", "[worker][steal]") {
    for (const unsigned workers : {2u, 8u}) {
        weft::run(
            [] {
                for (int i = 0; i < 20; ++i) {
                    std::atomic<bool> ran{false};
                    auto fiber = weft::spawn([&] { ran = true; });
                    hog_until([&] { return ran.load(); });
                    fiber.join();
                }
            },
            {.workers = workers});
    }
}

TEST_CASE("a fiber woken by one that then hogs is taken by another worker", "[worker][steal]") {
    for (const unsigned workers : {2u, 8u}) {
        weft::run(
            [] {
                for (int i = 0; i < 20; ++i) {
                    weft::Semaphore unit{0};
                    std::atomic<bool> ran{false};
                    auto fiber = weft::spawn([&] {
                        unit.acquire();
                        ran = true;
                    });
                    until_waiting(fiber);
                    unit.release();
                    hog_until([&] { return ran.load(); });
                    fiber.join();
                }
            },
            {.workers = workers});
    }
}

TEST_CASE("a crowd queued behind one that hogs is taken by the others", "[worker][steal]") {
    for (const unsigned workers : {2u, 8u}) {
        weft::run(
            [] {
                std::atomic<int> ran{0};
                std::vector<weft::Fiber<>> fibers;
                for (int i = 0; i < 1000; ++i) fibers.push_back(weft::spawn([&] { ++ran; }));
                hog_until([&] { return ran == 1000; });
                CHECK(weft::Runtime::current().counters().stolen > 0);
                weft::join_all(fibers);
            },
            {.workers = workers});
    }
}

TEST_CASE("more new fibers than a queue holds all run, once", "[worker]") {
    on_workers([] {
        constexpr std::size_t count = 20'000 / (weft::test::under_sanitizer ? 10 : 1);
        std::vector<std::atomic<int>> runs(count);
        std::vector<weft::Fiber<>> fibers;
        for (auto& run : runs) fibers.push_back(weft::spawn([&run] { ++run; }));
        weft::join_all(fibers);
        std::size_t once = 0;
        for (const auto& run : runs) once += run == 1 ? 1 : 0;
        CHECK(once == count);
    });
}

TEST_CASE("fibers that spawn fibers, many levels deep, all run", "[worker]") {
    on_workers([] {
        std::atomic<int> leaves{0};
        struct Tree {
            static void grow(std::atomic<int>& leaves, int depth) {
                if (depth == 0) {
                    ++leaves;
                    return;
                }
                auto left = weft::spawn([&leaves, depth] { grow(leaves, depth - 1); });
                auto right = weft::spawn([&leaves, depth] { grow(leaves, depth - 1); });
                left.join();
                right.join();
            }
        };
        constexpr int depth = weft::test::under_sanitizer ? 8 : 12;
        Tree::grow(leaves, depth);
        CHECK(leaves == 1 << depth);
    });
}

TEST_CASE("a fiber knows itself across thousands of migrations", "[worker][migrate]") {
    // Forced: each wake-up goes to another worker. What a compiler kept of the
    // thread before the wait would belong to a worker that runs somebody else.
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    weft::run(
        [] {
            constexpr int turns = weft::test::under_sanitizer ? 125 : 500;
            std::vector<weft::Fiber<int>> fibers;
            for (int i = 0; i < 32; ++i) {
                fibers.push_back(
                    weft::spawn(weft::SpawnOptions{.name = "fiber " + std::to_string(i)}, [i] {
                        const auto id = weft::this_fiber::id();
                        const auto name = "fiber " + std::to_string(i);
                        int moved = 0;
                        for (int turn = 0; turn < turns; ++turn) {
                            const auto before = worker_index();
                            weft::Semaphore unit{0};
                            auto other = weft::spawn([&] { unit.release(); });
                            unit.acquire();
                            other.join();
                            if (weft::this_fiber::id() != id) return -1;
                            if (weft::this_fiber::name() != name) return -1;
                            moved += worker_index() == before ? 0 : 1;
                        }
                        return moved;
                    }));
            }
            int moved = 0;
            int lost = 0;
            for (auto& fiber : fibers) {
                const int n = fiber.get();
                (n < 0 ? lost : moved) += n;
            }
            CHECK(lost == 0);
            CHECK(moved > 8 * turns);
        },
        {.workers = 8});
}

TEST_CASE("counters tell what was spawned, what has ended and which stacks are in use",
          "[worker]") {
    on_workers([] {
        auto& runtime = weft::Runtime::current();
        const auto before = runtime.counters();
        weft::Event go;
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 50; ++i) fibers.push_back(weft::spawn([&] { go.wait(); }));
        for (auto& fiber : fibers) until_waiting(fiber);
        const auto during = runtime.counters();
        CHECK(during.spawned == before.spawned + 50);
        CHECK(during.finished == before.finished);
        CHECK(during.stacks == before.stacks + 50);
        CHECK(during.switches >= before.switches + 50);
        go.set();
        weft::join_all(fibers);
        // A fiber is joined before its stack is given back.
        while (runtime.counters().finished < before.finished + 50) weft::this_fiber::yield();
        CHECK(runtime.counters().spawned == before.spawned + 50);
    });
}

TEST_CASE("a fiber has company while others are to run and take little time", "[worker]") {
    if (!weft::detail::uring_support()) SKIP("no io_uring here");
    const auto body = [] {
        weft::test::HandClock clock;
        const auto turns = [] {
            int in_company = 0;
            for (int turn = 0; turn < 200; ++turn) {
                weft::this_fiber::yield();
                in_company += Worker::current()->has_company(64) ? 1 : 0;
            }
            return in_company;
        };
        CHECK(turns() == 0);
        std::atomic<bool> over{false};
        std::atomic<bool> computes{false};
        std::atomic<bool> sends{false};
        auto other = weft::spawn([&] {
            while (!over) {
                if (computes) clock.pass(1ms);
                if (sends) {
                    const Worker::OutOfTurn apart;
                    clock.pass(1ms);
                }
                weft::this_fiber::yield();
            }
        });
        turns();
        CHECK(turns() == 200);
        computes = true;
        turns();
        CHECK(turns() == 0);
        computes = false;
        sends = true;  // what it makes at once does not count
        turns();
        CHECK(turns() == 200);
        over = true;
        other.join();
    };
    weft::run(body, {.workers = 1, .io = weft::Io::uring});
}
