// Layer: base. Uses: futex(2).
#include "base/futex.hpp"

#include "base/sanitizer.hpp"

#include <weft/detail/wait_queue.hpp>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <ctime>
#include <mutex>
#include <new>

namespace weft::detail {

namespace {

// Of a futex_wait() without a time limit; on the waiter's stack.
struct Blocked {
    const std::atomic<std::uint32_t>& word;
    const std::uint32_t seen;
    const pid_t tid;
    std::uint64_t wait = 0;
    Blocked* next = nullptr;
    Blocked* prev = nullptr;
};

constinit SpinLock blocked_lock;
constinit Blocked* last_blocked = nullptr;  // guarded by blocked_lock
constinit std::uint64_t blocked_waits = 0;  // guarded by blocked_lock

// A forked child has one thread, which does not wait; one of those that it lacks may have had
// the lock.
void forget_the_others() noexcept {
    ::new (&blocked_lock) SpinLock;
    last_blocked = nullptr;
}

// Links a Blocked as long as it lives.
class Listed {
public:
    explicit Listed(Blocked& blocked) noexcept : blocked_{blocked} {
        // Without memory for it a child may hang; nobody here could be told.
        static const int registered = ::pthread_atfork(nullptr, nullptr, &forget_the_others);
        (void)registered;
        const Unobserved quiet;
        const std::lock_guard hold{blocked_lock};
        blocked_.wait = ++blocked_waits;
        blocked_.prev = last_blocked;
        if (last_blocked != nullptr) last_blocked->next = &blocked_;
        last_blocked = &blocked_;
    }
    Listed(const Listed&) = delete;
    Listed& operator=(const Listed&) = delete;
    ~Listed() {
        const Unobserved quiet;
        const std::lock_guard hold{blocked_lock};
        if (blocked_.prev != nullptr) blocked_.prev->next = blocked_.next;
        (blocked_.next != nullptr ? blocked_.next->prev : last_blocked) = blocked_.prev;
    }

private:
    Blocked& blocked_;
};

bool call_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
               const timespec* limit) noexcept {
    // FUTEX_WAIT_BITSET takes an absolute time of the steady clock.
    const long r = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, seen, limit, nullptr,
                           FUTEX_BITSET_MATCH_ANY);
    return !(r == -1 && errno == ETIMEDOUT);
}

bool wait_for_ever(const std::atomic<std::uint32_t>& word, std::uint32_t seen) noexcept {
#if defined(WEFT_TSAN)
    // TSan keeps a signal back until the thread calls something that it knows, an atomic for
    // one. It would keep one that comes just before the call back as long as that lasts.
    constexpr std::chrono::milliseconds longest{50};
    while (!futex_rest(word, seen, std::chrono::steady_clock::now() + longest)) {
        if (word.load(std::memory_order_relaxed) != seen) break;
    }
    return true;
#else
    return call_wait(word, seen, nullptr);
#endif
}

}  // namespace

bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                TimePoint until) noexcept {
    if (until != TimePoint::max()) return futex_rest(word, seen, until);
    Blocked blocked{word, seen, static_cast<pid_t>(syscall(SYS_gettid))};
    const Listed listed{blocked};
    return wait_for_ever(word, seen);
}

bool futex_rest(const std::atomic<std::uint32_t>& word, std::uint32_t seen,
                TimePoint until) noexcept {
    using namespace std::chrono;
    if (until == TimePoint::max()) return call_wait(word, seen, nullptr);
    const auto ns = duration_cast<nanoseconds>(until.time_since_epoch()).count();
    const timespec at{static_cast<time_t>(ns / 1'000'000'000),
                      static_cast<long>(ns % 1'000'000'000)};
    return call_wait(word, seen, &at);
}

void futex_wake_all(const std::atomic<std::uint32_t>* word) noexcept {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

std::vector<BlockedThread> blocked_threads() {
    const Unobserved quiet;
    std::vector<BlockedThread> threads;
    const std::lock_guard hold{blocked_lock};
    for (const Blocked* each = last_blocked; each != nullptr; each = each->prev) {
        if (each->word.load(std::memory_order_seq_cst) != each->seen) continue;
        threads.push_back({each->tid, each->wait});
    }
    return threads;
}

}  // namespace weft::detail
