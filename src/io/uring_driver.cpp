// Layer: io. Uses: base, sched, io_uring.
#include "io/uring_driver.hpp"

#include "base/assert.hpp"
#include "base/futex.hpp"
#include "base/sync.hpp"
#include "io/attempt.hpp"
#include "io/offload.hpp"
#include "io/prepare.hpp"
#include "io/probe.hpp"
#include "io/system_call.hpp"
#include "io/timespec.hpp"
#include "sched/worker.hpp"

#include <weft/io/lent_bytes.hpp>

#include <linux/time_types.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <system_error>

namespace weft::detail {

namespace {

// Operation::driver_flags
constexpr std::uint32_t submitted = 1;     // its entry is made
constexpr std::uint32_t is_over = 2;       // its completion was taken
constexpr std::uint32_t queued = 4;        // it is in requests_
constexpr std::uint32_t cancel_asked = 8;  // once is enough
constexpr std::uint32_t offloaded = 32;    // it is with the Offload, not in the ring
constexpr std::uint32_t cancelling = 64;   // its cancel is in the ring, too

// user_data: an operation's address, to which its cancel adds cancel_bit; or wake_tag.
constexpr std::uint64_t wake_tag = 1;
constexpr std::uint64_t cancel_bit = 2;
static_assert(alignof(Operation) > cancel_bit);

[[noreturn, gnu::cold]] void unexpected(const char* call, int result) noexcept {
    std::fprintf(stderr, "weft: %s: unexpected error %d\n", call, -result);
    std::abort();
}

/// The one place that judges what io_uring_enter() answered. Whoever called it
/// looks at the queues afterwards, never at the count.
void judge_enter(int result) noexcept {
    if (result >= 0) return;
    switch (-result) {
        case EINTR:   // a signal; the caller's loop comes back
        case ETIME:   // the deadline
        case EAGAIN:  // no memory for requests now: what was not taken stays queued
        case ENOMEM:  // nor for what a thread needs that enters its first ring
        case EBUSY:   // completions have to be taken first
            return;
        case EBADR: unexpected("io_uring_enter: for lack of memory completions were lost", result);
        default: unexpected("io_uring_enter", result);
    }
}

/// prepare() for most of all operations, on the way of every request.
void prepare_receive(io_uring_sqe& entry, const Request& request) noexcept {
    entry.opcode = IORING_OP_RECV;
    entry.fd = request.fd;
    entry.addr = reinterpret_cast<std::uint64_t>(request.buffer);
    entry.len = request.length;
    entry.msg_flags = request.flags;
}

/// -EINVAL, of which Linux makes a poll's result in vain: of a terminal when it is read meanwhile
/// (7 of 20,000 polls, on 6.18), and always of one that was hung up, which has no queue to wait in.
/// So it is asked once more, plainly. With nothing to tell, who waits has been woken for nothing.
[[gnu::cold]] int unless_poll_failed(const Operation& operation) noexcept {
    const Request& request = operation.request();
    if (request.code != Request::Code::poll) return -EINVAL;
    std::uint32_t progress = 0;
    const Attempt made = attempt(request, Occasion::readiness, progress);
    if (made.outcome == Attempt::Outcome::done) return made.result;
    return is_waited_for(request.fd) ? 0 : -EINVAL;
}

std::uint64_t tag_of(const Operation& operation) noexcept {
    return reinterpret_cast<std::uint64_t>(&operation);
}

Operation& operation_of(std::uint64_t tag) noexcept {
    return *reinterpret_cast<Operation*>(tag & ~cancel_bit);
}

}  // namespace

UringDriver::UringDriver(const UringSupport& support, Offload& offload, unsigned sq_entries)
    : offload_{offload},
      operations_{support.operations},
      message_ring_{support.message_ring},
      absolute_timeout_{support.absolute_timeout},
      accept_flags_{support.accept_polls_first ? accept_poll_first : std::uint16_t{0}},
      most_together_{support.dear_system_calls ? std::numeric_limits<std::size_t>::max()
                                               : most_cached_together},
      wait_flags_{IORING_ENTER_GETEVENTS | (support.no_iowait ? enter_no_iowait : 0) |
                  (support.absolute_timeout ? enter_absolute_timer : 0)},
      ring_{sq_entries, sq_entries * cq_factor} {
    if (message_ring_) return;
    wake_event_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_event_ < 0) throw std::system_error(errno, std::system_category(), "eventfd");
    has_requests_.store(true, std::memory_order_relaxed);
}

UringDriver::~UringDriver() {
    // A thread of the Offload may have completed the last operation and be
    // about to count it down.
    for (unsigned turn = 0; offloaded_.load(std::memory_order_acquire) != 0; ++turn) {
        spin_pause(turn);
    }
    WEFT_ASSERT(in_flight() == 0);
    WEFT_ASSERT(requests_.empty());
    if (wake_event_ >= 0) close_number(wake_event_);
}

void UringDriver::attach() {
    if (const int result = ring_.enable(); result < 0) {
        throw std::system_error(-result, std::system_category(), "io_uring: enabling a ring");
    }
    buffers_.open(ring_.fd());
}

bool UringDriver::ready() const noexcept { return ring_.has_completions() || owner_must_enter(); }

bool UringDriver::owner_must_enter() const noexcept {
    return ring_.must_enter() || ring_.unsubmitted() != 0 ||
           has_requests_.load(std::memory_order_acquire);
}

void UringDriver::poll() noexcept {
    if (owner_must_enter() && !may_put_off()) enter();
    deliver(Who::owner);
}

// One system call for what many fibers have begun costs less than some for each few of them:
// so those go first whose completions are here. Not after large ones: what the kernel brings
// for more fibers would drive out of the cache what it has brought for these.
bool UringDriver::may_put_off() const noexcept {
    return ring_.has_completions() && !has_requests_.load(std::memory_order_acquire) &&
           moved_.load(std::memory_order_relaxed) < most_moved &&
           (now() - entered_).count() < most_put_off_ns;
}

void UringDriver::note_entry() noexcept {
    entered_ = now();
    moved_.store(0, std::memory_order_relaxed);
}

void UringDriver::wait(Deadline deadline) noexcept {
    // Requests come with a wake(), and operations from fibers of the owner's.
    const bool nothing_there = unfinished() == 0 && !ready();
    std::uint32_t expected = idle;
    // seq_cst here and in wake(): one of the two sees the other.
    if (!wake_state_.compare_exchange_strong(expected, nothing_there ? resting : sleeping)) {
        enter();
    } else if (nothing_there) {
        rest(deadline);
    } else {
        enter_and_wait(deadline);
    }
    wake_state_.store(idle);
    deliver(Who::owner);
}

void UringDriver::rest(Deadline deadline) noexcept {
    if (!deadline.passed()) futex_rest(wake_state_, resting, deadline.at());
}

void UringDriver::wake() noexcept {
    const std::uint32_t before = wake_state_.exchange(notified);
    if (before == sleeping) send_wake();
    if (before == resting) futex_wake_all(&wake_state_);
}

void UringDriver::send_wake() noexcept {
    io_uring_sqe message{};
    message.opcode = IORING_OP_MSG_RING;
    message.fd = ring_.fd();
    message.off = wake_tag;
    const std::uint64_t one = 1;
    for (unsigned turn = 0;; ++turn) {
        const long result =
            message_ring_ ? io_uring_register(no_ring, register_send_message_ring, &message, 1)
                          : system_call<::syscall>(SYS_write, wake_event_, &one, sizeof one);
        if (result >= 0) return;
        // Both mean a lack of kernel memory that passes.
        if (result != -ENOMEM && result != -EAGAIN && result != -EINTR) {
            unexpected("waking a ring", static_cast<int>(result));
        }
        spin_pause(turn);
    }
}

// Those that weft cannot do without were probed for: there is no ring without.
inline bool UringDriver::knows(Request::Code code) const noexcept {
    if (code == Request::Code::recv_lent) return buffers_.is_open();
    if (code < Request::Code::renameat) [[likely]]
        return true;
    const auto opcode = opcode_of(code);
    return opcode && (operations_ >> *opcode & 1) != 0;
}

void UringDriver::hand_over(Operation& operation) noexcept {
    if (operation.request().code == Request::Code::recv_lent) {
        return operation.complete(-EOPNOTSUPP);
    }
    {
        const std::lock_guard lock{lock_};  // a cancel() may be looking
        operation.driver_flags.set(offloaded);
    }
    offload_.submit(operation, offloaded_);
}

/// Of lent memory there is a piece in the ring for each receive, as a rule.
std::byte* UringDriver::piece_for(Request::Code code) noexcept {
    return code == Request::Code::recv_lent && !buffers_.is_full() ? stock().take() : nullptr;
}

// Only the owner's thread fills entries, and its signal handler keeps away while it does; so no
// lock is needed but for what is lent.
[[gnu::hot]] void UringDriver::submit(Operation& operation) noexcept {
    const Request& request = operation.request();
    if (!knows(request.code)) [[unlikely]]
        return hand_over(operation);
    std::byte* const piece = piece_for(request.code);
    set_filling(true);
    io_uring_sqe* entry = ring_.push();
    while (entry == nullptr) [[unlikely]] {
            set_filling(false);
            make_room();
            set_filling(true);
            entry = ring_.push();
        }
    if (request.code == Request::Code::recv) [[likely]] {
        prepare_receive(*entry, request);
    } else {
        prepare(*entry, request, accept_flags_);
    }
    entry->user_data = tag_of(operation);
    operation.arm();
    operation.driver_flags.set(submitted);
    begun_.store(begun_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (piece != nullptr) provide(piece);
    ring_.publish();
    set_filling(false);
}

/// Keeps on_signal() away, which runs on this thread.
inline void UringDriver::set_filling(bool filling) noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    filling_.store(filling, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

void UringDriver::provide(std::byte* piece) noexcept {
    const std::lock_guard lock{lock_};
    buffers_.provide(piece);
}

/// The submission queue is full: passes it to the kernel now. Where that has no
/// memory for them, taking completions is what frees some.
void UringDriver::make_room() noexcept {
    for (unsigned turn = 0; ring_.unsubmitted() == ring_.sq_entries(); ++turn) {
        enter();
        if (ring_.unsubmitted() < ring_.sq_entries()) return;
        if (deliver(Who::owner) == 0) spin_pause(turn);
    }
}

void UringDriver::cancel(Operation& operation) noexcept {
    {
        std::unique_lock lock{lock_};
        if (operation.driver_flags.has(offloaded)) {
            lock.unlock();
            offload_.cancel(operation);
            return;
        }
        const std::uint32_t flags = operation.driver_flags.get();
        if ((flags & (submitted | is_over | cancel_asked)) != submitted) return;
        operation.driver_flags.add(cancel_asked);
        queue_request(operation);
    }
    Worker* worker = Worker::current();
    if (worker == nullptr || &worker->driver() != this) wake();
}

void UringDriver::queue_request(Operation& operation) noexcept {
    operation.driver_flags.add(queued);
    requests_.push_back(operation);
    has_requests_.store(true, std::memory_order_release);
}

/// Requires: lock_. Async-signal-safe. What finds no room waits for the next time.
void UringDriver::flush_requests() noexcept {
    if (!has_requests_.load(std::memory_order_relaxed)) return;
    if (!arm_wake_event()) return;
    while (Operation* operation = requests_.front()) {
        if (!flush_request(*operation)) return;
    }
    has_requests_.store(false, std::memory_order_release);
}

bool UringDriver::flush_request(Operation& operation) noexcept {
    io_uring_sqe* entry = ring_.push();
    if (entry == nullptr) return false;
    entry->opcode = IORING_OP_ASYNC_CANCEL;
    entry->fd = -1;
    entry->addr = tag_of(operation);
    entry->user_data = tag_of(operation) | cancel_bit;
    operation.driver_flags.add(cancelling);
    ring_.publish();
    requests_.remove(operation);
    operation.driver_flags.remove(queued);
    return true;
}

/// A multishot, edge-triggered poll: the eventfd is never read. The kernel ends
/// it when completions overflow.
bool UringDriver::arm_wake_event() noexcept {
    if (message_ring_ || wake_event_armed_) return true;
    io_uring_sqe* entry = ring_.push();
    if (entry == nullptr) return false;
    entry->opcode = IORING_OP_POLL_ADD;
    entry->fd = wake_event_;
    entry->len = IORING_POLL_ADD_MULTI;
    entry->poll32_events = POLLIN | static_cast<std::uint32_t>(EPOLLET);
    entry->user_data = wake_tag;
    ring_.publish();
    wake_event_armed_ = true;
    return true;
}

/// What has arrived by now is to win over a cancel; and the kernel would cancel
/// an operation whose data is there but which it has not yet gone on with.
void UringDriver::let_arrivals_in() noexcept {
    if (!has_requests_.load(std::memory_order_acquire) || !ring_.must_enter()) return;
    judge_enter(ring_.enter(ring_.unsubmitted(), 0, IORING_ENTER_GETEVENTS));
}

void UringDriver::enter() noexcept {
    let_arrivals_in();
    {
        const std::lock_guard lock{lock_};
        flush_requests();
    }
    judge_enter(ring_.enter(ring_.unsubmitted(), 0, IORING_ENTER_GETEVENTS));
    note_entry();
}

void UringDriver::enter_and_wait(Deadline deadline) noexcept {
    let_arrivals_in();
    {
        const std::lock_guard lock{lock_};
        flush_requests();
        // Those that found no room need a second enter.
        if (has_requests_.load(std::memory_order_relaxed)) deadline = Deadline::Clock::time_point{};
    }
    const unsigned submit = ring_.unsubmitted();
    if (deadline.is_never()) {
        judge_enter(ring_.enter(submit, 1, wait_flags_ & ~enter_absolute_timer));
        note_entry();
        return;
    }
    if (deadline.passed()) deadline = Deadline::Clock::time_point{};
    const auto from = absolute_timeout_ ? Deadline::Clock::time_point{} : now();
    const auto timeout = to_timespec<__kernel_timespec>(deadline.at() - from);
    judge_enter(ring_.enter(submit, 1, wait_flags_, timeout));
    note_entry();
}

/// Requires: lock_. Returns how many operations are in `done`; they are on their way into
/// the cache.
inline std::size_t UringDriver::take_completions(Done (&done)[batch], bool& took_wake) noexcept {
    std::size_t count = 0;
    std::size_t moved = moved_.load(std::memory_order_relaxed);
    for (std::size_t taken = 0; taken < batch; ++taken) {
        const io_uring_cqe* entry = ring_.front();
        if (entry == nullptr) break;
        if (entry->user_data == wake_tag) [[unlikely]] {
            took_wake = true;
            if (!message_ring_ && (entry->flags & IORING_CQE_F_MORE) == 0) {
                wake_event_armed_ = false;
                has_requests_.store(true, std::memory_order_release);
            }
        } else if (Operation& operation = operation_of(entry->user_data);
                   (entry->user_data & cancel_bit) != 0) [[unlikely]] {
            if (cancel_settled(operation, entry->res)) {
                done[count++] = {&operation, operation.held(), operation.lent};
            }
        } else {
            __builtin_prefetch(&operation, 1);
            done[count++] = {&operation, entry->res, buffers_.taken(entry->flags)};
            if (entry->res == -EINVAL) [[unlikely]]
                done[count - 1].result = unless_poll_failed(operation);
            moved += entry->res > 0 ? static_cast<std::size_t>(entry->res) : 0;
        }
        ring_.pop();
    }
    moved_.store(moved, std::memory_order_relaxed);
    return count;
}

/// Requires: lock_. A cancel is answered. Returns whether only that was awaited.
bool UringDriver::cancel_settled(Operation& operation, int answer) noexcept {
    operation.driver_flags.remove(cancelling);
    if (operation.driver_flags.has(is_over)) return true;
    // The kernel was just about to go on with it, and will.
    if (answer == -ENOENT) queue_request(operation);
    return false;
}

/// Requires: lock_. Returns whether it may be completed now, after which nothing but complete()
/// touches it.
inline bool UringDriver::finish(const Done& done) noexcept {
    Operation& operation = *done.operation;
    const std::uint32_t before = operation.driver_flags.get();
    operation.driver_flags.set((before | is_over) & ~queued);
    operation.prefetch_waiter();
    if ((before & (queued | cancelling)) == 0) [[likely]]
        return true;
    if ((before & queued) != 0) requests_.remove(operation);
    if ((before & cancelling) == 0) return true;
    operation.hold(done.result);
    operation.lent = done.lent;
    return false;
}

/// A kernel thread takes a piece before it knows whether there is something to put there.
inline void UringDriver::hand_out(const Done& done) noexcept {
    if (done.result > 0) [[likely]] {
        done.operation->lent = done.lent;
    } else {
        take_back(done.lent);
        done.operation->lent = nullptr;  // it may have been held with it
    }
}

/// Takes up to `batch` completions out of the queue, then delivers them.
/// Returns how many of them were operations.
[[gnu::hot]] std::size_t UringDriver::deliver(Who who) noexcept {
    Done done[batch];
    std::size_t count = 0;
    bool took_wake = false;
    {
        std::unique_lock lock{lock_, std::defer_lock};
        if (who == Who::owner) {
            lock.lock();
        } else if (!lock.try_lock()) {
            return 0;
        }
        count = take_completions(done, took_wake);
        const auto held = [this](const Done& each) { return !finish(each); };
        count = static_cast<std::size_t>(std::remove_if(done, done + count, held) - done);
        if (count > 0) {
            delivering_.fetch_add(count, std::memory_order_relaxed);
            ended_.store(ended_.load(std::memory_order_relaxed) + count, std::memory_order_release);
        }
    }
    if (took_wake && who == Who::rescuer) send_wake();
    for (std::size_t i = 0; i < count; ++i) {
        if (done[i].lent != nullptr) hand_out(done[i]);
        done[i].operation->complete(done[i].result);
    }
    if (count > 0) delivering_.fetch_sub(count, std::memory_order_release);
    return count;
}

bool UringDriver::rescue(pid_t owner) noexcept {
    if (owner_must_enter()) {
        const unsigned before = ring_.completions_seen();
        const auto give_up = now() + std::chrono::nanoseconds{rescue_patience_ns};
        ::syscall(SYS_tgkill, ::getpid(), owner, SIGURG);
        while (ring_.completions_seen() == before && now() < give_up) cpu_relax();
    }
    bool any = false;
    for (unsigned i = 0; i < most_rescue_batches && ring_.has_completions(); ++i) {
        any |= deliver(Who::rescuer) != 0;
    }
    return any;
}

void UringDriver::on_signal() noexcept {
    unsigned submit = 0;
    if (!filling_.load(std::memory_order_relaxed) && lock_.try_lock()) {
        flush_requests();
        submit = ring_.unsubmitted();
        lock_.unlock();
    }
    // Its answer changes nothing: the owner's next enter() meets the same again.
    (void)ring_.enter(submit, 0, IORING_ENTER_GETEVENTS);
}

std::size_t UringDriver::in_flight() const noexcept {
    return unfinished() + offloaded_.load(std::memory_order_acquire);
}

bool UringDriver::is_busy() const noexcept {
    // In this order: what leaves the one is in the other before.
    return unfinished() != 0 || delivering_.load(std::memory_order_acquire) != 0 ||
           offloaded_.load(std::memory_order_acquire) != 0;
}

}  // namespace weft::detail
