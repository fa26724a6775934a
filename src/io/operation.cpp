// Layer: io. Uses: base, sched, park.
#include "io/operation.hpp"

#include "base/assert.hpp"
#include "io/descriptor.hpp"
#include "io/foreign_use.hpp"
#include "io/system_call.hpp"
#include "sched/worker.hpp"

#include <cerrno>
#include <cstdint>

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

template <class AnyUse>
[[gnu::always_inline]] inline Wake Operation::carry_out_by(Worker& worker, Party& me,
                                                           Deadline deadline,
                                                           Cancellable cancellable,
                                                           const char* reason,
                                                           AnyUse* use) noexcept {
    const Limit limit{me, deadline, cancellable};
    const Purpose purpose{reason, this};
    completion_.reset();
    // One that is not to wait is begun all the same: what is there by now wins.
    waiter_ = limit.over() ? nullptr : &me;
    epoch_ = 0;
    cancellable_ = limit.cancellable();
    driver_ = &driver_of(worker);
    if (use != nullptr) use->begin(*this);
    driver_->submit(*this);
    Wake wake{};
    if (use != nullptr && use->closing_since_begin()) [[unlikely]] {
        wake = wait_while_closing(me, limit, purpose);
    } else if (epoch_ != 0) [[likely]] {
        wake = suspend({&me, epoch_}, limit, purpose);
    } else {
        wake = completion_.wait(me, limit, purpose);
    }
    if (wake != Wake::notified) [[unlikely]]
        end_in_vain();
    return wake;
}

template <class AnyUse>
Wake Operation::carry_out_in_fiber(Worker& worker, AnyUse& use, Deadline deadline,
                                   Cancellable cancellable, const char* reason) noexcept {
    return carry_out_by(worker, *worker.fiber(), deadline, cancellable, reason, &use);
}
template Wake Operation::carry_out_in_fiber(Worker&, ForeignUse&, Deadline, Cancellable,
                                            const char*) noexcept;
template Wake Operation::carry_out_in_fiber(Worker&, ForeignUses&, Deadline, Cancellable,
                                            const char*) noexcept;

void Operation::begin(IoDriver& driver, ForeignUse& use) noexcept {
    completion_.reset();
    driver_ = &driver;
    use.begin(*this);
    driver.submit(*this);
    if (use.closing_since_begin()) driver.cancel(*this);
}

/// cancel() may allocate, so not in the wait that arm() began.
[[gnu::cold]] Wake Operation::wait_while_closing(Party& me, const Limit& limit,
                                                 const Purpose& purpose) noexcept {
    if (epoch_ != 0) {
        const bool mine = me.word().claim(epoch_, Wake::notified) != Claim::lost;
        if (!mine) return suspend({&me, epoch_}, limit, purpose);  // whoever ended it resumes us
        me.word().finish();
    }
    driver_->cancel(*this);
    return completion_.wait(me, limit, purpose);
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
        Worker* const worker = Worker::current();
        if (worker == nullptr) [[unlikely]] {
            const int result = perform_on_thread(operation, deadline);
            if (result == -EINTR) continue;
            return result;
        }
        WEFT_ASSERT(worker->fiber() != nullptr);
        const Wake wake = operation.carry_out_by(*worker, *worker->fiber(), deadline, cancellable,
                                                 reason, operation.use_);
        if (operation.use_ != nullptr) operation.use_->end();
        if (operation.ended_early(wake)) [[unlikely]]
            return Operation::result_of_end(wake);
        if (operation.result_ != -EINTR) [[likely]]
            return operation.result_;
    }
}

}  // namespace weft::detail
