// One wait in several queues, asked of the simplest things to wait for.
#include "park/select.hpp"

#include "support/catch.hpp"
#include "support/everywhere.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::test::everywhere;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

// Tokens that one can wait for at several of these at once.
class Gate {
public:
    void put() {
        weft::detail::Held held{waiters_.lock()};
        auto first = waiters_.claim_front();
        if (!first) ++tokens_;
        held.unlock();
        if (first) std::move(*first).resume();
    }

    bool nobody_waits() {
        const weft::detail::Held held{waiters_.lock()};
        return waiters_.empty();
    }

    int tokens() {
        const weft::detail::Held held{waiters_.lock()};
        return tokens_;
    }

    static constexpr int none = -1;

    /// Takes a token of one of `gates` and tells of which; `none` at the deadline.
    static int take(const std::vector<Gate*>& gates, Deadline deadline = Deadline::never()) {
        weft::detail::Branches branches;
        std::deque<weft::detail::Branch> all;
        for (Gate* gate : gates) branches.add(all.emplace_back(gate->waiters_));
        branches.lock();
        for (std::size_t i = 0; i < gates.size(); ++i) {
            if (gates[i]->tokens_ == 0) continue;
            --gates[i]->tokens_;
            branches.unlock();
            return static_cast<int>(i);
        }
        const weft::detail::Branch* const claimed =
            park_any_or_throw(branches, deadline, weft::detail::Purpose{"Gate::take", gates[0]});
        for (std::size_t i = 0; i < gates.size(); ++i) {
            CHECK(all[i].waiter.queue == nullptr);
            if (&all[i] == claimed) return static_cast<int>(i);
        }
        return none;
    }

private:
    weft::detail::WaitQueue waiters_;
    int tokens_ = 0;  // guarded by waiters_.lock(); 0 whenever somebody waits
};

using Gates = std::array<Gate, 4>;

std::vector<Gate*> all_of(Gates& gates) { return {&gates[0], &gates[1], &gates[2], &gates[3]}; }

bool nobody_waits(Gates& gates) {
    for (Gate& gate : gates) {
        if (!gate.nobody_waits()) return false;
    }
    return true;
}

constexpr int cancelled = -2;

int take_or_cancelled(const std::vector<Gate*>& gates, Deadline deadline = Deadline::never()) {
    try {
        return Gate::take(gates, deadline);
    } catch (const weft::Cancelled&) {
        return cancelled;
    }
}

constexpr std::uint64_t many_seeds = weft::test::under_sanitizer ? 20 : 200;

}  // namespace

TEST_CASE("a wait in several queues ends by the first claim and leaves all of them", "[select]") {
    everywhere([] {
        for (std::size_t i = 0; i < 4; ++i) {
            Gates gates;
            auto fiber = weft::spawn([&] { return Gate::take(all_of(gates)); });
            until_waiting(fiber);
            CHECK_FALSE(nobody_waits(gates));
            gates[i].put();
            CHECK(fiber.get() == static_cast<int>(i));
            CHECK(nobody_waits(gates));
        }
    });
}

TEST_CASE("a second notification is not spent on a wait that another has ended", "[select]") {
    weft::run(
        [] {
            Gates gates;
            auto fiber = weft::spawn([&] { return Gate::take(all_of(gates)); });
            until_waiting(fiber);
            gates[2].put();  // claimed, and not yet run
            gates[0].put();
            gates[2].put();
            gates[3].put();
            CHECK(fiber.get() == 2);
            CHECK(gates[0].tokens() == 1);
            CHECK(gates[1].tokens() == 0);
            CHECK(gates[2].tokens() == 1);
            CHECK(gates[3].tokens() == 1);
        },
        {.workers = 1});
}

TEST_CASE("a stale waiter does not keep the next one waiting", "[select]") {
    weft::run(
        [] {
            Gates gates;
            auto first = weft::spawn([&] { return Gate::take(all_of(gates)); });
            until_waiting(first);
            auto second = weft::spawn([&] { return Gate::take({&gates[0]}); });
            until_waiting(second);
            gates[1].put();
            gates[0].put();  // the first is queued there still
            CHECK(second.get() == 0);
            CHECK(first.get() == 1);
        },
        {.workers = 1});
}

TEST_CASE("a wait in several queues ends at its deadline, and leaves all of them",
          "[select][deadline]") {
    everywhere([] {
        Gates gates;
        const Deadline deadline = 1ms;
        CHECK(Gate::take(all_of(gates), deadline) == Gate::none);
        CHECK(deadline.passed());
        CHECK(nobody_waits(gates));
        CHECK(Gate::take(all_of(gates), -1h) == Gate::none);
        gates[3].put();
        CHECK(Gate::take(all_of(gates), -1h) == 3);
    });
}

TEST_CASE("a cancellation or a Timeout ends a wait in several queues, and leaves all of them",
          "[select][cancel]") {
    everywhere([] {
        Gates gates;
        auto fiber = weft::spawn([&] { return take_or_cancelled(all_of(gates)); });
        until_waiting(fiber);
        fiber.cancel();
        CHECK(fiber.get() == cancelled);
        CHECK(nobody_waits(gates));
        CHECK_FALSE(weft::with_timeout(1ms, [&] { return Gate::take(all_of(gates)); }));
        CHECK(nobody_waits(gates));
    });
}

TEST_CASE("a queue may be named several times, in any order", "[select]") {
    everywhere([] {
        Gates gates;
        const std::vector<Gate*> some{&gates[2], &gates[0], &gates[2], &gates[1], &gates[0]};
        auto fiber = weft::spawn([&] { return Gate::take(some); });
        until_waiting(fiber);
        gates[0].put();
        CHECK(fiber.get() == 1);
        CHECK(nobody_waits(gates));
        CHECK(Gate::take(some, 1ms) == Gate::none);
        CHECK(nobody_waits(gates));
    });
}

TEST_CASE("any number of queues is locked in order of address", "[select]") {
    weft::run([] {
        std::vector<std::unique_ptr<Gate>> gates;
        for (int i = 0; i < 300; ++i) gates.push_back(std::make_unique<Gate>());
        std::vector<Gate*> shuffled;
        for (std::size_t i = 0; i < 600; ++i) shuffled.push_back(gates[i * 7 % 300].get());
        std::vector<Gate*> reversed{shuffled.rbegin(), shuffled.rend()};
        auto one = weft::spawn([&] { return Gate::take(shuffled); });
        auto other = weft::spawn([&] { return Gate::take(reversed); });
        until_waiting(one);
        until_waiting(other);
        gates[7]->put();
        gates[7]->put();
        CHECK(one.get() == 1);
        CHECK(reversed[static_cast<std::size_t>(other.get())] == gates[7].get());
    });
}

TEST_CASE("a wait in no queue at all ends at its deadline", "[select][deadline]") {
    on_workers([] {
        weft::detail::Branches none;
        none.lock();
        CHECK(park_any_or_throw(none, 1ms, weft::detail::Purpose{"nothing"}) == nullptr);
    });
}

TEST_CASE("plain threads wait in several queues", "[select][thread]") {
    Gates gates;
    Gates answers;
    std::thread thread{[&] {
        for (int i = 0; i < 1000; ++i) {
            answers[static_cast<std::size_t>(Gate::take(all_of(gates)))].put();
        }
    }};
    for (std::size_t i = 0; i < 1000; ++i) {
        gates[i % 4].put();
        CHECK(Gate::take(all_of(answers)) == static_cast<int>(i % 4));
    }
    thread.join();
    CHECK(nobody_waits(gates));
}

namespace {

// Fibers take tokens at gates that they name in different orders, some give up by
// a deadline, some are cancelled. No token is lost or found.
void storm(std::uint64_t seed) {
    constexpr int takers = 6;
    constexpr int tokens = 60;
    Gates gates;
    std::atomic<int> taken{0};
    std::vector<weft::Fiber<>> fibers;
    for (int i = 0; i < takers; ++i) {
        fibers.push_back(weft::spawn([&, i] {
            auto mine = all_of(gates);
            std::rotate(mine.begin(), mine.begin() + i % 4, mine.end());
            if (i % 2 == 0) std::reverse(mine.begin(), mine.end());
            for (;;) {
                const auto deadline = i % 3 == 0 ? Deadline{20us} : Deadline::never();
                const int end = take_or_cancelled(mine, deadline);
                if (end == cancelled) return;
                if (end != Gate::none) ++taken;
                if (end == Gate::none) weft::this_fiber::yield();
            }
        }));
    }
    weft::detail::Random random{seed};
    for (int i = 0; i < tokens; ++i) {
        gates[random.below(4)].put();
        if (random.below(3) == 0) weft::this_fiber::yield();
        if (i % 20 == 19) fibers[static_cast<std::size_t>(i / 20)].cancel();
    }
    for (auto& fiber : fibers) fiber.cancel();
    weft::join_all(fibers);
    int left = 0;
    for (Gate& gate : gates) left += gate.tokens();
    CHECK(taken + left == tokens);
    CHECK(nobody_waits(gates));
}

}  // namespace

TEST_CASE("waits in several queues lose no token to deadlines and cancellations", "[select]") {
    on_seeds(many_seeds, storm);
    std::uint64_t seed = 0;
    on_workers([&] {
        for (std::uint64_t i = 0; i < many_seeds; ++i) storm(++seed);
    });
}

TEST_CASE("chance is the seed's in a simulation, and a thread's own outside", "[select]") {
    const auto draw = [](std::uint64_t seed) {
        std::vector<std::uint32_t> drawn;
        weft::simulate(seed, [&] {
            for (int i = 0; i < 20; ++i) drawn.push_back(weft::detail::draw_random().below(1000));
        });
        return drawn;
    };
    CHECK(draw(1) == draw(1));
    CHECK(draw(1) != draw(2));
    for (int i = 0; i < 100; ++i) CHECK(weft::detail::draw_random().below(3) < 3);
}
