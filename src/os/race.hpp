// Race: which of several attempts to begin when, and which has won (RFC 8305, "Happy
// Eyeballs"). Layer: os. Uses: std.
//
// The next attempt begins when the last one has had its time and is still undecided, or
// as soon as one fails. The first that succeeds wins; what becomes of the others is for
// their owner to see to. How attempts are made, and what time it is, is given: so the
// same rules are tested with made-up attempts on a made-up clock.
#pragma once

#include <weft/deadline.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace weft::io::detail {

/// One attempt's end: 0 when it has succeeded, else -errno.
struct Decided {
    std::size_t attempt;
    int result;
};

inline constexpr int undecided = 1;
inline constexpr int not_begun = 2;

/// How a race stands, and ended.
struct RaceResult {
    std::vector<int> results;           // of each attempt: 0, -errno, undecided, or not_begun
    std::optional<std::size_t> winner;  // none: all have failed, or time was up
    std::size_t last = 0;               // the one that was decided last
};

/// Runs the race of `count` attempts. `Attempts` has:
///   int begin(std::size_t i)                  0, -errno, or `undecided`
///   std::optional<Decided> wait(Deadline)     the next decided one; none at the deadline
/// Blocks as wait() does, and throws what the two throw.
template <class Attempts>
RaceResult run_race(std::size_t count, std::chrono::milliseconds delay, Attempts& attempts,
                    Deadline deadline) {
    constexpr Deadline at_once = Deadline::Clock::time_point::min();
    RaceResult race{std::vector<int>(count, not_begun), std::nullopt};
    std::size_t begun = 0;
    std::size_t open = 0;  // begun and undecided; if there is none, the next may begin
    Deadline next = at_once;
    const auto decide = [&](Decided decided) {
        race.results[decided.attempt] = decided.result;
        race.last = decided.attempt;
        if (decided.result == 0) race.winner = decided.attempt;
        next = at_once;
    };
    while (!race.winner && (open > 0 || begun < count)) {
        const bool more = begun < count;
        if (more && next.passed()) {
            const int result = attempts.begin(begun);
            if (result == undecided) {
                race.results[begun] = undecided;
                next = Deadline{delay};
                ++open;
            } else {
                decide({begun, result});
            }
            ++begun;
        } else if (const auto decided = attempts.wait(more ? std::min(deadline, next) : deadline)) {
            decide(*decided);
            --open;
        }
        if (!race.winner && deadline.passed()) break;
    }
    return race;
}

/// The order in which to try what resolve() found: the families by turns, each in its
/// order, beginning with the first one's. `is_other(item)`: of the other family.
template <class Item, class IsOther>
std::vector<Item> by_turns(std::span<const Item> items, IsOther&& is_other) {
    std::vector<Item> ones;
    std::vector<Item> others;
    for (const Item& each : items) (is_other(each) ? others : ones).push_back(each);
    std::vector<Item> order;
    for (std::size_t i = 0; i < std::max(ones.size(), others.size()); ++i) {
        if (i < ones.size()) order.push_back(ones[i]);
        if (i < others.size()) order.push_back(others[i]);
    }
    return order;
}

}  // namespace weft::io::detail
