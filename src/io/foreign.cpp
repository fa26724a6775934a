// Layer: io. Uses: base, sched, park.
#include "io/foreign.hpp"

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

/// What is known of the numbers that share a slot. Any thread.
struct Numbers {
    std::atomic<std::uint32_t> in_flight{0};  // operations
    std::atomic<std::uint32_t> begun{0};      // closes
    std::atomic<std::uint32_t> ended{0};      // of those

    /// Read in this order, they are equal only if no close is under way.
    bool closing() const noexcept {
        const auto over = ended.load(std::memory_order_seq_cst);
        return begun.load(std::memory_order_seq_cst) != over;
    }
};
constexpr std::size_t slots = 1024;
constinit std::array<Numbers, slots> numbers{};
Numbers& numbers_with(int fd) noexcept { return numbers[static_cast<unsigned>(fd) % slots]; }

/// Who waits for the end of a close, to begin something on its number.
class CloseWaiters {
public:
    void wait_for(const Numbers& wanted) noexcept {
        Waiter self;
        {
            const std::lock_guard hold{lock_};
            if (!wanted.closing()) return;
            self.next = first_;
            first_ = &self;
        }
        (void)self.over.wait(Deadline::never(), Cancellable::no, {"a close", &self});
    }
    /// After one has ended. They look again.
    void wake() noexcept {
        Waiter* each = nullptr;
        {
            const std::lock_guard hold{lock_};
            each = std::exchange(first_, nullptr);
        }
        while (each != nullptr) std::exchange(each, each->next)->over.happen();
    }

private:
    struct Waiter {
        Completion over;
        Waiter* next = nullptr;
    };
    SpinLock lock_;
    Waiter* first_ = nullptr;  // guarded by lock_
};
constinit CloseWaiters close_waiters;

/// Counts an operation in flight on a foreign descriptor, for close(). Waits for the end of
/// one that is under way.
class InFlight : public ForeignUse {
public:
    explicit InFlight(int fd) noexcept : numbers_{&numbers_with(fd)} {
        for (;;) {
            const auto begun = numbers_->begun.load(std::memory_order_acquire);
            // Before the submission; pairs with ClosingNumber: one of the two sees the other.
            numbers_->in_flight.fetch_add(1, std::memory_order_seq_cst);
            if (!numbers_->closing()) {
                watch(numbers_->begun, begun);
                return;
            }
            numbers_->in_flight.fetch_sub(1, std::memory_order_release);
            close_waiters.wait_for(*numbers_);
        }
    }
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;
    ~InFlight() { numbers_->in_flight.fetch_sub(1, std::memory_order_release); }

    static bool any(int fd) noexcept {
        return numbers_with(fd).in_flight.load(std::memory_order_seq_cst) != 0;
    }

private:
    Numbers* const numbers_;
};

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

int perform_foreign(const Request& request, Deadline deadline, const char* reason) noexcept {
    const this_fiber::Pin pin;
    const bool polls = request.code == Request::Code::poll;
    const auto needed = polls ? Interruption::never_restarted : Interruption::all;
    for (;;) {
        InFlight counted{request.fd};
        Operation operation{request};
        const Exposed to_signals;
        const Wake wake = operation.carry_out_in_fiber(*Worker::current(), counted, deadline,
                                                       Cancellable::yes, reason);
        // A call that a kernel thread makes is interrupted by a close, as by a cancel.
        const bool early =
            operation.ended_early(wake) || (operation.result_ == -EINTR && counted.close_begun());
        if (early && wake == Wake::notified && counted.withdrew()) continue;
        const int result = early ? reason_of_end(wake) : operation.result_;
        if (early ? !is_restarted(result, needed) : result != -EINTR) return result;
    }
}

/// Several polls, one wait.
class Polls {
public:
    explicit Polls(std::span<const pollfd> fds) noexcept {
        WEFT_ASSERT(fds.size() <= most_polled);
        IoDriver& driver = driver_of(*Worker::current());
        for (const pollfd& each : fds) {
            if (each.fd < 0) continue;
            const auto events =
                static_cast<std::uint32_t>(static_cast<unsigned short>(each.events));
            One& one = all_[count_];
            one.counted.emplace(each.fd);
            one.operation.emplace(
                Request{.code = Request::Code::poll, .fd = each.fd, .flags = events});
            completions_[count_++] = &one.operation->completion_;
            one.operation->begin(driver);
            // It ends with -EBADF then, after which poll() asks the kernel.
            if (one.counted->withdraw_if_closing()) driver.cancel(*one.operation);
        }
    }
    Polls(const Polls&) = delete;
    Polls& operator=(const Polls&) = delete;

    int wait(Deadline deadline, const char* reason) noexcept {
        const Exposed to_signals;
        const Wake wake = Completion::wait_any({completions_.data(), count_}, deadline,
                                               Cancellable::yes, {reason, this});
        return finish(wake);
    }

private:
    struct One {
        std::optional<InFlight> counted;
        std::optional<Operation> operation;
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
};

namespace {

[[gnu::noinline]] int wait_several_ready(std::span<const pollfd> fds, Deadline deadline,
                                         const char* reason) noexcept {
    const this_fiber::Pin pin;
    Polls polls{fds};
    return polls.wait(deadline, reason);
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
    const int result = perform_foreign(request, deadline, reason);
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

void forget_foreign_calls() noexcept {
    ::new (&numbers) std::array<Numbers, slots>{};
    ::new (&close_waiters) CloseWaiters;
}

ClosingNumber::ClosingNumber(int fd) noexcept : fd_{fd} {
    if (fd < 0) return;
    numbers_with(fd).begun.fetch_add(1, std::memory_order_seq_cst);
    if (InFlight::any(fd)) cancel_descriptor(fd);
}

ClosingNumber::~ClosingNumber() {
    if (fd_ < 0) return;
    numbers_with(fd_).ended.fetch_add(1, std::memory_order_seq_cst);
    close_waiters.wake();
}

}  // namespace weft::detail
