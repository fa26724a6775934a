// A stack that overflows ends the process, and the message says whose and what to do.
#include "support/catch.hpp"
#include "support/process.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <alloca.h>
#include <signal.h>
#include <string.h>

#include <chrono>
#include <cstddef>
#include <cstdint>

using weft::test::Child;
using weft::test::Outcome;

namespace {

volatile bool endless = true;

[[gnu::noinline]] int recurse(int depth) {
    volatile char frame[512];
    frame[0] = static_cast<char>(depth);
    return endless ? recurse(depth + 1) + frame[0] : 0;
}

[[gnu::noinline]] void write_to_nowhere() {
    static volatile std::uintptr_t nowhere = 16;
    *reinterpret_cast<volatile int*>(nowhere) = 1;
}

[[gnu::noinline]] void use_frame_of(std::size_t size) {
    auto* const frame = static_cast<char*>(alloca(size));
    ::memset(frame, 1, size);
    asm volatile("" : : "r"(frame) : "memory");
}

// A frame made by code that was built without stack probes: it touches nothing
// but its far end.
[[gnu::noinline]] void use_unprobed_frame() {
#if defined(__x86_64__)
    asm volatile(
        "subq $40960, %%rsp\n\t"
        "movb $1, (%%rsp)\n\t"
        "addq $40960, %%rsp\n\t"
        :
        :
        : "memory", "cc");
#endif
}

// Leaves a few KiB of a stack of `usable` bytes, then calls.
[[gnu::noinline]] void near_the_end(std::size_t usable, void (*then)()) {
    auto* const filler = static_cast<char*>(alloca(usable - 3 * 4096));
    ::memset(filler, 1, usable - 3 * 4096);
    asm volatile("" : : "r"(filler) : "memory");
    then();
}

template <class Body>
void in_a_fiber(const weft::SpawnOptions& options, Body&& body) {
    weft::run([&] { weft::spawn(options, body).join(); }, {.workers = 2});
}

const Child recursion{"overflow by recursion", [] {
                          in_a_fiber({.name = "conn-7/reader"}, [] { recurse(0); });
                          return 0;
                      }};

const Child after_migration{"overflow on another worker", [] {
                                ::setenv("WEFT_FORCE_MIGRATE", "1", 1);
                                in_a_fiber({.name = "traveller"}, [] {
                                    for (int i = 0; i < 5; ++i)
                                        weft::this_fiber::sleep_for(std::chrono::microseconds{1});
                                    recurse(0);
                                });
                                return 0;
                            }};

const Child large_frame{"overflow by a large frame", [] {
                            in_a_fiber({.name = "large", .stack_size = 64 << 10},
                                       [] { use_frame_of(200 << 10); });
                            return 0;
                        }};

const Child unprobed_frame{"overflow by an unprobed frame", [] {
                               in_a_fiber({.name = "unprobed", .stack_size = 64 << 10},
                                          [] { near_the_end(64 << 10, &use_unprobed_frame); });
                               return 0;
                           }};

const Child unnamed{"overflow without a name", [] {
                        in_a_fiber({}, [] { recurse(0); });
                        return 0;
                    }};

const Child wild_pointer{"a fault that is no overflow", [] {
                             in_a_fiber({.name = "wild"}, &write_to_nowhere);
                             return 0;
                         }};

const Child plain_thread{"a fault outside fibers", [] {
                             weft::Runtime runtime{{.workers = 1}};
                             write_to_nowhere();
                             return 0;
                         }};

// Set before the runtime is made; must be asked after weft's report.
const Child handler_before{"a handler from before", [] {
                               struct sigaction action {};
                               action.sa_handler = [](int) { _exit(42); };
                               action.sa_flags = SA_ONSTACK;
                               sigaction(SIGSEGV, &action, nullptr);
                               in_a_fiber({.name = "handled"}, [] { recurse(0); });
                               return 0;
                           }};

}  // namespace

// Sanitizers handle faults themselves, and their frames are of another size.
#define SKIP_UNDER_SANITIZER() \
    if (weft::test::under_sanitizer) return

TEST_CASE("an overflow by recursion names the fiber, its size and the remedy", "[fault]") {
    SKIP_UNDER_SANITIZER();
    const Outcome outcome = recursion.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGSEGV));
    CHECK(outcome.says("\"conn-7/reader\""));
    CHECK(outcome.says("overflowed its 192 KiB stack"));
    CHECK(outcome.says("SpawnOptions::stack_size"));
}

TEST_CASE("an overflow is reported on whatever worker it happens", "[fault]") {
    SKIP_UNDER_SANITIZER();
    const Outcome outcome = after_migration.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGSEGV));
    CHECK(outcome.says("\"traveller\""));
}

TEST_CASE("a frame larger than stack and guard together is caught in the guard", "[fault]") {
    SKIP_UNDER_SANITIZER();
    const Outcome outcome = large_frame.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGSEGV));
    CHECK(outcome.says("\"large\""));
    CHECK(outcome.says("64 KiB stack"));
}

TEST_CASE("an unprobed frame of 40 KiB does not jump over the guard", "[fault]") {
    SKIP_UNDER_SANITIZER();
    const Outcome outcome = unprobed_frame.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGSEGV));
    CHECK(outcome.says("\"unprobed\""));
}

TEST_CASE("an overflow of a fiber without a name says so", "[fault]") {
    SKIP_UNDER_SANITIZER();
    const Outcome outcome = unnamed.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGSEGV));
    CHECK(outcome.says("(unnamed)"));
}

TEST_CASE("a fault that is no overflow is not called one", "[fault]") {
    SKIP_UNDER_SANITIZER();
    for (const Child* child : {&wild_pointer, &plain_thread}) {
        const Outcome outcome = child->run();
        INFO(outcome.describe());
        CHECK(outcome.killed_by(SIGSEGV));
        CHECK_FALSE(outcome.says("overflowed"));
    }
}

TEST_CASE("after the report the handler from before has its turn", "[fault]") {
    SKIP_UNDER_SANITIZER();
    const Outcome outcome = handler_before.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(42));
    CHECK(outcome.says("\"handled\""));
}
