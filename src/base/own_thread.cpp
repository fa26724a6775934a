// Layer: base.
#include "base/own_thread.hpp"

#include <atomic>

namespace weft::detail {

namespace {

// Atomic for TSan only, which takes the fibers of a thread for threads.
constinit thread_local std::atomic<unsigned> own_threads{0};

/// Laundered, as every address of a thread_local that fibers may ask for.
[[gnu::noinline]] std::atomic<unsigned>& count() noexcept {
    std::atomic<unsigned>* own = &own_threads;
    asm volatile("" : "+r"(own));
    return *own;
}

}  // namespace

bool starts_own_thread() noexcept { return count().load(std::memory_order_relaxed) != 0; }

sigset_t asynchronous_signals() noexcept {
    sigset_t asynchronous;
    sigfillset(&asynchronous);
    for (const int open : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF,
                           SIGURG, SIGKILL, SIGSTOP}) {
        sigdelset(&asynchronous, open);
    }
    return asynchronous;
}

StartsOwnThread::StartsOwnThread() noexcept {
    count().fetch_add(1, std::memory_order_relaxed);
    const sigset_t asynchronous = asynchronous_signals();
    pthread_sigmask(SIG_BLOCK, &asynchronous, &blocked_before_);
}

StartsOwnThread::~StartsOwnThread() {
    pthread_sigmask(SIG_SETMASK, &blocked_before_, nullptr);
    count().fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace weft::detail
