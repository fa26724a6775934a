// Options, the environment behind them, and what is refused.
#include "runtime/settings.hpp"

#include "runtime/cpus.hpp"
#include "support/busy_threads.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"

#include <weft/io/directory.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <sched.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>

using namespace std::chrono_literals;
using weft::detail::resolve;
using weft::test::Child;
using weft::test::Environment;
using weft::test::error_of;
using weft::test::is;
using weft::test::Outcome;

namespace {

// What resolve() says of `value` in `variable`; empty if it is content.
std::string refusal(const char* variable, const char* value) {
    const Environment set{variable, value};
    try {
        resolve({});
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return {};
}

bool names(const std::string& message, const std::string& what) {
    return message.find(what) != std::string::npos;
}

const Child on_one_cpu{"workers on one CPU", [] {
                           cpu_set_t set;
                           sched_getaffinity(0, sizeof set, &set);
                           int cpu = 0;
                           while (!CPU_ISSET(cpu, &set)) ++cpu;
                           CPU_ZERO(&set);
                           CPU_SET(cpu, &set);
                           if (sched_setaffinity(0, sizeof set, &set) != 0) return 2;
                           const weft::Runtime runtime;
                           return runtime.workers() == 1 ? 0 : 1;
                       }};

}  // namespace

TEST_CASE("malformed variables are refused by name and value", "[settings]") {
    for (const char* variable : {"WEFT_WORKERS", "WEFT_FILE_THREADS", "WEFT_STACK_SIZE",
                                 "WEFT_FORCE_MIGRATE", "WEFT_DETECT_CYCLES", "WEFT_LOCK_ORDER"}) {
        for (const char* value :
             {"many", "-1", "4x", " 4", "0x10", "1.5", "99999999999999999999999"}) {
            const std::string message = refusal(variable, value);
            INFO(variable << "=" << value << ": " << message);
            CHECK(names(message, variable));
            CHECK(names(message, value));
        }
    }
    const std::string message = refusal("WEFT_IO", "smoke signals");
    CHECK(names(message, "WEFT_IO"));
    CHECK(names(message, "smoke signals"));
}

TEST_CASE("numbers out of range are refused by name and value", "[settings]") {
    for (const char* variable : {"WEFT_WORKERS", "WEFT_FILE_THREADS"}) {
        for (const char* value : {"0", "1025", "1000000000000"}) {
            const std::string message = refusal(variable, value);
            INFO(message);
            CHECK(names(message, variable));
            CHECK(names(message, value));
        }
    }
    for (const char* value : {"1099511627776", "18446744073709551615"}) {
        const std::string message = refusal("WEFT_STACK_SIZE", value);
        INFO(message);
        CHECK(names(message, "WEFT_STACK_SIZE"));
        CHECK(names(message, value));
    }
}

TEST_CASE("options out of range are refused", "[settings]") {
    CHECK_THROWS_AS(resolve({.workers = 1025}), std::invalid_argument);
    CHECK_THROWS_AS(resolve({.file_threads = 1025}), std::invalid_argument);
    CHECK_THROWS_AS(resolve({.stack_size = SIZE_MAX}), std::invalid_argument);
    CHECK_THROWS_AS(resolve({.main_stack_size = SIZE_MAX}), std::invalid_argument);
    CHECK_THROWS_AS(weft::Runtime{{.workers = 5000}}, std::invalid_argument);
}

TEST_CASE("variables fill in what the options leave open, and no more", "[settings]") {
    const Environment workers{"WEFT_WORKERS", "3"};
    const Environment stack{"WEFT_STACK_SIZE", "100000"};
    const Environment io{"WEFT_IO", "epoll"};
    const Environment files{"WEFT_FILE_THREADS", "4"};
    const auto from_environment = resolve({});
    CHECK(from_environment.workers == 3);
    CHECK(from_environment.stack_size == 100'000);
    CHECK(from_environment.io == weft::Io::epoll);
    CHECK(from_environment.file_threads == 4);
    const auto from_options =
        resolve({.workers = 5, .stack_size = 70'000, .io = weft::Io::uring, .file_threads = 6});
    CHECK(from_options.file_threads == 6);
    CHECK(from_options.workers == 5);
    CHECK(from_options.stack_size == 70'000);
    CHECK(from_options.io == weft::Io::uring);
}

TEST_CASE("an empty variable is none", "[settings]") {
    const Environment workers{"WEFT_WORKERS", ""};
    const Environment stack{"WEFT_STACK_SIZE", ""};
    const Environment io{"WEFT_IO", ""};
    const Environment files{"WEFT_FILE_THREADS", ""};
    const Environment migrate{"WEFT_FORCE_MIGRATE", ""};
    const auto settings = resolve({});
    CHECK(settings.workers == weft::detail::usable_cpus().workers);
    CHECK(settings.stack_size == 192 << 10);
    CHECK(settings.io == weft::Io::automatic);
    CHECK(settings.file_threads == 8);
    CHECK_FALSE(settings.force_migrate);
}

TEST_CASE("the defaults are those of the header", "[settings]") {
    const Environment workers{"WEFT_WORKERS", ""};
    const auto settings = resolve({});
    CHECK(settings.main_stack_size == 8 << 20);
    CHECK(settings.on_unhandled != nullptr);
    cpu_set_t set;
    REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
    CHECK(settings.workers <= static_cast<unsigned>(CPU_COUNT(&set)));
    CHECK(settings.workers >= 1);
}

TEST_CASE("there are as many workers as CPUs this process may use", "[settings]") {
    const Environment workers{"WEFT_WORKERS", ""};
    const Outcome outcome = on_one_cpu.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}

TEST_CASE("a worker does not spin where there is no CPU for each", "[settings]") {
    const auto allowed = weft::detail::usable_cpus().allowed;
    CHECK(resolve({.workers = allowed}).spin == 20us);
    CHECK(resolve({.workers = allowed, .spin = 5us}).spin == 5us);
    if (allowed < 1024) CHECK(resolve({.workers = allowed + 1, .spin = 5us}).spin == 0us);
}

TEST_CASE("for how long a worker spins is an option or a variable", "[settings]") {
    const Environment spin{"WEFT_SPIN_US", "7"};
    CHECK(resolve({.workers = 1}).spin == 7us);
    CHECK(resolve({.workers = 1, .spin = 0us}).spin == 0us);
    CHECK(resolve({.workers = 1, .spin = 1s}).spin == 1s);
    CHECK_THROWS_AS(resolve({.workers = 1, .spin = 1s + 1us}), std::invalid_argument);
    const Environment never{"WEFT_SPIN_US", "0"};
    CHECK(resolve({.workers = 1}).spin == 0us);
    const Environment bad{"WEFT_SPIN_US", "soon"};
    CHECK_THROWS_AS(resolve({.workers = 1}), std::invalid_argument);
}

TEST_CASE("a runtime that is not to spin sleeps at once", "[settings]") {
    const auto sleeps = [](std::chrono::microseconds spin) {
        std::uint64_t count = 0;
        weft::run(
            [&] {
                for (int i = 0; i < 50; ++i) weft::this_fiber::sleep_for(1ms);
                count = weft::Runtime::current().counters().sleeps;
            },
            {.workers = 1, .spin = spin});
        return count;
    };
    CHECK(sleeps(0us) >= 25);
    CHECK(sleeps(1s) < 10);
}

// Method: so many calls last that no thread is free; with fewer threads they would not all begin.
TEST_CASE("files have as many threads as were asked for, and no more", "[settings]") {
    for (const weft::Io io : weft::test::available_io()) {
        for (const unsigned most : {1u, 3u, 12u}) {
            const auto body = [most] {
                const weft::test::BusyThreads busy{most};
                CHECK(
                    is(error_of([] { weft::io::list_directory("/", 5ms); }), std::errc::timed_out));
                // Those of the last runtime were joined, and may not be gone for a moment more.
                while (weft::test::threads_named("weft-offload") > most) {
                    weft::this_fiber::yield();
                }
                CHECK(weft::test::threads_named("weft-offload") == most);
            };
            weft::run(body, {.workers = 2, .io = io, .file_threads = most});
        }
    }
}

TEST_CASE("a runtime is made of what was asked for", "[settings]") {
    const weft::Runtime runtime{{.workers = 3, .main_stack_size = 1 << 20, .io = weft::Io::epoll}};
    CHECK(runtime.workers() == 3);
    CHECK(runtime.io() == weft::Io::epoll);
    CHECK(runtime.main_stack_size() == 1 << 20);
}
