// perform() for plain threads: attempts, and poll(2) between them.
// Layer: io. Uses: base.
//
// A thread's poll() also watches an eventfd of its own, by which a close() of
// the descriptor reaches it. Files block the thread in the system call.
#include "io/attempt.hpp"
#include "io/descriptor.hpp"
#include "io/operation.hpp"
#include "io/system_call.hpp"
#include "io/timespec.hpp"

#include <weft/deadline.hpp>

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <utility>

namespace weft::detail {

namespace {

using Outcome = Attempt::Outcome;

/// The thread's eventfd. Has no destructor: there are calls after the thread's end, by
/// destructors of static objects.
struct Interrupter {
    int fd = -1;
    unsigned forks = 0;  // when it was made
    bool over = false;   // nobody would close another one
};

// Of this process and those that it comes from.
constinit std::atomic<unsigned> forks{0};

void count_fork() noexcept { forks.fetch_add(1, std::memory_order_relaxed); }

void close_own(Interrupter& own) noexcept {
    const int fd = std::exchange(own.fd, -1);
    if (fd >= 0) close_number(fd);
}

class ClosedAtEnd {
public:
    explicit ClosedAtEnd(Interrupter& own) noexcept : own_{own} {}
    ClosedAtEnd(const ClosedAtEnd&) = delete;
    ClosedAtEnd& operator=(const ClosedAtEnd&) = delete;
    ~ClosedAtEnd() {
        close_own(own_);
        own_.over = true;
    }

private:
    Interrupter& own_;
};

/// That of a forked child's parent is the parent's, too: either would wake the other by it.
void renew(Interrupter& own) noexcept {
    // Without memory for it they do, in vain.
    static const int registered = ::pthread_atfork(nullptr, nullptr, &count_fork);
    (void)registered;
    close_own(own);
    own.forks = forks.load(std::memory_order_relaxed);
    own.fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

/// Made at first use. -1 when there is none to be had, for lack of descriptors, or the thread ends.
[[gnu::always_inline]] inline int interrupter_of_thread() noexcept {
    constinit thread_local Interrupter own;
    if (own.over) return -1;
    if (own.fd >= 0 && own.forks == forks.load(std::memory_order_relaxed)) return own.fd;
    thread_local const ClosedAtEnd at_end{own};
    renew(own);
    return own.fd;
}

/// False: it is not open, or somebody else's by now.
bool drain(int interrupter) noexcept {
    std::uint64_t count = 0;
    const long size = system_call<::syscall>(SYS_read, interrupter, &count, sizeof count);
    return size == sizeof count || size == -EAGAIN;
}

/// Without an interrupter nothing tells a thread of a close(): so often it looks.
constexpr std::chrono::milliseconds look_every{20};

enum class Ready : std::uint8_t { now, interrupted, timed_out };

Ready wait_ready(const Operation& operation, int interrupter, Deadline deadline) noexcept {
    const Request& request = operation.request();
    const auto events = static_cast<short>(interest_of(request));
    pollfd fds[2] = {{request.fd, events, 0}, {interrupter, POLLIN, 0}};
    for (;;) {
        const bool looks = fds[1].fd < 0 && operation.use() != nullptr;
        if (looks && operation.use()->closing()) return Ready::interrupted;
        const Deadline until = looks ? std::min(deadline, Deadline{look_every}) : deadline;
        const auto left = to_timespec<timespec>(time_left(until));
        const long ready = system_call<::syscall>(
            SYS_ppoll, fds, 2L, until.is_never() ? nullptr : &left, nullptr, sizeof(std::uint64_t));
        if (ready == 0 && looks && !deadline.passed()) continue;
        if (ready > 0 && fds[1].revents != 0) {
            if (operation.use()->closing()) return Ready::interrupted;
            // A forked child closed its copy of the descriptor; or somebody closed all numbers.
            if (!drain(interrupter)) fds[1].fd = -1;
            if (deadline.passed()) return Ready::timed_out;
            continue;
        }
        if (ready > 0) return Ready::now;
        if (ready < 0 || deadline.passed()) return Ready::timed_out;
    }
}

int attempt_until_done(const Operation& operation, int interrupter, Deadline deadline) noexcept {
    const Request& request = operation.request();
    std::uint32_t progress = 0;
    Attempt made = attempt(request, Occasion::submitted, progress);
    for (bool again = false; made.outcome == Outcome::would_block; again = true) {
        // What was ready in vain may say so for ever.
        const bool over = again && deadline.passed();
        const Ready ready = over ? Ready::timed_out : wait_ready(operation, interrupter, deadline);
        if (ready != Ready::now) {
            if (progress > 0) return static_cast<int>(progress);
            return ready == Ready::interrupted ? -EBADF : -ETIMEDOUT;
        }
        made = attempt(request, Occasion::readiness_on_thread, progress);
    }
    return made.outcome == Outcome::done ? made.result : carry_out(request);
}

}  // namespace

int perform_on_thread(Operation& operation, Deadline deadline) {
    operation.driver_ = nullptr;
    Use* const use = operation.use_;
    const int interrupter = interrupter_of_thread();
    if (use == nullptr) return attempt_until_done(operation, -1, deadline);
    operation.interrupter_ = interrupter;
    use->begin(operation);
    const int result =
        use->closing() ? -EBADF : attempt_until_done(operation, interrupter, deadline);
    use->end();
    drain(interrupter);
    return result;
}

}  // namespace weft::detail
