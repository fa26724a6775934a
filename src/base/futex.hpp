// Futex: how a plain thread sleeps until a word changes.
// Layer: base. Uses: futex(2).
#pragma once

#include "base/clock.hpp"

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <vector>

namespace weft::detail {

/// Sleeps while `word` is `seen`, at most until `until` (max(): for ever). May
/// return early. True unless the time came.
bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                TimePoint until = TimePoint::max()) noexcept;
/// The same, for who is not to be listed among blocked_threads(): it waits for work.
bool futex_rest(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                TimePoint until) noexcept;
/// Wakes those who wait. The word may be gone: only its address is used.
void futex_wake_all(const std::atomic<std::uint32_t>* word) noexcept;

/// A thread inside futex_wait() without a time limit.
struct BlockedThread {
    pid_t tid;
    std::uint64_t wait;  // which of all waits it is
    bool operator==(const BlockedThread&) const = default;
};
/// Those whose word still has the value they wait on, the latest first.
std::vector<BlockedThread> blocked_threads();

}  // namespace weft::detail
