// What deadline.hpp and base/clock.hpp promise, each promise once.
#include "base/clock.hpp"

#include "support/catch.hpp"

#include <weft/deadline.hpp>

#include <chrono>
#include <thread>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::detail::use_virtual_clock;
using weft::detail::VirtualClock;

namespace {

// The calling thread's time stands still while this lives.
class StandingStill {
public:
    StandingStill() { use_virtual_clock(&clock); }
    ~StandingStill() { use_virtual_clock(nullptr); }
    VirtualClock clock;
};

}  // namespace

TEST_CASE("a duration counts from its conversion", "[clock][deadline]") {
    const StandingStill time;
    const Deadline deadline = 50ms;
    CHECK(deadline.at() == time.clock.now() + 50ms);
    CHECK(deadline == Deadline{time.clock.now() + 50ms});
    CHECK(deadline < Deadline{51ms});
}

TEST_CASE("a deadline passes at its moment and not before", "[clock][deadline]") {
    StandingStill time;
    const Deadline deadline = 50ms;
    time.clock.advance_to(deadline.at() - 1ns);
    CHECK_FALSE(deadline.passed());
    time.clock.advance_to(deadline.at());
    CHECK(deadline.passed());
}

TEST_CASE("never is never", "[clock][deadline]") {
    StandingStill time;
    const Deadline never = Deadline::never();
    CHECK(never.is_never());
    time.clock.advance_to(Deadline::Clock::time_point::max());
    CHECK_FALSE(never.passed());
}

TEST_CASE("durations too long for the clock mean never", "[clock][deadline]") {
    CHECK(Deadline{std::chrono::hours::max()}.is_never());
    CHECK(Deadline{std::chrono::nanoseconds::max()}.is_never());
    CHECK(Deadline{std::chrono::duration<double>{1e300}}.is_never());
    CHECK_FALSE(Deadline{std::chrono::hours{24 * 365 * 100}}.is_never());
}

TEST_CASE("durations below zero have passed, however long", "[clock][deadline]") {
    CHECK(Deadline{-1ns}.passed());
    CHECK(Deadline{std::chrono::hours::min()}.passed());
    CHECK(Deadline{std::chrono::nanoseconds::min()}.passed());
    CHECK(Deadline{std::chrono::duration<double>{-1e300}}.passed());
}

TEST_CASE("fractions of a tick are rounded up, so that no wait ends early", "[clock][deadline]") {
    const StandingStill time;
    using Picoseconds = std::chrono::duration<long, std::pico>;
    CHECK(Deadline{Picoseconds{1}}.at() == time.clock.now() + 1ns);
}

TEST_CASE("a virtual clock is one thread's, and goes forward only", "[clock]") {
    StandingStill time;
    const auto begin = weft::detail::now();
    CHECK(weft::detail::now() == begin);
    time.clock.advance_to(begin + 1h);
    CHECK(weft::detail::now() == begin + 1h);
    time.clock.advance_to(begin);
    CHECK(weft::detail::now() == begin + 1h);

    weft::detail::TimePoint elsewhere;
    const auto before = std::chrono::steady_clock::now();
    std::thread{[&] { elsewhere = weft::detail::now(); }}.join();
    CHECK(elsewhere >= before);
    CHECK(elsewhere <= std::chrono::steady_clock::now());
}
