// What waiting fibers touched of their stacks and do not need is given back.
#include "sched/stack_trimmer.hpp"

#include "sched/worker.hpp"
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/channel.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/generator.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include <sys/mman.h>

using namespace std::chrono_literals;
using weft::detail::FiberCore;
using weft::detail::Scheduler;
using weft::detail::Stack;
using weft::detail::StackTrimmer;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

Scheduler& scheduler() { return weft::detail::Worker::current()->scheduler(); }

Stack stack_of(std::uint64_t id) {
    Stack stack;
    scheduler().table().for_each([&](FiberCore& fiber) {
        if (fiber.id == id) stack = fiber.stack();
    });
    return stack;
}

std::size_t resident_pages(const Stack& stack) {
    std::vector<unsigned char> pages(stack.committable() / 4096);
    REQUIRE(::mincore(stack.bottom(), stack.committable(), pages.data()) == 0);
    return static_cast<std::size_t>(std::count_if(
        pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; }));
}

/// Touches so much of the stack, and returns.
[[gnu::noinline]] std::size_t go_deep(std::size_t depth) {
    volatile char frame[4096];
    frame[0] = static_cast<char>(depth);
    return depth < sizeof frame
               ? static_cast<unsigned char>(frame[0])
               : go_deep(depth - sizeof frame) + static_cast<unsigned char>(frame[0]);
}

/// So many whole rounds.
void go_round(StackTrimmer& trimmer, int rounds) {
    while (rounds > 0) {
        if (trimmer.step()) --rounds;
    }
}

}  // namespace

TEST_CASE("a fiber that was deep and waits keeps only what it needs", "[sched][stack_trimmer]") {
    on_workers([] {
        weft::Event go_on;
        auto fiber = weft::spawn([&] {
            unsigned char kept[2000];
            std::fill(std::begin(kept), std::end(kept), static_cast<unsigned char>(42));
            go_deep(40'000);
            go_on.wait();
            const bool intact = std::all_of(std::begin(kept), std::end(kept),
                                            [](unsigned char byte) { return byte == 42; });
            return intact && go_deep(40'000) > 0;  // what was given back is there again
        });
        until_waiting(fiber);
        const Stack stack = stack_of(fiber.id());
        REQUIRE(resident_pages(stack) >= 10);
        StackTrimmer trimmer{scheduler().table(), 0ns};
        go_round(trimmer, 2);
        // Another may have had it frozen.
        while (resident_pages(stack) >= 10) go_round(trimmer, 1);
        if (!weft::test::under_sanitizer) CHECK(resident_pages(stack) <= 2);
        go_on.set();
        CHECK(fiber.get());
    });
}

// Simulated, for there is no watchdog that does the same.
TEST_CASE("it is done once in a wait, when that was met twice", "[sched][stack_trimmer]") {
    weft::simulate(1, [] {
        weft::Event go_on;
        auto fiber = weft::spawn([&] {
            go_deep(40'000);
            go_on.wait();
        });
        until_waiting(fiber);
        const Stack stack = stack_of(fiber.id());
        StackTrimmer trimmer{scheduler().table(), 0ns};
        go_round(trimmer, 1);
        CHECK(resident_pages(stack) >= 10);
        go_round(trimmer, 1);
        CHECK(resident_pages(stack) < 10);
        *stack.bottom() = std::byte{1};
        const std::size_t touched = resident_pages(stack);
        go_round(trimmer, 3);
        CHECK(resident_pages(stack) == touched);
        go_on.set();
        fiber.join();
    });
}

TEST_CASE("a fiber that waits in a generator loses nothing", "[sched][stack_trimmer]") {
    on_workers([] {
        weft::Event go_on;
        auto fiber = weft::spawn([&] {
            weft::Generator<int> numbers{[&](auto& yield) {
                int sum[100];
                for (int& each : sum) each = 1;
                go_deep(20'000);
                go_on.wait();
                for (const int each : sum) yield(each);
            }};
            int sum = 0;
            for (const int each : numbers) sum += each;
            return sum;
        });
        until_waiting(fiber);
        StackTrimmer trimmer{scheduler().table(), 0ns};
        go_round(trimmer, 3);
        go_on.set();
        CHECK(fiber.get() == 100);
    });
}

// A trimmer that never pauses, and fibers whose waits are short.
TEST_CASE("trimming races with wake-ups, and nothing is lost", "[sched][stack_trimmer][race]") {
    static constexpr int rounds = weft::test::under_sanitizer ? 300 : 3000;
    on_workers([] {
        std::atomic<bool> over{false};
        std::jthread thread{[&, &table = scheduler().table()] {
            StackTrimmer trimmer{table, 0ns};
            while (!over) trimmer.step();
        }};
        std::vector<std::unique_ptr<weft::Channel<int>>> channels;
        std::vector<weft::Fiber<int>> fibers;
        for (int pair = 0; pair < 20; ++pair) {
            weft::Channel<int>& to = *channels.emplace_back(new weft::Channel<int>{});
            weft::Channel<int>& from = *channels.emplace_back(new weft::Channel<int>{});
            fibers.push_back(weft::spawn([&to, &from] {
                int sum = 0;
                for (int i = 0; i < rounds; ++i) {
                    to.send(i);
                    const int local[] = {i, i + 1, i + 2};
                    go_deep(10'000);
                    sum += from.recv().value() == local[1] ? 1 : 0;
                }
                return sum;
            }));
            fibers.push_back(weft::spawn([&to, &from] {
                for (int i = 0; i < rounds; ++i) {
                    const int got = to.recv().value();
                    go_deep(10'000);
                    from.send(got + 1);
                }
                return rounds;
            }));
        }
        for (auto& each : fibers) CHECK(each.get() == rounds);
        over = true;
    });
}
