// What task_group.hpp promises, each promise once. What of it Trio's and asyncio's suites
// ask, and where it is asked here, is in README.md.
#include "support/catch.hpp"
#include "support/everywhere.hpp"
#include "support/journal.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/as_completed.hpp>
#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber_ref.hpp>
#include <weft/semaphore.hpp>
#include <weft/stop_token.hpp>
#include <weft/task_group.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::task_group;
using weft::TaskGroup;
using weft::test::everywhere;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::seeds;
using weft::test::until_waiting;

namespace {

void wait_for_ever() { weft::this_fiber::sleep_until(weft::Deadline::never()); }

/// Waits until it is cancelled, and counts that.
struct UntilCancelled {
    std::atomic<int>& count;
    void operator()() const {
        try {
            wait_for_ever();
        } catch (const weft::Cancelled&) {
            ++count;
            throw;
        }
    }
};

std::atomic<int> reports{0};
void count_report(std::uint64_t, std::string_view, std::exception_ptr) { ++reports; }

}  // namespace

TEST_CASE("the scope ends when its children have ended", "[task_group]") {
    everywhere([] {
        std::atomic<int> ended{0};
        std::vector<weft::Fiber<>> handles;
        task_group([&](TaskGroup& group) {
            for (int i = 0; i < 10; ++i) {
                handles.push_back(group.start_soon([&, i] {
                    weft::this_fiber::sleep_for(i * 1us);
                    ++ended;
                }));
            }
            CHECK(group.size() > 0);
        });
        CHECK(ended == 10);
        for (auto& handle : handles) CHECK(handle.done());
    });
}

TEST_CASE("a group returns what its body returns, after the children", "[task_group]") {
    everywhere([] {
        int child = 0;
        const auto result = task_group([&](TaskGroup& group) {
            group.start_soon([&] {
                weft::this_fiber::yield();
                child = 1;
            });
            return std::make_unique<int>(5);
        });
        CHECK(*result == 5);
        CHECK(child == 1);
        task_group([](TaskGroup&) {});
    });
}

TEST_CASE("results are taken by the handles, in order", "[task_group]") {
    everywhere([] {
        std::vector<weft::Fiber<int>> squares;
        task_group([&](TaskGroup& group) {
            for (int i = 0; i < 5; ++i) {
                squares.push_back(group.start_soon([](int n) { return n * n; }, i));
            }
            CHECK(squares[2].get() == 4);
        });
        int i = 0;
        for (auto& square : weft::as_completed(squares)) i += square.done() ? 1 : 0;
        CHECK(i == 5);
        CHECK(squares[4].get() == 16);
    });
}

TEST_CASE("children may start others, which end before the scope, too", "[task_group]") {
    everywhere([] {
        std::atomic<int> ended{0};
        task_group([&](TaskGroup& group) {
            group.start_soon([&] {
                weft::this_fiber::yield();
                for (int i = 0; i < 3; ++i) {
                    group.start_soon([&] {
                        weft::this_fiber::sleep_for(1us);
                        ++ended;
                    });
                }
            });
        });
        CHECK(ended == 3);
    });
}

TEST_CASE("what a child has captured is gone when the scope ends", "[task_group]") {
    everywhere([] {
        const auto shared = std::make_shared<int>(1);
        const auto body = [&](TaskGroup& group) {
            for (int i = 0; i < 5; ++i) group.start_soon([shared] { weft::this_fiber::yield(); });
            group.start_soon([shared] { wait_for_ever(); });
            group.cancel();
            group.start_soon([shared] { FAIL("it runs"); });
            throw 1;
        };
        CHECK_THROWS_AS(task_group(body), int);
        CHECK(shared.use_count() == 1);
    });
}

// --- failures ---

TEST_CASE("the first failure cancels the siblings and the body, and is thrown",
          "[task_group][failure]") {
    everywhere([] {
        std::atomic<int> cancelled{0};
        bool body_cancelled = false;
        const auto body = [&](TaskGroup& group) {
            for (int i = 0; i < 3; ++i) group.start_soon(UntilCancelled{cancelled});
            weft::this_fiber::sleep_for(1us);
            group.start_soon([] { throw std::runtime_error{"failed"}; });
            try {
                wait_for_ever();
            } catch (const weft::Cancelled&) {
                body_cancelled = true;
                throw;
            }
        };
        CHECK_THROWS_WITH(task_group(body), "failed");
        CHECK(body_cancelled);
        CHECK(cancelled <= 3);
        weft::this_fiber::check_cancelled();
        weft::this_fiber::sleep_for(1us);
    });
}

TEST_CASE("a failure of the body cancels the children", "[task_group][failure]") {
    everywhere([] {
        std::atomic<int> cancelled{0};
        CHECK_THROWS_WITH(task_group([&](TaskGroup& group) {
                              auto child = group.start_soon(UntilCancelled{cancelled});
                              until_waiting(child);
                              throw std::runtime_error{"the body's"};
                          }),
                          "the body's");
        CHECK(cancelled == 1);
    });
}

TEST_CASE("a failure that comes while the body ends is thrown all the same",
          "[task_group][failure]") {
    everywhere([] {
        weft::Event go;
        CHECK_THROWS_WITH(task_group([&](TaskGroup& group) {
                              group.start_soon([&] {
                                  go.wait();
                                  throw std::runtime_error{"late"};
                              });
                              go.set();
                              return 1;
                          }),
                          "late");
        weft::this_fiber::sleep_for(1us);
    });
}

TEST_CASE("an interruption the body has no time for does not outlast the group",
          "[task_group][failure]") {
    everywhere([] {
        CHECK_THROWS_WITH(task_group([&](TaskGroup& group) {
                              auto child =
                                  group.start_soon([] { throw std::runtime_error{"first"}; });
                              {
                                  const weft::this_fiber::Shield shield;
                                  child.join();
                              }
                              throw std::logic_error{"second"};
                          }),
                          "first");
        weft::this_fiber::check_cancelled();
        weft::this_fiber::sleep_for(1us);
    });
}

TEST_CASE("a body that swallows the interruption is waited for", "[task_group][failure]") {
    everywhere([] {
        bool went_on = false;
        CHECK_THROWS_WITH(task_group([&](TaskGroup& group) {
                              group.start_soon([] { throw std::runtime_error{"failed"}; });
                              try {
                                  wait_for_ever();
                              } catch (const weft::Cancelled&) {
                              }
                              weft::this_fiber::sleep_for(1us);
                              went_on = true;
                          }),
                          "failed");
        CHECK(went_on);
    });
}

TEST_CASE("a failure's handle throws it, too, and nothing is reported twice",
          "[task_group][failure]") {
    reports = 0;
    weft::run(
        [] {
            weft::Fiber<> kept;
            CHECK_THROWS_AS(task_group([&](TaskGroup& group) {
                                kept = group.start_soon([] { throw std::runtime_error{"one"}; });
                            }),
                            std::runtime_error);
            CHECK_THROWS_WITH(kept.get(), "one");
            CHECK_THROWS_AS(
                task_group([](TaskGroup& group) { group.start_soon([] { throw 1; }).detach(); }),
                int);
        },
        {.on_unhandled = &count_report});
    CHECK(reports == 0);
}

TEST_CASE("failures are collected in order, and those nobody saw reported",
          "[task_group][failure]") {
    reports = 0;
    weft::Event all_began;
    const auto fail_together = [&](TaskGroup& group) {
        all_began.clear();
        weft::Fiber<> before = group.start_soon([&] {
            const weft::this_fiber::Shield shield;
            all_began.wait();
            throw 0;
        });
        until_waiting(before);
        for (int i = 1; i < 3; ++i) {
            weft::FiberRef previous = before;
            before = group.start_soon([i, previous] {
                const weft::this_fiber::Shield shield;
                previous.join();
                throw i;
            });
            until_waiting(before);
        }
        all_began.set();
    };
    weft::run(
        [&] {
            TaskGroup group;
            fail_together(group);
            CHECK_THROWS_AS(group.join(), int);
            REQUIRE(group.failures() == 3);
            for (std::size_t i = 0; i < 3; ++i) {
                try {
                    std::rethrow_exception(group.failure(i));
                } catch (int failed) {
                    CHECK(failed == static_cast<int>(i));
                }
            }
        },
        {.on_unhandled = &count_report});
    CHECK(reports == 0);
    weft::run([&] { CHECK_THROWS_AS(task_group(fail_together), int); },
              {.on_unhandled = &count_report});
    CHECK(reports == 2);
}

TEST_CASE("a child that is cancelled by its handle is no failure", "[task_group][cancel]") {
    everywhere([] {
        int ended = 0;
        task_group([&](TaskGroup& group) {
            auto child = group.start_soon(wait_for_ever);
            group.start_soon([&] {
                weft::this_fiber::sleep_for(1ms);
                ended = 1;
            });
            child.cancel();
            CHECK_THROWS_AS(child.get(), weft::Cancelled);
        });
        CHECK(ended == 1);
    });
}

// --- cancellation and time limits ---

TEST_CASE("a group that is cancelled ends its children and its body, and is no failure",
          "[task_group][cancel]") {
    everywhere([] {
        std::atomic<int> cancelled{0};
        task_group([&](TaskGroup& group) {
            auto first = group.start_soon(UntilCancelled{cancelled});
            auto second = group.start_soon(UntilCancelled{cancelled});
            until_waiting(first);
            until_waiting(second);
            CHECK_FALSE(group.cancelled());
            group.cancel();
            group.cancel();
            CHECK(group.cancelled());
            wait_for_ever();
        });
        CHECK(cancelled == 2);
        weft::this_fiber::sleep_for(1us);
        CHECK_THROWS_AS(task_group([](TaskGroup& group) {
                            group.cancel();
                            wait_for_ever();
                            return 1;
                        }),
                        weft::Cancelled);
    });
}

TEST_CASE("a cancelled group ends a body that waits for a child's result, and is no failure",
          "[task_group][cancel]") {
    on_workers([] {
        std::atomic<bool> body_ended{false};
        std::optional<std::stop_callback<std::function<void()>>> hold_up;
        std::thread canceller;
        task_group([&](TaskGroup& group) {
            // Who cancels comes to the child first, then to its sibling, and there waits.
            auto sibling = group.start_soon(wait_for_ever);
            auto child = group.start_soon(wait_for_ever);
            until_waiting(child);
            hold_up.emplace(weft::stop_token_of(sibling), [&] {
                while (!body_ended) std::this_thread::yield();
            });
            canceller = std::thread{[&] { group.cancel(); }};
            struct AtEnd {
                ~AtEnd() { ended = true; }
                std::atomic<bool>& ended;
            } at_end{body_ended};
            child.get();
        });
        canceller.join();
    });
}

TEST_CASE("a cancellation from outside ends the children first", "[task_group][cancel]") {
    everywhere([] {
        std::atomic<int> cancelled{0};
        weft::Event ready;
        auto fiber = weft::spawn([&] {
            task_group([&](TaskGroup& group) {
                auto child = group.start_soon(UntilCancelled{cancelled});
                until_waiting(child);
                ready.set();
            });
            FAIL("the group has returned");
        });
        ready.wait();
        fiber.cancel();
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        CHECK(cancelled == 1);
    });
}

TEST_CASE("a time limit around a group is one for its children", "[task_group][timeout]") {
    // In virtual time, where the children have begun before it passes.
    on_seeds(seeds, [](std::uint64_t) {
        std::atomic<int> cancelled{0};
        const auto late = [&](auto&& rest) {
            return weft::with_timeout(1ms, [&] {
                task_group([&](TaskGroup& group) {
                    group.start_soon(UntilCancelled{cancelled});
                    rest();
                });
            });
        };
        CHECK_FALSE(late([] {}));
        CHECK_FALSE(late(wait_for_ever));
        CHECK(cancelled == 2);
        weft::this_fiber::sleep_for(1us);
    });
}

TEST_CASE("children that shield themselves are waited for", "[task_group][cancel]") {
    everywhere([] {
        int ended = 0;
        auto fiber = weft::spawn([&] {
            task_group([&](TaskGroup& group) {
                auto child = group.start_soon([&] {
                    const weft::this_fiber::Shield shield;
                    weft::this_fiber::sleep_for(1ms);
                    ended = 1;
                });
                until_waiting(child);
                weft::current().cancel();
            });
        });
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        CHECK(ended == 1);
    });
}

TEST_CASE("an inner group's failure stays inside, if it is caught there", "[task_group][nested]") {
    everywhere([] {
        int ended = 0;
        task_group([&](TaskGroup& outer) {
            outer.start_soon([&] {
                weft::this_fiber::sleep_for(2ms);
                ++ended;
            });
            CHECK_THROWS_AS(task_group([](TaskGroup& inner) {
                                inner.start_soon([] { throw 1; });
                                wait_for_ever();
                            }),
                            int);
            weft::this_fiber::sleep_for(1us);
            CHECK_FALSE(outer.cancelled());
        });
        CHECK(ended == 1);
    });
}

TEST_CASE("an outer group's failure ends the inner one", "[task_group][nested]") {
    everywhere([] {
        std::atomic<int> cancelled{0};
        CHECK_THROWS_WITH(task_group([&](TaskGroup& outer) {
                              weft::Event ready;
                              outer.start_soon([&] {
                                  ready.wait();
                                  throw std::runtime_error{"outer"};
                              });
                              task_group([&](TaskGroup& inner) {
                                  auto child = inner.start_soon(UntilCancelled{cancelled});
                                  until_waiting(child);
                                  ready.set();
                                  wait_for_ever();
                              });
                              FAIL("the inner group has returned");
                          }),
                          "outer");
        CHECK(cancelled == 1);
    });
}

TEST_CASE("both groups' failures are known when both fail", "[task_group][nested]") {
    everywhere([] {
        CHECK_THROWS_WITH(task_group([&](TaskGroup& outer) {
                              outer.start_soon([] {
                                  weft::this_fiber::sleep_for(1us);
                                  throw std::runtime_error{"failed"};
                              });
                              task_group([&](TaskGroup& inner) {
                                  inner.start_soon([] { wait_for_ever(); });
                                  wait_for_ever();
                              });
                          }),
                          "failed");
    });
}

TEST_CASE("a child gets a stop_token, and a stop_token cancels a group",
          "[task_group][stop_token]") {
    everywhere([] {
        std::atomic<int> stopped{0};
        task_group([&](TaskGroup& group) {
            auto child = group.start_soon([&](std::stop_token token) {
                try {
                    wait_for_ever();
                } catch (const weft::Cancelled&) {
                    while (!token.stop_requested()) weft::this_fiber::yield();
                    stopped = 1;
                    throw;
                }
            });
            until_waiting(child);
            std::stop_source source;
            const std::stop_callback stop{source.get_token(), [&] { group.cancel(); }};
            source.request_stop();
        });
        CHECK(stopped == 1);
    });
}

TEST_CASE("a group is cancelled by a plain thread", "[task_group][thread]") {
    on_workers([] {
        std::thread canceller;
        task_group([&](TaskGroup& group) {
            for (int i = 0; i < 5; ++i) group.start_soon(wait_for_ever);
            canceller = std::thread{[&] { group.cancel(); }};
        });
        canceller.join();
    });
}

// --- as an object ---

TEST_CASE("a group as an object is joined, and closed by it", "[task_group][object]") {
    everywhere([] {
        TaskGroup group;
        int ran = 0;
        group.start_soon([&] { ran = 1; });
        group.join();
        CHECK(ran == 1);
        CHECK(group.size() == 0);
        CHECK(group.failures() == 0);
        CHECK_THROWS_AS(group.start_soon([] {}), std::logic_error);
        group.join();
        group.cancel();
    });
    CHECK_THROWS_AS(TaskGroup{}, std::logic_error);
}

TEST_CASE("a group that is dropped cancels its children and waits for them",
          "[task_group][object]") {
    everywhere([] {
        std::atomic<int> cancelled{0};
        try {
            TaskGroup group;
            auto child = group.start_soon(UntilCancelled{cancelled});
            until_waiting(child);
            throw 1;
        } catch (int) {
        }
        CHECK(cancelled == 1);
    });
}

TEST_CASE("a group as an object does not interrupt its owner", "[task_group][object]") {
    everywhere([] {
        TaskGroup group;
        auto child = group.start_soon([] { throw std::runtime_error{"failed"}; });
        child.join();
        weft::this_fiber::sleep_for(1us);
        CHECK_THROWS_WITH(group.join(), "failed");
        auto other = weft::spawn([&] { group.join(); });
        CHECK_THROWS_AS(other.get(), std::logic_error);
    });
}

TEST_CASE("groups of groups that fail and are cancelled at random leave nothing",
          "[task_group][stress]") {
    const auto body = [](std::uint64_t seed) {
        std::atomic<int> alive{0};
        struct Alive {
            explicit Alive(std::atomic<int>& n) : count{n} { ++count; }
            ~Alive() { --count; }
            std::atomic<int>& count;
        };
        const auto leaf = [&](std::uint64_t chance) {
            const Alive me{alive};
            weft::this_fiber::sleep_for(chance % 5 * 1us);
            if (chance % 11 == 0) throw static_cast<int>(chance);
        };
        auto fiber = weft::spawn([&] {
            const int before = alive;
            try {
                task_group([&](TaskGroup& outer) {
                    std::mt19937_64 random{seed};
                    for (int i = 0; i < 4; ++i) {
                        const auto s = random();
                        outer.start_soon([&, s] {
                            std::mt19937_64 mine{s};
                            task_group([&](TaskGroup& inner) {
                                for (int k = 0; k < 4; ++k) inner.start_soon(leaf, mine());
                                if (mine() % 13 == 0) inner.cancel();
                                weft::this_fiber::sleep_for(mine() % 4 * 1us);
                            });
                        });
                    }
                    weft::this_fiber::sleep_for(random() % 4 * 1us);
                });
            } catch (int) {
            }
            CHECK(alive == before);
        });
        if (seed % 3 == 0) {
            weft::this_fiber::sleep_for(2us);
            fiber.cancel();
        }
        fiber.join();
        CHECK(alive == 0);
    };
    const auto run_quietly = [&](unsigned workers) {
        weft::run(
            [&] {
                for (std::uint64_t seed = 0; seed < seeds; ++seed) body(seed);
            },
            {.workers = workers, .on_unhandled = &count_report});
    };
    for (const unsigned workers : {1u, 2u, 8u}) run_quietly(workers);
}
