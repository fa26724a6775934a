// Threads that weft itself starts, which stay threads where those of the program are made
// fibers (weft-run --threads). Layer: base.
#pragma once

#include <weft/detail/export.hpp>

#include <thread>
#include <utility>

namespace weft::detail {

/// Whether the calling thread is just starting a thread of weft's own.
WEFT_API bool starts_own_thread() noexcept;

class StartsOwnThread {
public:
    StartsOwnThread() noexcept;
    StartsOwnThread(const StartsOwnThread&) = delete;
    StartsOwnThread& operator=(const StartsOwnThread&) = delete;
    ~StartsOwnThread();
};

/// As std::thread's constructor.
template <class Body>
[[nodiscard]] std::thread start_own_thread(Body&& body) {
    const StartsOwnThread mark;
    return std::thread{std::forward<Body>(body)};
}

}  // namespace weft::detail
