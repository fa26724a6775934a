// Layer: io. Uses: base, sched, park.
#include "io/operation.hpp"

#include "base/assert.hpp"
#include "io/descriptor.hpp"
#include "io/system_call.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

#include <cerrno>
#include <cstdint>
#include <utility>

namespace weft::detail {

namespace {

// The runtime gives its workers nothing but IoDrivers.
IoDriver& driver_of(Worker& worker) noexcept { return static_cast<IoDriver&>(worker.driver()); }

}  // namespace

int Operation::await() noexcept {
    const Wake wake = completion_.wait(Deadline::never(), Cancellable::no,
                                       {"an operation that must end first", this});
    WEFT_ASSERT(wake == Wake::notified);
    return result_;
}

void Operation::end_early() noexcept {
    if (driver_ != nullptr) {
        driver_->cancel(*this);
        return;
    }
    const std::uint64_t one = 1;
    (void)system_call<::syscall>(SYS_write, interrupter_, &one, sizeof one);
}

inline int Operation::carry_out(Deadline deadline, Cancellable cancellable, const char* reason) {
    Worker* const worker = Worker::current();
    if (worker == nullptr) [[unlikely]]
        return perform_on_thread(*this, deadline);

    completion_.reset();
    driver_ = &driver_of(*worker);
    if (use_ != nullptr) use_->begin(*this);
    driver_->submit(*this);
    if (use_ != nullptr && use_->closing()) [[unlikely]]
        driver_->cancel(*this);
    const Wake wake = completion_.wait(deadline, cancellable, {reason, this});
    if (wake != Wake::notified) [[unlikely]]
        end_in_vain();
    if (use_ != nullptr) use_->end();

    // A system call that was under way on a kernel thread ends with -EINTR.
    const bool ended_early = result_ == -ECANCELED || (result_ == -EINTR && wake != Wake::notified);
    if (ended_early) [[unlikely]]
        return result_of_end(wake);
    return result_;
}

[[gnu::cold]] void Operation::end_in_vain() noexcept {
    driver_->cancel(*this);
    await();
}

[[gnu::cold]] int Operation::result_of_end(Wake why) {
    if (why == Wake::cancelled) throw_interrupt();
    return why == Wake::timed_out ? -ETIMEDOUT : -EBADF;
}

[[gnu::hot]] int perform(Operation& operation, Deadline deadline, Cancellable cancellable,
                         const char* reason) {
    if (cancellable == Cancellable::yes) [[likely]]
        check_interrupt();
    for (;;) {
        const int result = operation.carry_out(deadline, cancellable, reason);
        if (result != -EINTR) [[likely]]
            return result;
    }
}

void close_descriptor(int fd) noexcept {
    if (Worker* worker = Worker::current(); worker != nullptr) {
        Scheduler& scheduler = worker->scheduler();
        for (std::uint32_t i = 0; i < scheduler.workers(); ++i) {
            driver_of(scheduler.worker(i)).cancel_fd(fd);
        }
    }
    close_number(fd);
}

}  // namespace weft::detail
