// What the sanitizers are told of fibers is enough for them to find in a fiber what they
// find in a thread. That they report nothing else, all other tests show. Each planted
// bug is in a process of its own; without a sanitizer there is nothing to ask.
#include "base/sanitizer.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"

#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <mutex>

using weft::test::Child;
using weft::test::Outcome;
using weft::test::under_asan;
using weft::test::under_tsan;

namespace {

// --- races ---

// Two fibers of one worker never run at once, and nothing but a lock orders them.
template <class Step>
int count_in_two_fibers(unsigned workers, Step&& step) {
    long total = 0;
    // One that begins when the other has ended may get its stack, which orders them.
    std::atomic<int> begun{0};
    const auto count = [&] {
        begun.fetch_add(1, std::memory_order_relaxed);
        while (begun.load(std::memory_order_relaxed) < 2) weft::this_fiber::yield();
        for (int i = 0; i < 100; ++i) {
            step(total);
            weft::this_fiber::yield();
        }
    };
    weft::run(
        [&] {
            auto one = weft::spawn(count);
            auto other = weft::spawn(count);
            one.join();
            other.join();
        },
        {.workers = workers});
    return 0;
}

template <unsigned workers>
int race() {
    return count_in_two_fibers(workers, [](long& total) { ++total; });
}

template <unsigned workers>
int no_race() {
    weft::Lock lock;
    return count_in_two_fibers(workers, [&](long& total) {
        const std::lock_guard hold{lock};
        ++total;
    });
}

const Child race_on_one{"race on one", race<1>};
const Child race_on_two{"race on two", race<2>};
const Child lock_on_one{"lock on one", no_race<1>};
const Child lock_on_two{"lock on two", no_race<2>};

// --- memory ---

// What the optimiser does not see through.
[[gnu::noinline]] int* opaque(int* p) {
    asm volatile("" : "+r"(p));
    return p;
}

[[gnu::noinline]] int* address_of_a_local() {
    int local = 1;
    return opaque(&local);
}

template <class Body>
int in_a_fiber(Body&& body) {
    weft::run([&] {
        weft::spawn([&] {
            weft::this_fiber::yield();
            body();
        }).join();
    });
    return 0;
}

int after_free() {
    return in_a_fiber([] {
        int* const p = opaque(new int{1});
        delete p;
        weft::this_fiber::yield();
        *opaque(p) = 2;
    });
}

int beyond_an_array() {
    return in_a_fiber([] {
        int numbers[4] = {};
        weft::this_fiber::yield();
        opaque(numbers)[4] = 1;
    });
}

int after_return() {
    return in_a_fiber([] {
        int* const gone = address_of_a_local();
        weft::this_fiber::yield();
        *opaque(gone) = 2;
    });
}

const Child freed{"freed", after_free};
const Child beyond{"beyond", beyond_an_array};
const Child returned{"returned", after_return};

}  // namespace

TEST_CASE("a race of two fibers is found, also on one worker", "[sanitizer][tsan]") {
    if (!under_tsan) return;
    for (const Child* child : {&race_on_one, &race_on_two}) {
        const Outcome outcome = child->run();
        INFO(outcome.describe());
        CHECK(outcome.says("ThreadSanitizer: data race"));
    }
}

TEST_CASE("what a lock orders is no race", "[sanitizer][tsan]") {
    if (!under_tsan) return;
    for (const Child* child : {&lock_on_one, &lock_on_two}) {
        const Outcome outcome = child->run();
        INFO(outcome.describe());
        CHECK(outcome.exited_with(0));
        CHECK_FALSE(outcome.says("ThreadSanitizer"));
    }
}

TEST_CASE("use of freed memory in a fiber is found", "[sanitizer][asan]") {
    if (!under_asan) return;
    const Outcome outcome = freed.run();
    INFO(outcome.describe());
    CHECK(outcome.says("AddressSanitizer: heap-use-after-free"));
}

TEST_CASE("an access beyond an array on a fiber's stack is found", "[sanitizer][asan]") {
    if (!under_asan) return;
    const Outcome outcome = beyond.run();
    INFO(outcome.describe());
    CHECK(outcome.says("AddressSanitizer: stack-buffer-overflow"));
}

TEST_CASE("use of a local variable after its function's return is found", "[sanitizer][asan]") {
    if (!under_asan) return;
    const weft::test::Environment options{"ASAN_OPTIONS", "detect_stack_use_after_return=1"};
    const Outcome outcome = returned.run();
    INFO(outcome.describe());
    CHECK(outcome.says("AddressSanitizer: stack-use-after-return"));
}
