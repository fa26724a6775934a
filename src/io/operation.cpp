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

inline Wake Operation::carry_out_by(IoDriver& driver, Deadline deadline, Cancellable cancellable,
                                    const char* reason) noexcept {
    completion_.reset();
    driver_ = &driver;
    if (use_ != nullptr) use_->begin(*this);
    driver.submit(*this);
    if (use_ != nullptr && use_->closing()) [[unlikely]]
        driver.cancel(*this);
    const Wake wake = completion_.wait(deadline, cancellable, {reason, this});
    if (wake != Wake::notified) [[unlikely]]
        end_in_vain();
    if (use_ != nullptr) use_->end();
    return wake;
}

inline int Operation::carry_out(Deadline deadline, Cancellable cancellable, const char* reason) {
    Worker* const worker = Worker::current();
    if (worker == nullptr) [[unlikely]]
        return perform_on_thread(*this, deadline);
    const Wake wake = carry_out_by(driver_of(*worker), deadline, cancellable, reason);
    if (ended_early(wake)) [[unlikely]]
        return result_of_end(wake);
    return result_;
}

Wake Operation::carry_out_in_fiber(Worker& worker, Deadline deadline, Cancellable cancellable,
                                   const char* reason) noexcept {
    return carry_out_by(driver_of(worker), deadline, cancellable, reason);
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
