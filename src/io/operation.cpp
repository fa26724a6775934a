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

IoDriver& driver_of(Worker& worker) noexcept { return static_cast<IoDriver&>(worker.driver()); }

void Operation::complete(int result) noexcept {
    result_ = result;
    completion_.happen();
}

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

void Operation::begin(IoDriver& driver) noexcept {
    completion_.reset();
    driver_ = &driver;
    if (use_ != nullptr) use_->begin(*this);
    driver.submit(*this);
}

Wake Operation::carry_out_in_fiber(Worker& worker, Deadline deadline, Cancellable cancellable,
                                   const char* reason) noexcept {
    begin(driver_of(worker));
    if (use_ != nullptr && use_->closing()) driver_->cancel(*this);
    const Wake wake = completion_.wait(deadline, cancellable, {reason, this});
    if (wake != Wake::notified) {
        driver_->cancel(*this);
        await();
    }
    if (use_ != nullptr) use_->end();
    return wake;
}

// A system call that was under way on a kernel thread ends with -EINTR.
bool Operation::ended_early(Wake wake) const noexcept {
    return result_ == -ECANCELED || (result_ == -EINTR && wake != Wake::notified);
}

int Operation::carry_out(Deadline deadline, Cancellable cancellable, const char* reason) {
    Worker* const worker = Worker::current();
    if (worker == nullptr) return perform_on_thread(*this, deadline);
    const Wake wake = carry_out_in_fiber(*worker, deadline, cancellable, reason);
    if (!ended_early(wake)) return result_;
    if (wake == Wake::cancelled) throw_interrupt();
    return wake == Wake::timed_out ? -ETIMEDOUT : -EBADF;
}

int perform(Operation& operation, Deadline deadline, Cancellable cancellable, const char* reason) {
    if (cancellable == Cancellable::yes) check_interrupt();
    for (;;) {
        const int result = operation.carry_out(deadline, cancellable, reason);
        if (result != -EINTR) return result;
    }
}

void cancel_descriptor(int fd) noexcept {
    Worker* const worker = Worker::current();
    if (worker == nullptr) return;
    Scheduler& scheduler = worker->scheduler();
    for (std::uint32_t i = 0; i < scheduler.workers(); ++i) {
        driver_of(scheduler.worker(i)).cancel_fd(fd);
    }
}

void close_descriptor(int fd) noexcept {
    cancel_descriptor(fd);
    close_number(fd);
}

}  // namespace weft::detail
