// perform() for plain threads: attempts, and poll(2) between them.
// Layer: io. Uses: base.
//
// A thread's poll() also watches an eventfd of its own, by which a close() of
// the descriptor reaches it. Files block the thread in the system call.
#include "io/attempt.hpp"
#include "io/descriptor.hpp"
#include "io/operation.hpp"
#include "io/system_call.hpp"

#include <weft/deadline.hpp>

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
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
        timespec left{};
        if (!deadline.is_never() && !deadline.passed()) {
            const std::chrono::nanoseconds time = deadline.at() - now();
            const std::int64_t ns = std::max<std::int64_t>(0, time.count());
            left = {ns / 1'000'000'000, ns % 1'000'000'000};
        }
        const long ready =
            system_call<::syscall>(SYS_ppoll, fds, 2L, deadline.is_never() ? nullptr : &left,
                                   nullptr, sizeof(std::uint64_t));
        if (fds[1].revents != 0) return Ready::interrupted;
        if (ready > 0) return Ready::now;
        if (ready < 0 || deadline.passed()) return Ready::timed_out;
    }
}

/// Reads and writes are not attempted a second time: of a file nothing would
/// come of it but another "would block".
bool is_for_carry_out(const Request& request) noexcept {
    using Code = Request::Code;
    return request.code == Code::read || request.code == Code::write ||
           request.code == Code::readv || request.code == Code::writev;
}

Attempt try_again(const Request& request, std::uint32_t& progress) noexcept {
    if (!is_for_carry_out(request)) return attempt(request, Occasion::readiness, progress);
    const int result = carry_out(request);
    if (result == -EAGAIN) return {Outcome::would_block};
    return {Outcome::done, result};
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
        made = try_again(request, progress);
    }
    return made.outcome == Outcome::done ? made.result : carry_out(request);
}

}  // namespace

int perform_on_thread(Operation& operation, Deadline deadline) {
    thread_local const Interrupter interrupter;
    operation.driver_ = nullptr;
    operation.interrupter_ = interrupter.fd();
    if (operation.use_ != nullptr) operation.use_->begin(operation);
    const int result = attempt_until_done(operation.request_, interrupter.fd(), deadline);
    if (operation.use_ != nullptr) {
        operation.use_->end(operation);
        interrupter.drain();
    }
    return result;
}

}  // namespace weft::detail
