// Layer: base. Uses: std.
#include "base/clock.hpp"

#include <weft/deadline.hpp>

#include <atomic>

namespace weft::detail {

namespace {

// How many threads are under a virtual clock: the common case reads no TLS.
std::atomic<int> simulations{0};
thread_local VirtualClock* virtual_clock = nullptr;

// Never inlined, and the address is laundered: the caller may be a fiber that
// runs on another thread the next time.
[[gnu::noinline]] VirtualClock*& clock_of_thread() noexcept {
    VirtualClock** p = &virtual_clock;
    asm volatile("" : "+r"(p));
    return *p;
}

}  // namespace

TimePoint now() noexcept {
    if (simulations.load(std::memory_order_relaxed) != 0) {
        if (const VirtualClock* clock = clock_of_thread()) return clock->now();
    }
    return std::chrono::steady_clock::now();
}

void use_virtual_clock(VirtualClock* clock) noexcept {
    VirtualClock*& mine = clock_of_thread();
    const int change = (clock != nullptr) - (mine != nullptr);
    simulations.fetch_add(change, std::memory_order_relaxed);
    mine = clock;
}

}  // namespace weft::detail
