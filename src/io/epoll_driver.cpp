// Layer: io. Uses: base, sched, epoll(7).
#include "io/epoll_driver.hpp"

#include "base/assert.hpp"
#include "base/sync.hpp"
#include "io/attempt.hpp"
#include "io/descriptor.hpp"
#include "io/lending.hpp"
#include "io/offload.hpp"
#include "io/system_call.hpp"

#include <weft/io/lent_bytes.hpp>

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

namespace weft::detail {

namespace {

// driver_flags: where an operation is, above what it waits for.
constexpr std::uint32_t waiting = 1U << 16;
constexpr std::uint32_t offloaded = 1U << 17;
constexpr std::uint32_t interest_mask = 0xffff;

std::uint32_t wish_of(const Operation& operation) noexcept {
    return operation.driver_flags.get() & interest_mask;
}

// What earlier attempts moved lies in driver_data while an operation waits.
std::uint32_t progress_of(const Operation& operation) noexcept {
    return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(operation.driver_data));
}

void set_progress(Operation& operation, std::uint32_t progress) noexcept {
    operation.driver_data = reinterpret_cast<void*>(static_cast<std::uintptr_t>(progress));
}

// And the result, once it is known.
void finish(Operation& operation, int result, OperationChain& finished) noexcept {
    operation.driver_flags.set(0);
    operation.driver_data = reinterpret_cast<void*>(static_cast<std::intptr_t>(result));
    finished.push_back(operation);
}

int result_of(const Operation& operation) noexcept {
    return static_cast<int>(reinterpret_cast<std::intptr_t>(operation.driver_data));
}

/// What was moved before the end came is not lost.
int result_when_ended(const Operation& operation, int error) noexcept {
    const std::uint32_t progress = progress_of(operation);
    return progress > 0 ? static_cast<int>(progress) : error;
}

/// Whether its socket can stay registered. Not for one that asks not to wait: it is to be
/// tried in any case.
bool may_be_kept(const Operation& operation) noexcept {
    using Code = Request::Code;
    constexpr Code kept[] = {Code::accept,  Code::recv, Code::recv_lent,
                             Code::recvmsg, Code::send, Code::sendmsg};
    constexpr std::uint32_t does_not_wait = MSG_DONTWAIT | MSG_ERRQUEUE;
    return operation.use() != nullptr && (operation.request().flags & does_not_wait) == 0 &&
           std::find(std::begin(kept), std::end(kept), operation.request().code) != std::end(kept);
}

/// Whether a receive that brings less than it could take has brought all there was. One on a
/// Unix stream has not: it ends where a descriptor was passed.
bool ends_short(int fd) noexcept {
    int protocol = 0;
    socklen_t size = sizeof protocol;
    const long result = system_call<::syscall>(SYS_getsockopt, fd, long{SOL_SOCKET},
                                               long{SO_PROTOCOL}, &protocol, &size);
    return result == 0 && protocol == IPPROTO_TCP;
}

/// Whether what it was tried for has come to an end with it.
bool has_drained(const FdRecord& record, const Request& request, int result) noexcept {
    constexpr std::uint32_t special = MSG_PEEK | MSG_WAITALL | MSG_OOB;
    const bool receives =
        request.code == Request::Code::recv || request.code == Request::Code::recv_lent;
    return record.ends_short && receives && (request.flags & special) == 0 && result > 0 &&
           static_cast<std::uint32_t>(result) < request.length;
}

/// attempt(), lending what it receives into.
Attempt attempt_lent(Operation& operation, Occasion occasion, std::uint32_t& progress) noexcept {
    const Request& request = operation.request();
    std::byte* const piece = lend();
    if (piece == nullptr) return {Attempt::Outcome::done, -ENOBUFS};
    const Request receive{
        .code = Request::Code::recv, .fd = request.fd, .buffer = piece, .length = request.length};
    const Attempt made = attempt(receive, occasion, progress);
    if (made.outcome == Attempt::Outcome::done && made.result > 0) {
        operation.lent = piece;
    } else {
        take_back(piece);
    }
    return made;
}

Attempt attempt_for(Operation& operation, Occasion occasion, std::uint32_t& progress) noexcept {
    return operation.request().code == Request::Code::recv_lent
               ? attempt_lent(operation, occasion, progress)
               : attempt(operation.request(), occasion, progress);
}

/// Tries `operation` again. Whether it is over; then `result` is its own.
bool attempt_again(Operation& operation, int& result) noexcept {
    std::uint32_t progress = progress_of(operation);
    const Attempt made = attempt_for(operation, Occasion::readiness, progress);
    set_progress(operation, progress);
    result = made.result;
    return made.outcome == Attempt::Outcome::done;
}

}  // namespace

EpollDriver::EpollDriver(Offload& offload) : offload_{offload} {}

EpollDriver::~EpollDriver() {
    // A thread of the Offload may have completed the last operation and be
    // about to count it down.
    for (unsigned turn = 0; offloaded_.load(std::memory_order_acquire) != 0; ++turn) {
        spin_pause(turn);
    }
    WEFT_ASSERT(waiting_.load(std::memory_order_acquire) == 0);
}

// --- operations ---

void EpollDriver::submit(Operation& operation) noexcept {
    if (!may_be_kept(operation) || !submit_kept(operation)) submit_once(operation);
}

void EpollDriver::submit_once(Operation& operation) noexcept {
    std::uint32_t progress = 0;
    const Attempt made = attempt_for(operation, Occasion::submitted, progress);
    switch (made.outcome) {
        case Attempt::Outcome::done: operation.complete(made.result); return;
        case Attempt::Outcome::would_block:
            set_progress(operation, progress);
            submit_waiting(operation);
            return;
        case Attempt::Outcome::needs_thread:
            mark_offloaded(operation);
            offload_.submit(operation, offloaded_);
            return;
    }
}

/// False: foreign operations wait at the same number, so it must be one-shot.
bool EpollDriver::submit_kept(Operation& operation) noexcept {
    OperationChain finished;
    int result = 0;
    bool over = false;
    {
        const std::lock_guard held{lock_};
        FdRecord* const record = table_.find_or_make(operation.request().fd);
        if (record == nullptr) return false;
        if (record->kept_for != operation.use()->serial()) {
            if (!record->waiting.empty()) return false;
            record->forget();  // what was registered is no longer there
        }
        set_progress(operation, 0);
        const std::uint32_t wish = interest_of(operation.request());
        const bool vain = record->kept_for != 0 && (record->interest & wish) != 0 &&
                          (record->ready & wish) == 0 && !record->always_try;
        over = (!vain && try_kept(*record, operation, result)) ||
               (result = wait_kept(*record, operation, finished)) != 0;
    }
    complete_all(finished);
    if (over) operation.complete(result);
    return true;
}

/// Returns 0, or the result that it ends with at once.
int EpollDriver::wait_kept(FdRecord& record, Operation& operation,
                           OperationChain& finished) noexcept {
    const std::uint32_t wish = interest_of(operation.request());
    if (record.kept_for == 0 || (record.interest & wish) == 0) {
        const int fd = operation.request().fd;
        const std::uint32_t events = record.interest | wish | EPOLLPRI | EPOLLRDHUP | EPOLLET;
        int result = arm(fd, record, events);
        if (result != 0) {  // somebody closed what is weft's
            fail_all(record, -EBADF, finished);
            if (result == -ENOENT) result = arm(fd, record, events);
        }
        if (result != 0) return result_when_ended(operation, result);
        const std::uint64_t serial = operation.use()->serial();
        if (record.kept_for != serial) record.ends_short = ends_short(fd);
        record.kept_for = serial;
        record.interest |= wish;
        record.ready = 0;  // what is, is reported anew
    }
    queue(record, operation, wish);
    return 0;
}

/// Requires: the lock.
void EpollDriver::queue(FdRecord& record, Operation& operation, std::uint32_t wish) noexcept {
    operation.arm();
    operation.driver_flags.set(waiting | wish);
    record.waiting.push_back(operation);
    waiting_.fetch_add(1, std::memory_order_relaxed);
}

/// Whether it is over; then `result` is its own.
bool EpollDriver::try_kept(FdRecord& record, Operation& operation, int& result) noexcept {
    const bool over = attempt_again(operation, result);
    if (!over || has_drained(record, operation.request(), result)) {
        record.ready &= ~interest_of(operation.request());
    }
    return over;
}

/// Under the lock, for a cancel() may be looking.
void EpollDriver::mark_offloaded(Operation& operation) noexcept {
    const std::lock_guard held{lock_};
    operation.driver_flags.set(offloaded);
}

void EpollDriver::submit_waiting(Operation& operation) noexcept {
    OperationChain finished;
    std::unique_lock held{lock_};
    FdRecord* record = table_.find_or_make(operation.request().fd);
    const int result = record == nullptr ? -ENOMEM : wait_for(*record, operation, finished);
    if (result == -EPERM) operation.driver_flags.set(offloaded);
    held.unlock();

    complete_all(finished);
    switch (result) {
        case 0: return;
        case -EPERM:  // what epoll does not take: a file
            offload_.submit(operation, offloaded_);
            return;
        default:  // EBADF, ENOMEM, ENOSPC (max_user_watches), ELOOP, EINVAL: the caller's
            operation.complete(result_when_ended(operation, result));
            return;
    }
}

int EpollDriver::wait_for(FdRecord& record, Operation& operation,
                          OperationChain& finished) noexcept {
    const int fd = operation.request().fd;
    const std::uint32_t wish = interest_of(operation.request()) & interest_mask;
    record.kept_for = 0;
    int result = arm(fd, record, record.interest | wish | EPOLLONESHOT);
    if (result != 0) {
        // The number was closed behind our back, and perhaps given out again: who
        // waits under it waits for what is gone.
        fail_all(record, -EBADF, finished);
        if (result == -ENOENT) result = arm(fd, record, wish | EPOLLONESHOT);
    }
    if (result != 0) return result;
    record.interest |= wish;
    queue(record, operation, wish);
    return 0;
}

/// Renews the registration, with `events`. Returns 0 or -errno; -ENOENT: what
/// was registered under this number is no longer there.
int EpollDriver::arm(int fd, FdRecord& record, std::uint32_t events) noexcept {
    record.on_edges = (events & EPOLLET) != 0;
    if (record.registered) {
        const int result = epoll_.modify(fd, events);
        record.registered = result == 0;
        return result;
    }
    int result = epoll_.add(fd, events);
    // Still there from before, when the number went to another file and came back.
    if (result == -EEXIST) result = epoll_.modify(fd, events);
    record.registered = result == 0;
    return result;
}

void EpollDriver::fail_all(FdRecord& record, int result, OperationChain& finished) noexcept {
    while (Operation* operation = record.waiting.pop_front()) {
        finish(*operation, result_when_ended(*operation, result), finished);
    }
    record.interest = 0;
    record.kept_for = 0;
}

void EpollDriver::cancel(Operation& operation) noexcept {
    OperationChain finished;
    bool elsewhere = false;
    {
        const std::lock_guard held{lock_};
        elsewhere = operation.driver_flags.has(offloaded);
        if (operation.driver_flags.has(waiting)) {
            // Its interest stays: that costs at most one event for nobody.
            FdRecord& record = *table_.find(operation.request().fd);
            record.waiting.remove(operation);
            // One that was not tried may have what it waits for: that wins.
            int result = 0;
            const bool over = record.kept_for != 0 ? try_kept(record, operation, result)
                                                   : attempt_again(operation, result);
            finish(operation, over ? result : result_when_ended(operation, -ECANCELED), finished);
        }
    }
    complete_all(finished);
    if (elsewhere) offload_.cancel(operation);
}

// Requires: nobody waits.
void EpollDriver::unregister(int fd, FdRecord& record) noexcept {
    record.forget();
    const int result = epoll_.remove(fd);
    // These three: closed behind our back, and perhaps given out again.
    const bool gone = result == -ENOENT || result == -EBADF || result == -EPERM;
    if (result != 0 && !gone) unexpected_error("epoll_ctl(EPOLL_CTL_DEL)", result);
}

// --- events ---

void EpollDriver::serve(const epoll_event& event, OperationChain& finished) noexcept {
    const int fd = event.data.fd;
    FdRecord* record = table_.find(fd);
    if (record == nullptr || !record->registered) return;
    if (record->kept_for != 0) return serve_kept(*record, event, finished);

    const bool trouble = (event.events & (EPOLLERR | EPOLLHUP)) != 0;  // concerns everybody
    std::uint32_t live = trouble ? interest_mask : event.events;
    std::uint32_t left = 0;
    std::uint32_t count = 0;
    for (Operation* next = record->waiting.front(); next != nullptr;) {
        Operation& operation = *next;
        next = operation.next;
        const std::uint32_t wish = wish_of(operation);
        const bool is_poll = operation.request().code == Request::Code::poll;
        const bool concerned = (wish & live) != 0 || (trouble && is_poll);
        int result = 0;
        if (concerned && count < most_per_event && attempt_again(operation, result)) {
            record->waiting.remove(operation);
            finish(operation, result, finished);
            ++count;
            continue;
        }
        left |= wish;
        // Who comes later with the same wish would fail alike, or pass ahead; the
        // failure of a poll() says nothing of others.
        if (concerned && !is_poll) live &= ~wish;
    }
    record->interest = left;
    if (record->waiting.empty()) return;
    // An error that the operations do not collect: another one-shot would fire at once.
    const bool stuck = trouble && count == 0;
    if (stuck && record->on_edges) return;
    const std::uint32_t trigger = stuck ? EPOLLET : EPOLLONESHOT;
    if (arm(fd, *record, left | trigger) != 0) fail_all(*record, -EBADF, finished);
}

void EpollDriver::serve_kept(FdRecord& record, const epoll_event& event,
                             OperationChain& finished) noexcept {
    const int fd = event.data.fd;
    constexpr std::uint32_t told_once = EPOLLERR | EPOLLHUP | EPOLLRDHUP | EPOLLPRI;
    if ((event.events & told_once) != 0) record.always_try = true;
    const bool trouble = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
    const std::uint32_t reported = trouble ? interest_mask : event.events & interest_mask;
    // A second report to nobody: its fiber waits on another worker now, or not at all.
    if (record.waiting.empty() && (reported & ~record.ready) == 0) return unregister(fd, record);

    record.ready |= reported;
    std::uint32_t count = 0;
    for (Operation* next = record.waiting.front(); next != nullptr;) {
        Operation& operation = *next;
        next = operation.next;
        if ((wish_of(operation) & record.ready) == 0) continue;
        if (count == most_per_event) {  // more is ready: to be reported again
            const std::uint32_t events = record.interest | EPOLLPRI | EPOLLRDHUP | EPOLLET;
            if (arm(fd, record, events) != 0) fail_all(record, -EBADF, finished);
            return;
        }
        int result = 0;
        if (!try_kept(record, operation, result)) continue;
        record.waiting.remove(operation);
        finish(operation, result, finished);
        ++count;
    }
}

std::size_t EpollDriver::complete_all(OperationChain& finished) noexcept {
    std::size_t count = 0;
    while (Operation* operation = finished.pop_front()) {
        operation->complete(result_of(*operation));
        ++count;
    }
    if (count > 0) waiting_.fetch_sub(count, std::memory_order_release);
    return count;
}

void EpollDriver::deliver(const Epoll::Events& events, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        OperationChain finished;
        {
            const std::lock_guard held{lock_};
            serve(events[i], finished);
        }
        complete_all(finished);
    }
}

// --- the worker's side ---

// There is no memory to look at: only a system call tells, which a worker that
// spins can afford now and then. It comes to poll() or wait() in any case. A
// wake() is none of what is asked for, and poll() would not end it.
bool EpollDriver::ready() const noexcept {
    if (waiting_.load(std::memory_order_relaxed) == 0) return false;
    if (++calls_of_ready_ % ready_calls_per_look != 0) return false;
    return !wakes_.pending() && epoll_.has_events();
}

// Leaves a wake() where it is: it is meant for a wait().
void EpollDriver::poll() noexcept {
    if (waiting_.load(std::memory_order_relaxed) == 0) return;
    Epoll::Events events;
    deliver(events, epoll_.look(events));
}

void EpollDriver::wait(Deadline deadline) noexcept {
    Epoll::Events events;
    const std::size_t count = epoll_.sleep(events, deadline);
    const bool woken = std::any_of(events.begin(), events.begin() + count, [](const auto& event) {
        return event.data.fd == Epoll::signal_fd;
    });
    if (woken) wakes_.settle(epoll_);
    deliver(events, count);
}

void EpollDriver::wake() noexcept { wakes_.wake(epoll_); }

// Any thread may ask for the events. Not when the owner holds the lock: this
// thread must not wait, and an event that was taken must be served.
bool EpollDriver::rescue(pid_t) noexcept {
    if (waiting_.load(std::memory_order_relaxed) == 0 || !lock_.try_lock()) return false;
    OperationChain finished;
    Epoll::Events events;
    const std::size_t count = epoll_.look(events);
    for (std::size_t i = 0; i < count; ++i) serve(events[i], finished);
    lock_.unlock();
    return complete_all(finished) > 0;
}

std::size_t EpollDriver::in_flight() const noexcept {
    return waiting_.load(std::memory_order_acquire) + offloaded_.load(std::memory_order_acquire);
}

}  // namespace weft::detail
