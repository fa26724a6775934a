// A million fibers at once: each with a guarded stack, in little memory and few mappings.
#include "sched/scheduler.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <fstream>
#include <string>
#include <vector>

using weft::detail::FiberCore;
using weft::test::status_kib;

namespace {

constexpr std::size_t million = 1'000'000;
// A page of stack, half a KiB of page tables, a control block, and vectors' slots.
constexpr double most_kib = 4.75;
constexpr std::size_t room_kib = 6 << 20;

std::size_t memory_kib() { return status_kib("VmRSS:") + status_kib("VmPTE:"); }

std::size_t available_kib() {
    std::ifstream file{"/proc/meminfo"};
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("MemAvailable:")) return std::stoul(line.substr(13));
    }
    return 0;
}

// Of every hundredth fiber, whether its guard keeps both ends.
std::size_t unguarded(weft::Runtime& runtime) {
    std::size_t wrong = 0;
    std::size_t seen = 0;
    runtime.scheduler().table().for_each([&](FiberCore& fiber) {
        const auto stack = fiber.stack();
        if (++seen % 100 != 0 || !stack) return;
        if (weft::test::readable(stack.slot()) || weft::test::readable(stack.bottom() - 1)) ++wrong;
    });
    return wrong;
}

}  // namespace

TEST_CASE("a million fibers wait in 4.75 KiB each, guarded, in few mappings", "[stress][million]") {
    if (weft::test::under_sanitizer) return;  // no room in their shadows
    if (available_kib() < room_kib) {
        WARN("too little memory for a million fibers: not tried");
        return;
    }
    weft::run(
        [] {
            auto& runtime = weft::Runtime::current();
            weft::Event go;
            std::atomic<std::size_t> waiting{0};
            std::vector<weft::Fiber<>> fibers;
            fibers.reserve(million);
            for (auto warm = 0; warm < 1000; ++warm) weft::spawn([] {}).join();
            const auto before = memory_kib();
            const auto page_tables = status_kib("VmPTE:");
            const auto mappings = weft::test::mappings();
            for (std::size_t i = 0; i < million; ++i) {
                fibers.push_back(weft::spawn([&] {
                    ++waiting;
                    go.wait();
                }));
            }
            while (waiting < million) weft::this_fiber::yield();
            const auto handles_kib = million * sizeof(fibers[0]) / 1024;
            const double each = static_cast<double>(memory_kib() - before - handles_kib) / million;
            INFO("KiB for each: " << each << ", of which page tables "
                                  << static_cast<double>(status_kib("VmPTE:") - page_tables) /
                                         million
                                  << "; mappings: " << weft::test::mappings());
            CHECK(each <= most_kib);
            CHECK(weft::test::mappings() < mappings + 1000);
            CHECK(runtime.counters().stacks == million + 1);
            CHECK(unguarded(runtime) == 0);
            go.set();
            CHECK(weft::join_all(fibers));
        },
        {.workers = 2});
}
