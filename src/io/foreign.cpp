// Layer: io. Uses: base, sched, park.
#include "io/foreign.hpp"

#include "base/sync.hpp"
#include "io/attempt.hpp"
#include "park/interrupt.hpp"
#include "park/park.hpp"
#include "sched/worker.hpp"

#include <weft/detail/wait_queue.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

namespace weft::detail {

namespace {

/// Around a wait that a signal may end, of a fiber that takes some.
class Exposed {
public:
    Exposed() noexcept
        : fiber_{*Worker::current()->fiber()},
          takes_signals_{(fiber_.foreign & FiberCore::foreign_takes_signals) != 0} {
        if (takes_signals_) {
            fiber_.marks.fetch_or(FiberCore::mark_exposed, std::memory_order_seq_cst);
        }
    }
    Exposed(const Exposed&) = delete;
    Exposed& operator=(const Exposed&) = delete;
    ~Exposed() {
        if (takes_signals_) fiber_.marks.fetch_and(not_exposed, std::memory_order_seq_cst);
    }

private:
    static constexpr auto not_exposed = static_cast<std::uint8_t>(~FiberCore::mark_exposed);
    FiberCore& fiber_;
    const bool takes_signals_;
};

/// What ended a wait before what it was for, as libc says it.
int reason_of_end(Wake wake) noexcept {
    if (wake == Wake::timed_out) return -ETIMEDOUT;
    if (wake != Wake::cancelled) return -EBADF;  // whoever closes it ended the operation
    const Party& me = this_party();
    const bool by_signal = !me.interrupt_pending() && me.timeouts() == nullptr;
    return by_signal ? -EINTR : -ECANCELED;
}

/// Whether a call that was to end with `result` goes on, since the handler wants it so.
bool is_restarted(int result, Interruption needed) noexcept {
    if (result != -EINTR || needed != Interruption::all) return false;
    const auto marks = Worker::current()->fiber()->marks.load(std::memory_order_acquire);
    return (marks & FiberCore::mark_restarts) != 0;
}

}  // namespace

template <class AnyUse>
int perform_foreign_by(AnyUse& use, const Request& request, Deadline deadline, const char* reason,
                       Interruption needed) noexcept {
    const this_fiber::Pin pin;
    // Made anew after a close has begun it would be made on what gets the number.
    while (!use.closing()) {
        Operation operation{request};
        const Exposed to_signals;
        const Wake wake = operation.carry_out_in_fiber(*Worker::current(), use, deadline,
                                                       Cancellable::yes, reason);
        use.end();
        // A call that a kernel thread makes is interrupted by a close, as by a cancel.
        const bool in_vain = operation.result_ == -ECANCELED || operation.result_ == -EINTR;
        const bool early = in_vain && (wake != Wake::notified || use.closing());
        const int result = early ? reason_of_end(wake) : operation.result_;
        // One with a time limit is never restarted: signal(7).
        const bool restarted = deadline.is_never() && is_restarted(result, needed);
        if (early ? !restarted : result != -EINTR) return result;
    }
    return -EBADF;
}

int perform_foreign(ForeignUse& use, const Request& request, Deadline deadline, const char* reason,
                    Interruption needed) noexcept {
    return perform_foreign_by(use, request, deadline, reason, needed);
}

int perform_foreign(ForeignUses& uses, const Request& request, Deadline deadline,
                    const char* reason, Interruption needed) noexcept {
    return perform_foreign_by(uses, request, deadline, reason, needed);
}

int perform_foreign(const Request& request, Deadline deadline, const char* reason,
                    Interruption needed) noexcept {
    ForeignUse use{request.fd};
    return perform_foreign_by(use, request, deadline, reason, needed);
}

int perform_foreign_when_ready(ForeignUse& use, const Request& request, Deadline deadline,
                               const char* reason) noexcept {
    if (!is_waited_for(request.fd)) return perform_foreign(use, request, deadline, reason);
    const Request poll{
        .code = Request::Code::poll, .fd = request.fd, .flags = interest_of(request)};
    for (;;) {
        if (const int ready = perform_foreign(use, poll, deadline, reason); ready < 0) return ready;
        std::uint32_t progress = 0;
        const Attempt made = attempt(request, Occasion::readiness, progress);
        if (made.outcome == Attempt::Outcome::done) return made.result;
    }
}

/// Several polls, one wait.
class Polls {
public:
    /// Begins none if a number of them is being closed.
    explicit Polls(std::span<const pollfd> fds) noexcept {
        WEFT_ASSERT(fds.size() <= most_polled);
        for (const pollfd& each : fds) {
            if (each.fd < 0) continue;
            const auto events =
                static_cast<std::uint32_t>(static_cast<unsigned short>(each.events));
            One& one = all_[count_++];
            one.operation.emplace(
                Request{.code = Request::Code::poll, .fd = each.fd, .flags = events});
            one.use.emplace(each.fd, ForeignUse::if_not_closing);
            if (!one.use->closing()) continue;
            being_closed_ = each.fd;
            return;
        }
        IoDriver& driver = driver_of(*Worker::current());
        for (std::size_t i = 0; i < count_; ++i) {
            completions_[i] = &all_[i].operation->completion_;
            all_[i].operation->begin(driver, *all_[i].use);
        }
    }
    Polls(const Polls&) = delete;
    Polls& operator=(const Polls&) = delete;

    /// The number that kept them from beginning, or -1. (To wait for that here would keep who
    /// closes another number of them, and so perhaps two for ever.)
    int being_closed() const noexcept { return being_closed_; }

    int wait(Deadline deadline, const char* reason) noexcept {
        const Exposed to_signals;
        const Wake wake = Completion::wait_any({completions_.data(), count_}, deadline,
                                               Cancellable::yes, {reason, this});
        return finish(wake);
    }

private:
    struct One {
        std::optional<Operation> operation;
        std::optional<ForeignUse> use;
    };

    int finish(Wake wake) noexcept {
        // Asked for before it is waited for: that is one wait then for all of them.
        for (std::size_t i = 0; i < count_; ++i) {
            Operation& operation = *all_[i].operation;
            if (!operation.completion_.happened()) operation.driver_->cancel(operation);
        }
        int result = wake == Wake::notified ? -EBADF : reason_of_end(wake);
        for (std::size_t i = 0; i < count_; ++i) {
            const int events = all_[i].operation->await();
            if (events != -ECANCELED && events != -EINTR) result = events < 0 ? events : 1;
        }
        return result;
    }

    std::array<One, most_polled> all_;
    std::array<Completion*, most_polled> completions_{};
    std::size_t count_ = 0;
    int being_closed_ = -1;
};

namespace {

[[gnu::noinline]] int wait_several_ready(std::span<const pollfd> fds, Deadline deadline,
                                         const char* reason) noexcept {
    const this_fiber::Pin pin;
    for (;;) {
        int being_closed = -1;
        {
            Polls polls{fds};
            being_closed = polls.being_closed();
            if (being_closed < 0) return polls.wait(deadline, reason);
        }
        const ForeignUse after_the_close{being_closed};
    }
}

}  // namespace

// Most polls of client libraries are of one descriptor: that needs 3 KiB less of the stack.
int wait_any_ready(std::span<const pollfd> fds, Deadline deadline, const char* reason) noexcept {
    const auto is_one = [](const pollfd& each) { return each.fd >= 0; };
    const auto first = std::find_if(fds.begin(), fds.end(), is_one);
    if (first == fds.end() || std::find_if(first + 1, fds.end(), is_one) != fds.end()) {
        return wait_several_ready(fds, deadline, reason);
    }
    const auto events = static_cast<std::uint32_t>(static_cast<unsigned short>(first->events));
    const Request request{.code = Request::Code::poll, .fd = first->fd, .flags = events};
    const int result = perform_foreign(request, deadline, reason, Interruption::never_restarted);
    return result < 0 ? result : 1;
}

int sleep_foreign(Deadline deadline, const char* reason) noexcept {
    const this_fiber::Pin pin;
    const Exposed to_signals;
    Completion never;
    const Wake wake = never.wait(deadline, Cancellable::yes, {reason, nullptr});
    return wake == Wake::cancelled ? reason_of_end(wake) : 0;
}

void take_signals(FiberCore& fiber) noexcept { fiber.foreign |= FiberCore::foreign_takes_signals; }

// The second look: if the call ended in between and a native wait began, whose epoch this
// would be, it says so; and if one has begun after that, the epoch is over.
void interrupt_foreign_call(FiberCore& fiber, Interruption which) noexcept {
    const auto is_exposed = [&] {
        return (fiber.marks.load(std::memory_order_seq_cst) & FiberCore::mark_exposed) != 0;
    };
    if (!is_exposed()) return;
    constexpr auto not_restarted = static_cast<std::uint8_t>(~FiberCore::mark_restarts);
    if (which == Interruption::never_restarted) {
        fiber.marks.fetch_or(FiberCore::mark_restarts, std::memory_order_relaxed);
    } else {
        fiber.marks.fetch_and(not_restarted, std::memory_order_relaxed);
    }
    const std::uint64_t epoch = fiber.word().cancellable_epoch();
    if (epoch == 0 || !is_exposed()) return;
    end_wait(fiber, epoch, Wake::cancelled);
}

}  // namespace weft::detail
