// Threads that weft itself starts. Layer: base.
//
// They stay threads where those of the program are made fibers (weft-run --threads). And they
// are born with all signals blocked that do not come from what they do themselves, but for
// SIGURG and SIGPROF: handlers belong to the program's own threads. (Blocked by the new thread
// itself, one would come to it in its first moments, and out of order.)
#pragma once

#include <weft/detail/export.hpp>

#include <signal.h>

#include <thread>
#include <utility>

namespace weft::detail {

/// Whether the calling thread is just starting a thread of weft's own.
WEFT_API bool starts_own_thread() noexcept;

/// Those that do not come from what a thread does itself, without SIGURG and SIGPROF.
WEFT_API sigset_t asynchronous_signals() noexcept;

class WEFT_API StartsOwnThread {
public:
    StartsOwnThread() noexcept;
    StartsOwnThread(const StartsOwnThread&) = delete;
    StartsOwnThread& operator=(const StartsOwnThread&) = delete;
    ~StartsOwnThread();

private:
    sigset_t blocked_before_;
};

/// As std::thread's constructor.
template <class Body>
[[nodiscard]] std::thread start_own_thread(Body&& body) {
    const StartsOwnThread mark;
    return std::thread{std::forward<Body>(body)};
}

}  // namespace weft::detail
