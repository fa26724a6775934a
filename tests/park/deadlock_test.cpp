// Cycles of waits: found when they close, told once, and never seen where there is none.
#include <weft/deadlock.hpp>

#include "base/random.hpp"
#include "base/sync.hpp"
#include "park/deadlock.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/condition.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/once.hpp>
#include <weft/rlock.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_lock.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <barrier>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Catch::Contains;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

// For simulate(), too, which has no such option.
const bool watched = (weft::detail::watch_cycles(), true);

constexpr std::uint64_t seeds = weft::test::under_sanitizer ? 40 : 300;

// All hold their left lock before any asks for its right one: one cycle, always.
int throws_at_full_table(unsigned count) {
    std::deque<weft::Lock> forks(count);
    weft::Semaphore seated{0};
    weft::Event all_seated;
    std::atomic<int> thrown{0};
    std::vector<weft::Fiber<>> philosophers;
    for (unsigned i = 0; i < count; ++i) {
        philosophers.push_back(weft::spawn([&, i] {
            const std::lock_guard left{forks[i]};
            seated.release();
            all_seated.wait();
            try {
                const std::lock_guard right{forks[(i + 1) % count]};
            } catch (const weft::Deadlock&) {
                ++thrown;
            }
        }));
    }
    for (unsigned i = 0; i < count; ++i) seated.acquire();
    all_seated.set();
    weft::join_all(philosophers);
    return thrown;
}

// Rounds in which cycles may or may not come about. Returns the meals eaten.
int dine(unsigned count, int rounds, std::uint64_t seed) {
    std::deque<weft::Lock> forks(count);
    std::atomic<int> meals{0};
    std::vector<weft::Fiber<>> philosophers;
    for (unsigned i = 0; i < count; ++i) {
        philosophers.push_back(weft::spawn([&, i] {
            weft::detail::Random random{seed * 64 + i};
            for (int round = 0; round < rounds;) {
                try {
                    const std::lock_guard left{forks[i]};
                    if (random.below(2) == 0) weft::this_fiber::yield();
                    const std::lock_guard right{forks[(i + 1) % count]};
                    ++meals;
                    ++round;
                } catch (const weft::Deadlock&) {
                    weft::this_fiber::yield();
                }
            }
        }));
    }
    weft::join_all(philosophers);
    return meals;
}

// Nested in one order, with joins of fibers that lock further inside, with
// conditions, and with try_lock() and deadlines against the order.
class InOrder {
public:
    explicit InOrder(std::uint64_t seed) : seed_{seed} {}

    // False alarms come out of get().
    void operator()(unsigned fibers, int rounds) {
        std::vector<weft::Fiber<>> all;
        for (unsigned i = 0; i < fibers; ++i) {
            all.push_back(weft::spawn([this, i, rounds] {
                weft::detail::Random random{seed_ * 64 + i};
                for (int round = 0; round < rounds; ++round) once(random);
            }));
        }
        for (auto& fiber : all) fiber.get();
    }

private:
    static constexpr std::uint32_t count = 5;

    void once(weft::detail::Random& random) {
        switch (random.below(5)) {
            case 0: return nest(random, 0);
            case 1: return hand_over_hand();
            case 2: return join_inside(random);
            case 3: return with_condition();
            default: return against(random);
        }
    }
    void nest(weft::detail::Random& random, std::uint32_t from) {
        const std::uint32_t next = from + random.below(3);
        if (next >= count) return;
        const std::lock_guard hold{locks_[next]};
        if (random.below(3) == 0) weft::this_fiber::yield();
        nest(random, next + 1);
    }
    void hand_over_hand() {
        std::unique_lock outer{locks_[0]};
        for (std::uint32_t i = 1; i < count; ++i) {
            std::unique_lock inner{locks_[i]};
            outer = std::move(inner);
        }
    }
    void join_inside(weft::detail::Random& random) {
        const std::lock_guard hold{locks_[1]};
        const auto seed = random.below(1000);
        auto inner = weft::spawn([this, seed] {
            weft::detail::Random own{seed};
            nest(own, 2);
        });
        inner.get();
    }
    void with_condition() {
        const std::lock_guard hold{locks_[0]};
        std::unique_lock last{locks_[count - 1]};
        changed_.notify_all();
        changed_.wait(locks_[count - 1], 10us);
    }
    void against(weft::detail::Random& random) {
        const std::lock_guard hold{locks_[3]};
        weft::Lock& other = locks_[random.below(3)];
        const bool locked = random.below(2) == 0 ? other.try_lock() : other.try_lock_for(10us);
        if (locked) other.unlock();
    }

    const std::uint64_t seed_;
    weft::Lock locks_[count];
    weft::Condition changed_;
};

}  // namespace

TEST_CASE("the lock() that closes a cycle throws, and tells who waits for what", "[deadlock]") {
    on_workers([] {
        weft::Lock left;
        weft::Lock right;
        weft::Event left_held;
        std::string report;
        auto other = weft::spawn(weft::SpawnOptions{.name = "other"}, [&] {
            const std::lock_guard hold{left};
            left_held.set();
            const std::lock_guard also{right};
        });
        {
            const std::lock_guard hold{right};
            left_held.wait();
            until_waiting(other);
            try {
                left.lock();
                FAIL("locked");
            } catch (const weft::Deadlock& deadlock) {
                report = deadlock.what();
            }
        }
        other.get();
        INFO(report);
        CHECK_THAT(report, Contains("a cycle of 2") && Contains("\"main\"") &&
                               Contains("\"other\"") && Contains("waits: Lock::lock 0x") &&
                               Contains("held by fiber " + std::to_string(other.id())));
        // Everything is as it was.
        CHECK(left.try_lock());
        CHECK(right.try_lock());
        left.unlock();
        right.unlock();
    });
}

TEST_CASE("joins close cycles, too", "[deadlock]") {
    on_workers([] {
        weft::Lock lock;
        std::atomic<int> thrown{0};
        const auto told = [&](auto&& wait) {
            try {
                wait();
            } catch (const weft::Deadlock&) {
                ++thrown;
            }
        };
        weft::Event ready;
        auto last = weft::spawn([&] {
            ready.wait();
            told([&] { const std::lock_guard hold{lock}; });
        });
        auto middle = weft::spawn([&] { told([&] { last.join(); }); });
        {
            const std::lock_guard hold{lock};
            ready.set();
            told([&] { middle.join(); });
        }
        middle.get();
        last.get();
        CHECK(thrown == 1);
    });
}

TEST_CASE("who holds a SharedLock to write can close a cycle, and an RLock's holder",
          "[deadlock]") {
    on_workers([] {
        weft::SharedLock shared;
        weft::RLock again;
        weft::Event held;
        std::atomic<int> thrown{0};
        auto other = weft::spawn([&] {
            const std::lock_guard hold{shared};
            held.set();
            try {
                const std::lock_guard also{again};
            } catch (const weft::Deadlock&) {
                ++thrown;
            }
        });
        {
            const std::lock_guard once{again};
            const std::lock_guard twice{again};
            held.wait();
            try {
                const std::shared_lock read{shared};
            } catch (const weft::Deadlock&) {
                ++thrown;
            }
        }
        other.get();
        CHECK(thrown == 1);
        CHECK(shared.try_lock());
        shared.unlock();
    });
}

TEST_CASE("who is at a Once can close a cycle", "[deadlock]") {
    on_workers([] {
        weft::Once once;
        weft::Lock lock;
        std::string report;
        weft::Event begun;
        auto runner = weft::spawn(weft::SpawnOptions{.name = "runner"}, [&] {
            once.call([&] {
                begun.set();
                const std::lock_guard hold{lock};
            });
        });
        {
            const std::lock_guard hold{lock};
            begun.wait();
            until_waiting(runner);
            try {
                once.call([] {});
            } catch (const weft::Deadlock& deadlock) {
                report = deadlock.what();
            }
        }
        runner.get();
        INFO(report);
        CHECK_THAT(report, Contains("waits: Once::call 0x") &&
                               Contains("held by fiber " + std::to_string(runner.id())));
        CHECK(once.done());
    });
}

TEST_CASE("a report tells a Lock from an RLock", "[deadlock]") {
    on_workers([] {
        weft::RLock again;
        weft::Lock plain;
        weft::Condition changed;
        std::string report;
        weft::Event held;
        auto other = weft::spawn([&] {
            const std::lock_guard hold{plain};
            held.set();
            const std::lock_guard also{again};
        });
        {
            const std::lock_guard hold{again};
            held.wait();
            until_waiting(other);
            try {
                const std::lock_guard also{plain};
            } catch (const weft::Deadlock& deadlock) {
                report = deadlock.what();
            }
        }
        other.get();
        INFO(report);
        CHECK_THAT(report, Contains("waits: Lock::lock 0x") && Contains("waits: RLock::lock 0x"));
    });
}

TEST_CASE("a cycle over plain threads is found", "[deadlock][thread]") {
    on_workers([] {
        weft::Lock left;
        weft::Lock right;
        weft::Event left_held;
        weft::Event go_on;
        std::atomic<int> thrown{0};
        const auto both = [&](weft::Lock& first, weft::Lock& second, auto&& between) {
            const std::lock_guard hold{first};
            between();
            try {
                const std::lock_guard also{second};
            } catch (const weft::Deadlock&) {
                ++thrown;
            }
        };
        std::thread thread{[&] {
            both(left, right, [&] {
                left_held.set();
                go_on.wait();
            });
        }};
        both(right, left, [&] {
            left_held.wait();
            go_on.set();
        });
        thread.join();
        CHECK(thrown == 1);
    });
}

TEST_CASE("a wait with a deadline closes no cycle", "[deadlock]") {
    on_workers([] {
        weft::Lock left;
        weft::Lock right;
        weft::Event left_held;
        auto other = weft::spawn([&] {
            const std::lock_guard hold{left};
            left_held.set();
            return right.try_lock_for(20ms);
        });
        {
            const std::lock_guard hold{right};
            left_held.wait();
            until_waiting(other);
            const std::lock_guard also{left};
        }
        CHECK_FALSE(other.get());
    });
}

TEST_CASE("a Condition returns with its lock; another of the cycle is told", "[deadlock]") {
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        INFO("seed " << seed);
        weft::simulate(seed, [] {
            weft::Lock lock;
            weft::Lock outer;
            weft::Condition changed;
            weft::Event held;
            auto waiter = weft::spawn([&] {
                const std::lock_guard hold_outer{outer};
                const std::lock_guard hold{lock};
                held.set();
                changed.wait(lock);
            });
            held.wait();
            lock.lock();  // which the wait released
            changed.notify_one();
            CHECK_THROWS_AS(outer.lock(), weft::Deadlock);
            lock.unlock();
            CHECK_NOTHROW(waiter.get());
        });
    }
}

TEST_CASE("who locks while it unwinds is not told; another of the cycle is",
          "[deadlock][unwinding]") {
    on_workers([] {
        struct LocksAtTheEnd {
            weft::Lock& lock;
            ~LocksAtTheEnd() { const std::lock_guard hold{lock}; }
        };
        weft::Lock first;
        weft::Lock second;
        bool told = false;
        weft::Event has_first;
        weft::Event go_on;
        auto unwinds = weft::spawn([&] {
            const std::lock_guard hold{first};
            has_first.set();
            go_on.wait();
            try {
                const LocksAtTheEnd guard{second};
                throw 1;
            } catch (int) {
            }
        });
        auto other = weft::spawn([&] {
            const std::lock_guard hold{second};
            has_first.wait();
            go_on.set();
            until_waiting(unwinds);
            try {
                const std::lock_guard closes{first};
            } catch (const weft::Deadlock&) {
                told = true;
            }
        });
        unwinds.get();
        other.get();
        CHECK(told);
    });
}

TEST_CASE("of those that close a cycle at once exactly one is told", "[deadlock]") {
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        INFO("seed " << seed);
        weft::simulate(seed, [seed] {
            const auto count = static_cast<unsigned>(2 + seed % 7);
            CHECK(throws_at_full_table(count) == 1);
        });
    }
    on_workers([] {
        for (int turn = 0; turn < (weft::test::under_sanitizer ? 50 : 500); ++turn) {
            for (const unsigned count : {2u, 3u, 8u}) {
                if (throws_at_full_table(count) != 1) FAIL("not one of " << count);
            }
        }
    });
}

TEST_CASE("of threads that close a cycle in the same moment exactly one is told",
          "[deadlock][thread]") {
    for (const unsigned count : {2u, 3u}) {
        constexpr unsigned rounds = 500;
        std::deque<weft::Lock> locks(count);
        std::atomic<unsigned> thrown{0};
        std::barrier all_here{count};
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < count; ++i) {
            threads.emplace_back([&, i] {
                for (unsigned round = 0; round < rounds; ++round) {
                    std::unique_lock own{locks[i]};
                    all_here.arrive_and_wait();
                    try {
                        const std::lock_guard next{locks[(i + 1) % count]};
                    } catch (const weft::Deadlock&) {
                        ++thrown;
                    }
                    own.unlock();
                    all_here.arrive_and_wait();
                }
            });
        }
        for (std::thread& thread : threads) thread.join();
        CHECK(thrown == rounds);
    }
}

namespace {

// A wait that the test makes by itself: `owner` is asked by who looks for cycles.
class OwnWait {
public:
    using Wake = weft::detail::Wake;
    std::function<weft::detail::Party*()> owner;

    Wake wait() {
        weft::detail::Held held{queue_.lock()};
        weft::detail::Waiter self;
        const Wake why = park(held, queue_, self, weft::Deadline::never(),
                              weft::detail::Cancellable::no, {"OwnWait::wait", this, &ask, true});
        if (why == Wake::deadlocked)
            CHECK_THROWS_AS(weft::detail::throw_deadlock(), weft::Deadlock);
        return why;
    }
    void wake() {
        weft::detail::Held held{queue_.lock()};
        auto first = queue_.claim_front();
        held.unlock();
        if (first) std::move(*first).resume();
    }

private:
    static weft::detail::Party* ask(const void* wait) noexcept {
        return static_cast<const OwnWait*>(wait)->owner();
    }
    weft::detail::WaitQueue queue_;
};

// A second party waits for the first; the first for the second, until `third_time`
// it is asked for its owner: that is after the second was frozen.
OwnWait::Wake wait_in_cycle(
    const std::function<weft::detail::Party*(weft::detail::Party*, OwnWait&)>& third_time) {
    OwnWait mine;
    OwnWait others;
    weft::detail::Party* const me = &weft::detail::this_party();
    weft::detail::Party* other = nullptr;
    others.owner = [&] { return me; };
    auto second = weft::spawn([&] {
        other = &weft::detail::this_party();
        others.wait();
    });
    until_waiting(second);
    int asked = 0;
    mine.owner = [&] { return ++asked == 3 ? third_time(other, others) : other; };
    auto third = weft::spawn([&] {
        mine.wake();
        others.wake();
    });
    const auto why = mine.wait();
    third.join();
    second.join();  // not before: that would be a cycle, too
    return why;
}

}  // namespace

TEST_CASE("who is not the owner any more when asked again closes no cycle", "[deadlock]") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        weft::simulate(seed, [] {
            using weft::detail::Party;
            using weft::detail::Wake;
            CHECK(wait_in_cycle([](Party* other, OwnWait&) { return other; }) == Wake::deadlocked);
            CHECK(wait_in_cycle([](Party*, OwnWait&) { return nullptr; }) == Wake::notified);
        });
    }
}

TEST_CASE("a wait that ends while the way is walked closes no cycle", "[deadlock]") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        weft::simulate(seed, [] {
            const auto why = wait_in_cycle([](weft::detail::Party* other, OwnWait& others) {
                others.wake();  // frozen, it does not run yet
                return other;
            });
            CHECK(why == weft::detail::Wake::notified);
        });
    }
}

// The walk along half of it takes longer than it takes the other to get to its own.
TEST_CASE("of two that close a long cycle in the same moment exactly one is told",
          "[deadlock][thread]") {
    constexpr unsigned half = 100;
    constexpr unsigned all = 2 * half;
    constexpr int rounds = weft::test::under_sanitizer ? 5 : 30;
    const auto body = [] {
        std::deque<weft::Lock> locks(all);
        weft::Semaphore held{0};
        weft::Event go;
        std::atomic<bool> now{false};
        std::atomic<int> thrown{0};
        const auto hold_and_ask = [&](unsigned i, auto&& between) {
            const std::lock_guard own{locks[i]};
            held.release();
            between();
            try {
                const std::lock_guard next{locks[(i + 1) % all]};
            } catch (const weft::Deadlock&) {
                ++thrown;
            }
        };
        const auto until_now = [&] {
            for (unsigned turn = 0; !now; ++turn) weft::detail::spin_pause(turn);
        };
        std::vector<weft::Fiber<>> fibers;
        std::thread one{[&] { hold_and_ask(0, until_now); }};
        std::thread two{[&] { hold_and_ask(half, until_now); }};
        for (unsigned i = 0; i < all; ++i) {
            if (i % half == 0) continue;
            fibers.push_back(weft::spawn([&, i] { hold_and_ask(i, [&] { go.wait(); }); }));
        }
        for (unsigned i = 0; i < all; ++i) held.acquire();
        go.set();
        for (const auto& fiber : fibers) {
            while (weft::FiberRef{fiber}.doing() != "Lock::lock") weft::this_fiber::yield();
        }
        now = true;
        weft::join_all(fibers);
        one.join();
        two.join();
        CHECK(thrown == 1);
    };
    for (int round = 0; round < rounds; ++round) weft::run(body, {.workers = 1});
}

TEST_CASE("philosophers who are told of deadlocks all get their meals", "[deadlock]") {
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        INFO("seed " << seed);
        const auto count = static_cast<unsigned>(2 + seed % 7);
        weft::simulate(seed, [&] { CHECK(dine(count, 10, seed) == static_cast<int>(count) * 10); });
    }
    on_workers([] {
        constexpr int rounds = weft::test::under_sanitizer ? 200 : 2000;
        for (const unsigned count : {2u, 5u, 8u}) {
            CHECK(dine(count, rounds, count) == static_cast<int>(count) * rounds);
        }
    });
}

TEST_CASE("locks taken in order never throw Deadlock", "[deadlock]") {
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        INFO("seed " << seed);
        CHECK_NOTHROW(weft::simulate(seed, [&] { InOrder{seed}(8, 10); }));
    }
    on_workers([] {
        constexpr int rounds = weft::test::under_sanitizer ? 200 : 2000;
        for (std::uint64_t seed = 1; seed <= 3; ++seed) CHECK_NOTHROW(InOrder{seed}(16, rounds));
    });
}

TEST_CASE("at a standstill who cannot be unwound now is not cancelled for later", "[deadlock]") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        bool went_on = false;
        const auto stuck = [&] {
            weft::Once once;
            weft::Event never;
            auto runner = weft::spawn([&] { once.call([&] { never.wait(); }); });
            until_waiting(runner);
            auto behind = weft::spawn([&] {
                once.call([] {});
                weft::this_fiber::check_cancelled();
                went_on = true;
            });
            behind.join();
            runner.join();
        };
        CHECK_THROWS_AS(weft::simulate(seed, stuck), weft::Deadlock);
        CHECK(went_on);
    }
}
