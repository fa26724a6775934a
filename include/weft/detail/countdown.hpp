#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <cstddef>

namespace weft::detail {

/// A number of things to come, and those who wait until it is zero: what Latch
/// and WaitGroup have in common.
class WEFT_API Countdown {
public:
    /// Whose it is, for errors and dumps. Literals.
    struct Names {
        const char* owner;
        const char* wait;
    };

    /// Throws std::invalid_argument when `count` is negative.
    Countdown(std::ptrdiff_t count, const Names& names);

    /// Adds `difference` and, at zero, wakes all who wait. Throws std::logic_error
    /// when the count would be negative or too large; then nothing changed.
    void change(std::ptrdiff_t difference);

    std::ptrdiff_t count() const noexcept;

    /// Waits for zero. A cancellation point. False at the deadline.
    bool wait(Deadline deadline);

private:
    mutable WaitQueue waiters_;
    std::ptrdiff_t count_;  // guarded by waiters_.lock(); > 0 while somebody waits
    const Names& names_;
};

}  // namespace weft::detail
