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
#include <sys/eventfd.h>
#include <time.h>

#include <cerrno>
#include <cstdint>

namespace weft::detail {

namespace {

using Outcome = Attempt::Outcome;

/// The thread's eventfd, made at first use. -1 when there is none to be had:
/// then a close() by others waits for the thread's call to end by itself.
class Interrupter {
public:
    Interrupter() noexcept : fd_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)} {}
    Interrupter(const Interrupter&) = delete;
    Interrupter& operator=(const Interrupter&) = delete;
    ~Interrupter() {
        if (fd_ >= 0) close_number(fd_);
    }
    int fd() const noexcept { return fd_; }
    void drain() const noexcept {
        std::uint64_t count = 0;
        (void)system_call<::syscall>(SYS_read, fd_, &count, sizeof count);
    }

private:
    const int fd_;
};

enum class Ready : std::uint8_t { now, interrupted, timed_out };

Ready wait_ready(const Request& request, int interrupter, Deadline deadline) noexcept {
    const auto events = static_cast<short>(interest_of(request));
    pollfd fds[2] = {{request.fd, events, 0}, {interrupter, POLLIN, 0}};
    for (;;) {
        const auto left = to_timespec<timespec>(time_left(deadline));
        const long ready =
            system_call<::syscall>(SYS_ppoll, fds, 2L, deadline.is_never() ? nullptr : &left,
                                   nullptr, sizeof(std::uint64_t));
        if (fds[1].revents != 0) return Ready::interrupted;
        if (ready > 0) return Ready::now;
        if (ready < 0 || deadline.passed()) return Ready::timed_out;
    }
}

int attempt_until_done(const Request& request, int interrupter, Deadline deadline) noexcept {
    std::uint32_t progress = 0;
    Attempt made = attempt(request, Occasion::submitted, progress);
    while (made.outcome == Outcome::would_block) {
        const Ready ready = wait_ready(request, interrupter, deadline);
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
    thread_local const Interrupter interrupter;
    operation.driver_ = nullptr;
    operation.interrupter_ = interrupter.fd();
    if (operation.use_ != nullptr) operation.use_->begin(operation);
    const bool closing = operation.use_ != nullptr && operation.use_->closing();
    const int result =
        closing ? -EBADF : attempt_until_done(operation.request_, interrupter.fd(), deadline);
    if (operation.use_ != nullptr) {
        operation.use_->end();
        interrupter.drain();
    }
    return result;
}

}  // namespace weft::detail
