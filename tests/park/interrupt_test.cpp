// Timeouts and what is thrown in, on the virtual clock where time is asked for.
#include "park/interrupt.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/semaphore.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::TimedOut;
using weft::Timeout;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

template <class Body>
void on_virtual_clock(Body&& body) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) weft::simulate(seed, body);
}

Deadline::Clock::duration since(Deadline::Clock::time_point start) {
    return weft::detail::now() - start;
}

// A destructor that waits.
struct WaitsAtTheEnd {
    weft::Semaphore& units;
    bool& served;
    ~WaitsAtTheEnd() { served = units.acquire(); }
};

}  // namespace

TEST_CASE("a Timeout ends the wait inside of it, when its time has come", "[timeout]") {
    on_virtual_clock([] {
        const auto start = weft::detail::now();
        weft::Event never;
        Timeout limit{5s};
        bool mine = false;
        try {
            never.wait();
        } catch (const TimedOut& e) {
            mine = e.is(limit);
        }
        CHECK(mine);
        CHECK(limit.expired());
        CHECK(since(start) >= 5s);
        CHECK(since(start) < 6s);
    });
}

TEST_CASE("a Timeout ends a sleep, a join and a Condition's cousins alike", "[timeout]") {
    on_virtual_clock([] {
        weft::Semaphore none{0};
        weft::Event end;
        auto waiter = weft::spawn([&] { end.wait(); });
        CHECK_FALSE(weft::with_timeout(1s, [] { weft::this_fiber::sleep_for(1h); }));
        CHECK_FALSE(weft::with_timeout(1s, [&] { waiter.join(); }));
        CHECK_FALSE(weft::with_timeout(1s, [&] { none.acquire(); }));
        end.set();
        waiter.join();
        none.release();
        CHECK(none.try_acquire());  // who timed out took nothing
    });
}

TEST_CASE("with_timeout returns what was there in time", "[timeout]") {
    on_virtual_clock([] {
        const auto answer = weft::with_timeout(1s, [] {
            weft::this_fiber::sleep_for(10ms);
            return std::string{"in time"};
        });
        CHECK(answer == "in time");
        const auto late = weft::with_timeout(1s, [] {
            weft::this_fiber::sleep_for(2s);
            return 1;
        });
        CHECK_FALSE(late.has_value());
    });
}

TEST_CASE("a Timeout that ended leaves nothing behind", "[timeout]") {
    on_virtual_clock([] {
        { const Timeout limit{1ms}; }
        weft::this_fiber::sleep_for(1s);
        {
            Timeout limit{1ms};
            limit.cancel();
            weft::this_fiber::sleep_for(1s);
            CHECK_FALSE(limit.expired());
        }
        weft::this_fiber::check_cancelled();
    });
}

TEST_CASE("of nested Timeouts each is thrown at its time, and says who it is", "[timeout]") {
    on_virtual_clock([] {
        Timeout outer{3s};
        bool inner_first = false;
        try {
            Timeout inner{1s};
            weft::this_fiber::sleep_for(1h);
        } catch (const TimedOut& e) {
            inner_first = !e.is(outer);
        }
        CHECK(inner_first);
        CHECK_FALSE(outer.expired());

        bool through = false;
        try {
            (void)weft::with_timeout(1h, [] { weft::this_fiber::sleep_for(2h); });
        } catch (const TimedOut& e) {
            through = e.is(outer);
        }
        CHECK(through);
        CHECK(outer.expired());
    });
}

TEST_CASE("a Timeout is thrown once", "[timeout]") {
    on_virtual_clock([] {
        Timeout limit{1s};
        CHECK_THROWS_AS(weft::this_fiber::sleep_for(1h), TimedOut);
        weft::this_fiber::sleep_for(1h);
        weft::this_fiber::check_cancelled();
    });
}

TEST_CASE("a Timeout reaches cancellation points that need not wait", "[timeout]") {
    on_virtual_clock([] {
        weft::Semaphore units{1};
        Timeout limit{Deadline{0ms}};
        CHECK_THROWS_AS(units.acquire(), TimedOut);
        CHECK(units.try_acquire());
    });
}

TEST_CASE("a call's own deadline is an answer inside a later Timeout", "[timeout][deadline]") {
    on_virtual_clock([] {
        weft::Event never;
        Timeout limit{1h};
        CHECK_FALSE(never.wait(1s));
        CHECK_FALSE(limit.expired());
    });
}

TEST_CASE("a Shield and a Lock keep a Timeout off until they are done", "[timeout]") {
    on_virtual_clock([] {
        weft::Lock lock;
        weft::Event go_on;
        auto holder = weft::spawn([&] {
            lock.lock();
            go_on.set();
            weft::this_fiber::sleep_for(1min);
            lock.unlock();
        });
        go_on.wait();
        Timeout limit{1s};
        const auto start = weft::detail::now();
        lock.lock();
        CHECK(since(start) >= 59s);
        lock.unlock();
        {
            const weft::this_fiber::Shield shield;
            weft::this_fiber::sleep_for(1s);
        }
        CHECK_THROWS_AS(weft::this_fiber::check_cancelled(), TimedOut);
        holder.join();
    });
}

TEST_CASE("a Timeout works on a plain thread", "[timeout][thread]") {
    weft::Event never;
    bool mine = false;
    std::thread{[&] {
        Timeout limit{1ms};
        try {
            never.wait();
        } catch (const TimedOut& e) {
            mine = e.is(limit);
        }
    }}.join();
    CHECK(mine);
}

TEST_CASE("Cancelled goes before a Timeout that is due as well", "[timeout][cancel]") {
    on_virtual_clock([] {
        bool cancelled = false;
        auto fiber = weft::spawn([&] {
            Timeout limit{1s};
            try {
                const weft::this_fiber::Shield shield;
                weft::this_fiber::sleep_for(2s);
            } catch (...) {
            }
            try {
                weft::this_fiber::check_cancelled();
            } catch (const weft::Cancelled&) {
                cancelled = true;
                throw;
            }
        });
        weft::this_fiber::sleep_for(1500ms);
        fiber.cancel();
        fiber.join();
        CHECK(cancelled);
    });
}

TEST_CASE("what is thrown in ends the wait, once", "[throw_in]") {
    on_workers([] {
        weft::Semaphore units{0};
        std::string caught;
        auto fiber = weft::spawn([&] {
            try {
                units.acquire();
            } catch (const std::runtime_error& e) {
                caught = e.what();
            }
            units.acquire();
        });
        until_waiting(fiber);
        fiber.throw_in(std::runtime_error{"from outside"});
        units.release();  // goes to the second acquire, or comes before the exception did
        fiber.join(1h);
        CHECK(caught == "from outside");
    });
}

TEST_CASE("exceptions thrown in come one by one, in order", "[throw_in]") {
    on_virtual_clock([] {
        std::vector<int> order;
        weft::Event shielded;
        weft::Event start;
        auto fiber = weft::spawn([&] {
            {
                const weft::this_fiber::Shield shield;
                shielded.set();
                start.wait();
            }
            for (int i = 0; i < 3; ++i) {
                try {
                    weft::this_fiber::check_cancelled();
                } catch (int n) {
                    order.push_back(n);
                }
            }
            weft::this_fiber::check_cancelled();
        });
        shielded.wait();
        for (int i = 1; i <= 3; ++i) fiber.throw_in(i);
        start.set();
        fiber.get();
        CHECK(order == std::vector<int>{1, 2, 3});
    });
}

// On a stack of the usual size, which must do to destroy them.
TEST_CASE("a hundred thousand exceptions are thrown into a fiber that never looks", "[throw_in]") {
    on_workers([] {
        weft::spawn([] {
            weft::Event go;
            auto fiber = weft::spawn([&] {
                const weft::this_fiber::Shield shield;
                go.wait();
            });
            until_waiting(fiber);
            const std::exception_ptr error = std::make_exception_ptr(1);
            for (int i = 0; i < 100'000; ++i) fiber.throw_in(error);
            go.set();
            CHECK_NOTHROW(fiber.get());
        }).get();
    });
}

TEST_CASE("Cancelled goes before what was thrown in earlier, and stays", "[throw_in][cancel]") {
    on_virtual_clock([] {
        weft::Event shielded;
        weft::Event start;
        int cancelled = 0;
        auto fiber = weft::spawn([&] {
            {
                const weft::this_fiber::Shield shield;
                shielded.set();
                start.wait();
            }
            for (int i = 0; i < 3; ++i) {
                try {
                    weft::this_fiber::check_cancelled();
                } catch (const weft::Cancelled&) {
                    ++cancelled;
                }
            }
        });
        shielded.wait();
        fiber.throw_in(1);
        fiber.cancel();
        start.set();
        CHECK_NOTHROW(fiber.get());
        CHECK(cancelled == 3);
    });
}

TEST_CASE("a fiber that never started ends with what was thrown in", "[throw_in]") {
    weft::run(
        [] {
            bool ran = false;
            auto fiber = weft::spawn([&] { ran = true; });
            fiber.throw_in(std::logic_error{"not at all"});
            CHECK_THROWS_AS(fiber.get(), std::logic_error);
            CHECK_FALSE(ran);
        },
        {.workers = 1});
}

TEST_CASE("throwing into a fiber that has ended does nothing", "[throw_in]") {
    on_workers([] {
        auto fiber = weft::spawn([] {});
        fiber.join();
        fiber.throw_in(1);
        fiber.get();
    });
}

TEST_CASE("of throw_in and notify both arrive, in whatever order", "[throw_in][race]") {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        weft::simulate(seed, [] {
            weft::Semaphore units{0};
            weft::Event started;
            int thrown = 0;
            int served = 0;
            auto fiber = weft::spawn([&] {
                started.set();
                while (thrown < 3 || served < 3) {
                    try {
                        units.acquire();
                        ++served;
                    } catch (int) {
                        ++thrown;
                    }
                }
            });
            started.wait();
            auto thrower = weft::spawn([&] {
                for (int i = 0; i < 3; ++i) {
                    fiber.throw_in(i);
                    weft::this_fiber::yield();
                }
            });
            for (int i = 0; i < 3; ++i) {
                units.release();
                weft::this_fiber::yield();
            }
            thrower.join();
            fiber.get();
            CHECK(thrown == 3);
            CHECK(served == 3);
        });
    }
}

TEST_CASE("plain threads throw in while the fiber begins and ends waits", "[throw_in][thread]") {
    static constexpr int count = weft::test::under_sanitizer ? 200 : 2000;
    on_workers([] {
        weft::Semaphore units{0};
        weft::Event started;
        int thrown = 0;
        auto fiber = weft::spawn([&] {
            started.set();
            while (thrown < count) {
                try {
                    units.acquire(Deadline{20us});
                } catch (int) {
                    ++thrown;
                }
            }
        });
        started.wait();
        std::thread{[&] {
            for (int i = 0; i < count; ++i) fiber.throw_in(i);
        }}.join();
        fiber.get();
        CHECK(thrown == count);
    });
}

TEST_CASE("nothing is thrown into a fiber that unwinds", "[cancel][unwinding]") {
    on_workers([] {
        weft::Semaphore units{0};
        weft::Semaphore before{0};
        bool served = false;
        auto fiber = weft::spawn([&] {
            const WaitsAtTheEnd guard{units, served};
            before.acquire();  // ends by the cancellation: the guard waits while it unwinds
        });
        until_waiting(fiber);
        fiber.cancel();
        CHECK_FALSE(fiber.join(Deadline{1ms}));
        units.release();
        fiber.join();
        CHECK(served);
    });
}

// In one worker's order of timers: who throws in runs when the Timeout has ended
// the wait, and before the waiter does.
TEST_CASE("a Timeout called off or moved is not thrown, though it had ended a wait",
          "[timeout][throw_in]") {
    for (const Deadline::Clock::duration more : {Deadline::Clock::duration::max(), 1h + 0ns}) {
        weft::simulate(1,
                       [&] {
                           weft::Event never;
                           weft::Fiber<bool> waiter;
                           const auto at = weft::detail::now() + 10ms;
                           auto thrower = weft::spawn([&] {
                               weft::this_fiber::sleep_until(at);
                               waiter.throw_in(std::runtime_error{"first"});
                           });
                           until_waiting(thrower);
                           waiter = weft::spawn([&] {
                               Timeout limit{at};
                               try {
                                   never.wait();
                               } catch (const std::runtime_error&) {
                                   limit.restart(more);
                                   weft::this_fiber::sleep_for(1ms);
                                   return true;
                               }
                               return false;
                           });
                           CHECK(waiter.get());
                       },
                       {.workers = 1});
    }
}

TEST_CASE("a Timeout that was thrown is known again after it was called off", "[timeout]") {
    on_virtual_clock([] {
        weft::Event never;
        Timeout limit{1s};
        try {
            never.wait();
        } catch (const TimedOut& e) {
            limit.cancel();
            limit.restart(1h);
            CHECK(e.is(limit));
        }
        CHECK(limit.expired());
    });
}

TEST_CASE("nothing is not thrown in", "[throw_in]") {
    on_workers([] {
        weft::Event end;
        auto fiber = weft::spawn([&] { end.wait(); });
        until_waiting(fiber);
        CHECK_THROWS_AS(fiber.throw_in(std::exception_ptr{}), std::invalid_argument);
        end.set();
        fiber.get();
    });
}
