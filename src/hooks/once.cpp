// pthread_once() and call_once() in fibers. Layer: hooks. Uses: park.
//
// A fiber runs the routine outside of libc, which would note it in the thread, but leaves
// glibc's states in the word: so threads wait for a fiber's routine, and the other way
// round. A run that was cut short by a fork() is glibc's generation of another process.
#include "hooks/c11.hpp"
#include "hooks/parking.hpp"

#include <weft/this_fiber.hpp>

#include <atomic>
#include <cerrno>
#include <mutex>

#include <linux/futex.h>
#include <sys/syscall.h>

namespace weft::hooks::detail {

namespace {

constexpr int running = 1;
constexpr int done = 2;

std::atomic_ref<int> word_of(pthread_once_t& control) noexcept {
    return std::atomic_ref<int>{control};
}

// --- what glibc puts there ---

struct Probe {
    pthread_once_t control = PTHREAD_ONCE_INIT;
    int seen = 0;
};
constinit thread_local Probe* probe_of_thread = nullptr;

/// What the word says in glibc while a routine runs that began in this process.
[[gnu::noinline]] int running_here() noexcept {
    Probe probe;
    probe_of_thread = &probe;
    WEFT_ORIGINAL(pthread_once)
    (&probe.control, [] { probe_of_thread->seen = probe_of_thread->control; });
    return probe.seen;
}

// --- what std::call_once() puts into the thread before it calls ---

#if defined(__GLIBCXX__) && defined(_GLIBCXX_HAVE_TLS)
// Laundered: the fiber waits in between, though it stays.
[[gnu::noinline]] void** callable_of_thread() noexcept {
    void** at = &std::__once_callable;
    asm volatile("" : "+r"(at));
    return at;
}
[[gnu::noinline]] void (**call_of_thread() noexcept)() {
    void (**at)() = &std::__once_call;
    asm volatile("" : "+r"(at));
    return at;
}
class KeptCall {
public:
    KeptCall() noexcept : callable_{*callable_of_thread()}, call_{*call_of_thread()} {}
    KeptCall(const KeptCall&) = delete;
    KeptCall& operator=(const KeptCall&) = delete;
    ~KeptCall() {
        *callable_of_thread() = callable_;
        *call_of_thread() = call_;
    }

private:
    void* const callable_;
    void (*const call_)();
};
#else
struct KeptCall {};
#endif

// --- running it ---

void wake_all(pthread_once_t& control) noexcept {
    const int saved_errno = errno;
    WEFT_ORIGINAL(syscall)
    (SYS_futex, reinterpret_cast<long>(&control), FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
    errno = saved_errno;
    wake(&control, everybody);
}

/// Ends the run, as failed unless told otherwise.
class Run {
public:
    explicit Run(pthread_once_t& control) noexcept : control_{control} {}
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
        word_of(control_).store(end_, std::memory_order_seq_cst);
        wake_all(control_);
    }
    void succeeded() noexcept { end_ = done; }

private:
    pthread_once_t& control_;
    int end_ = 0;
};

void wait_for_end(pthread_once_t& control, int now, const char* reason) noexcept {
    const this_fiber::Pin pin;
    const KeptCall kept;
    park_on({&control, reason}, Deadline::never(),
            [&] { return word_of(control).load(std::memory_order_seq_cst) != now; });
}

void run_once(pthread_once_t& control, void (*routine)(), const char* reason) {
    const int here = running_here();
    int seen = word_of(control).load(std::memory_order_acquire);
    for (;;) {
        if ((seen & done) != 0) return;
        if (seen == here) {
            wait_for_end(control, here, reason);
            seen = word_of(control).load(std::memory_order_acquire);
        } else if (word_of(control).compare_exchange_weak(seen, here, std::memory_order_acq_rel,
                                                          std::memory_order_acquire)) {
            break;
        }
    }
    Run run{control};
    routine();
    run.succeeded();
}

/// After a thread's run in libc, which tells only threads of its end.
class FibersToldAtEnd {
public:
    explicit FibersToldAtEnd(const void* control) noexcept : control_{control} {}
    FibersToldAtEnd(const FibersToldAtEnd&) = delete;
    FibersToldAtEnd& operator=(const FibersToldAtEnd&) = delete;
    ~FibersToldAtEnd() {
        weft::detail::full_fence();  // pairs with park_on()
        wake(control_, everybody);
    }

private:
    const void* const control_;
};

bool is_done(pthread_once_t& control) noexcept {
    return (word_of(control).load(std::memory_order_acquire) & done) != 0;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_pthread_once(pthread_once_t* control, void (*routine)()) {
    if (is_done(*control)) return 0;
    if (WEFT_TAKEN_FOR_NOW(pthread_once) == nullptr) {
        const FibersToldAtEnd told{control};
        return WEFT_ORIGINAL(pthread_once)(control, routine);
    }
    run_once(*control, routine, "pthread_once");
    return 0;
}

WEFT_OTHER_NAME(int, __pthread_once, (pthread_once_t * control, void (*routine)()), pthread_once);

void hook_call_once(once_flag* flag, void (*routine)()) {
    pthread_once_t& control = pthreads(*flag);
    if (is_done(control)) return;
    if (WEFT_TAKEN_FOR_NOW(call_once) != nullptr) return run_once(control, routine, "call_once");
    const FibersToldAtEnd told{&control};
    WEFT_ORIGINAL(call_once)(flag, routine);
}
