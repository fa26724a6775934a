// Layer: base. Uses: futex(2).
#include "base/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>

namespace weft::detail {

bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                TimePoint until) noexcept {
    using namespace std::chrono;
    timespec at{};
    const timespec* limit = nullptr;
    if (until != TimePoint::max()) {
        const auto ns = duration_cast<nanoseconds>(until.time_since_epoch()).count();
        at = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
        limit = &at;
    }
    // FUTEX_WAIT_BITSET takes an absolute time of the steady clock.
    const long r = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, seen, limit, nullptr,
                           FUTEX_BITSET_MATCH_ANY);
    return !(r == -1 && errno == ETIMEDOUT);
}

void futex_wake_all(const std::atomic<std::uint32_t>* word) noexcept {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace weft::detail
