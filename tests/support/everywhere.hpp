// What is true whoever runs when. Own header: it is for tests whose body is quick.
#pragma once

#include "support/process.hpp"
#include "support/runtime.hpp"

#include <cstdint>

namespace weft::test {

/// How many orders a simulated test is run in, unless it says otherwise.
inline constexpr std::uint64_t seeds = under_sanitizer ? 15 : 60;

/// Runs `body()` as a main fiber on every number of workers, migrating as well, and in
/// `seeds` simulations.
template <class Body>
void everywhere(Body&& body) {
    also_migrating(body);
    on_seeds(seeds, [&](std::uint64_t) { body(); });
}

}  // namespace weft::test
