// The rules of RFC 8305, on the virtual clock: attempts that take as long as they are told.
#include "os/race.hpp"

#include "support/catch.hpp"
#include "support/runtime.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::io::detail::by_turns;
using weft::io::detail::Decided;
using weft::io::detail::not_begun;
using weft::io::detail::run_race;
using weft::io::detail::undecided;

namespace {

using std::chrono::milliseconds;

/// How long an attempt takes, and what comes of it.
struct Fate {
    milliseconds takes;
    int result = 0;
};
constexpr milliseconds for_ever{INT64_MAX / 2'000'000};

milliseconds now() {
    return std::chrono::duration_cast<milliseconds>(weft::detail::now().time_since_epoch());
}

class Attempts {
public:
    explicit Attempts(std::vector<Fate> fates) : fates_{std::move(fates)}, ends_(fates_.size()) {}

    int begin(std::size_t i) {
        begun.push_back(now() - origin_);
        if (fates_[i].takes == 0ms) return fates_[i].result;
        ends_[i] = now() + fates_[i].takes;
        return undecided;
    }

    std::optional<Decided> wait(Deadline deadline) {
        const auto first = std::ranges::min_element(
            ends_, {}, [](const auto& end) { return end.value_or(milliseconds::max()); });
        const Deadline end = first->has_value() ? Deadline{**first - now()} : Deadline::never();
        weft::this_fiber::sleep_until(std::min(end, deadline));
        if (end > deadline) return std::nullopt;
        first->reset();
        const auto i = static_cast<std::size_t>(first - ends_.begin());
        return Decided{i, fates_[i].result};
    }

    milliseconds elapsed() const { return now() - origin_; }

    std::vector<milliseconds> begun;  // when each was

private:
    const std::vector<Fate> fates_;
    std::vector<std::optional<milliseconds>> ends_;
    const milliseconds origin_ = now();
};

/// Runs `check(attempts, race)` after a race of `fates`, simulated.
template <class Check>
void race_of(const std::vector<Fate>& fates, Check&& check, milliseconds limit = for_ever) {
    on_seeds(3, [&](std::uint64_t) {
        Attempts attempts{fates};
        const auto race = run_race(fates.size(), 250ms, attempts, Deadline{limit});
        check(attempts, race);
    });
}

using Times = std::vector<milliseconds>;
using Results = std::vector<int>;

}  // namespace

TEST_CASE("who answers in time has no rival", "[os][race]") {
    race_of({{249ms}, {1ms}}, [](const auto& attempts, const auto& race) {
        REQUIRE(race.winner == 0);
        REQUIRE(attempts.begun == Times{0ms});
        REQUIRE(race.results == Results{0, not_begun});
        REQUIRE(attempts.elapsed() == 249ms);
    });
}

TEST_CASE("the next begins when one is silent for the delay, and the first to answer wins",
          "[os][race]") {
    race_of({{for_ever}, {for_ever}, {30ms}, {1ms}}, [](const auto& attempts, const auto& race) {
        REQUIRE(race.winner == 2);
        REQUIRE(attempts.begun == Times{0ms, 250ms, 500ms});
        REQUIRE(attempts.elapsed() == 530ms);
        REQUIRE(race.results == Results{undecided, undecided, 0, not_begun});
    });
    race_of({{300ms}, {100ms}}, [](const auto& attempts, const auto& race) {
        REQUIRE(race.winner == 0);
        REQUIRE(attempts.elapsed() == 300ms);
    });
}

TEST_CASE("the next begins at once when one fails", "[os][race]") {
    race_of({{0ms, -ENETUNREACH}, {100ms, -ECONNREFUSED}, {for_ever}, {10ms}},
            [](const auto& attempts, const auto& race) {
                REQUIRE(race.winner == 3);
                REQUIRE(attempts.begun == Times{0ms, 0ms, 100ms, 350ms});
                REQUIRE(race.results == Results{-ENETUNREACH, -ECONNREFUSED, undecided, 0});
            });
    // Also when it is not the youngest that fails.
    race_of({{300ms, -ECONNREFUSED}, {for_ever}, {5ms}},
            [](const auto& attempts, const auto& race) {
                REQUIRE(race.winner == 2);
                REQUIRE(attempts.begun == Times{0ms, 250ms, 300ms});
            });
}

TEST_CASE("when all have failed nobody has won, and each tells why", "[os][race]") {
    race_of({{400ms, -ETIMEDOUT}, {20ms, -ECONNREFUSED}, {0ms, -EMFILE}},
            [](const auto& attempts, const auto& race) {
                REQUIRE_FALSE(race.winner);
                REQUIRE(race.results == Results{-ETIMEDOUT, -ECONNREFUSED, -EMFILE});
                REQUIRE(race.last == 0);
                REQUIRE(attempts.elapsed() == 400ms);
            });
}

TEST_CASE("at the deadline those that are silent have lost", "[os][race]") {
    race_of(
        {{for_ever}, {10ms, -ECONNREFUSED}, {for_ever}, {for_ever}},
        [](const auto& attempts, const auto& race) {
            REQUIRE_FALSE(race.winner);
            REQUIRE(attempts.elapsed() == 400ms);
            REQUIRE(race.results == Results{undecided, -ECONNREFUSED, undecided, not_begun});
        },
        400ms);
    race_of(
        {{0ms}, {0ms}}, [](const auto&, const auto& race) { REQUIRE(race.winner == 0); }, 0ms);
    race_of(
        {{0ms, -ECONNREFUSED}, {0ms}},
        [](const auto&, const auto& race) { REQUIRE_FALSE(race.winner); }, 0ms);
}

TEST_CASE("a cancellation ends a race", "[os][race]") {
    on_seeds(10, [](std::uint64_t) {
        auto fiber = weft::spawn([] {
            Attempts attempts{{{for_ever}, {for_ever}}};
            run_race(2, 250ms, attempts, Deadline::never());
        });
        weft::this_fiber::sleep_for(300ms);
        fiber.cancel();
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}

TEST_CASE("the two kinds take turns, in their order, the first one's first", "[os][race]") {
    const auto order = [](std::string items) {
        const auto is_other = [&](char c) { return (c < 'a') != (items.front() < 'a'); };
        const auto turns = by_turns(std::span<const char>{items}, is_other);
        return std::string(turns.begin(), turns.end());
    };
    REQUIRE(order("ABCabc") == "AaBbCc");
    REQUIRE(order("abABCD") == "aAbBCD");
    REQUIRE(order("abc") == "abc");
    REQUIRE(order("aABC") == "aABC");
}
