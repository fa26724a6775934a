// Futex: how a plain thread sleeps until a word changes.
// Layer: base. Uses: futex(2).
#pragma once

#include "base/clock.hpp"

#include <atomic>
#include <cstdint>

namespace weft::detail {

/// Sleeps while `word` is `seen`, at most until `until` (max(): for ever). May
/// return early. True unless the time came.
bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                TimePoint until = TimePoint::max()) noexcept;
/// Wakes those who wait. The word may be gone: only its address is used.
void futex_wake_all(const std::atomic<std::uint32_t>* word) noexcept;

}  // namespace weft::detail
