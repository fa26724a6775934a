// What a stress test is told from outside: where its chance begins, and how long it goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdlib>

namespace weft::test {

/// WEFT_SEED repeats what a failure printed; timing is not repeated with it.
inline std::uint64_t seed() {
    if (const char* text = std::getenv("WEFT_SEED")) return std::strtoull(text, nullptr, 10);
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

/// How many operations in all: WEFT_STRESS_OPERATIONS, or `few` without it.
inline long operations(long few) {
    const char* text = std::getenv("WEFT_STRESS_OPERATIONS");
    return text == nullptr ? few : std::atol(text);
}

}  // namespace weft::test
