// Plain threads that wait in the table of parked ones, where pthread_cancel() finds them.
// Layer: hooks. Uses: park.
//
// libc ends the wait of a thread that is cancelled in calls of its own only. So a thread that waits
// here says where; who cancels it marks it then, and wakes everybody at that address, who are
// used to being woken for nothing. It comes to pthread_testcancel() by itself, with its
// mutex locked. (Rejected: a signal, as libc has it, and unwinding out of its handler. The thread
// may have a bucket's lock by then.)
//
// No cancellation is lost: a thread lists itself, then asks libc; who cancels it tells libc, then
// looks at the list, under its lock. And a marked one does not sleep: it looks at its mark last, as
// at any word it waits for (parking.hpp, 2). No signal to a condition is lost either, though a
// thread may have taken it that is cancelled then: all others there were woken, too.
#pragma once

#include <atomic>

#include <pthread.h>

namespace weft::hooks::detail {

/// Lists the calling thread, as long as it lives.
class WaitingThread {
public:
    explicit WaitingThread(const void* address) noexcept;
    WaitingThread(const WaitingThread&) = delete;
    WaitingThread& operator=(const WaitingThread&) = delete;
    ~WaitingThread();

    bool is_cancelled() const noexcept { return cancelled_.load(std::memory_order_seq_cst); }

private:
    friend void wake_cancelled(pthread_t thread) noexcept;

    const pthread_t thread_ = ::pthread_self();
    const void* const address_;
    std::atomic<bool> cancelled_{false};
    // --- guarded by the list's lock ---
    WaitingThread* next_ = nullptr;
    WaitingThread* prev_ = nullptr;
};

/// After libc's pthread_cancel() of it.
void wake_cancelled(pthread_t thread) noexcept;

/// In a child of fork(), whose thread does not wait.
void forget_waiting_threads() noexcept;

}  // namespace weft::hooks::detail
