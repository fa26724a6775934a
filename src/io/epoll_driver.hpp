// EpollDriver: the Driver for where io_uring is missing or forbidden.
// Layer: io. Uses: base, sched.
//
// An operation is tried at once (attempt.hpp). One that would block waits in
// the list of its descriptor until epoll reports that ready, and is tried again;
// one that may sleep without being pollable goes to the Offload.
//
// Registrations of foreign descriptors are one-shot and renewed by every wait: one
// closed behind our back (fclose, dup2) and given out again would never wake anybody,
// but renewing it fails with ENOENT and tells.
//
// Sockets of weft's own, whose number cannot change hands unseen (Use::serial()), stay
// registered for edges. What epoll reports is remembered as `ready` until an attempt
// finds it untrue, and an operation that would wait for what is not ready is not tried. So
// a request costs no call but those that move its data. (One-shot it was an epoll_ctl
// and a recv in vain for each: 1.3 to 1.4 times the CPU.) Rejected: level-triggered
// ones, for where a copy of a descriptor outlives it they report for ever.
//
// Invariants
//  1. An operation that waits is in the list of its descriptor's record, is
//     marked `waiting`, and the registration covers its interest. So a record
//     that is not registered has an empty list.
//  1a. A kept record (kept_for != 0) has own operations in its list only. A bit of its
//     interest that is not in `ready` will be reported when it comes true: it was found
//     untrue after the latest report, or the registration was renewed since. What a
//     socket reports but once, though more than one operation ends by it, sets always_try.
//  2. Whoever unlinks an operation, under the lock, completes it, after it.
//  3. An event is a hint: it may be of a file that had the number before. Only
//     the retry, on the file that has it now, completes an operation.
//
// Locking: lock_ guards the table and all lists. Retries are made under it;
//  they do not sleep. complete() is called with no lock of the driver held.
// Lifetime: the Offload outlives the driver.
#pragma once

#include "base/sync.hpp"
#include "io/epoll.hpp"
#include "io/fd_table.hpp"
#include "io/operation.hpp"
#include "io/operation_list.hpp"
#include "io/wake_once.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::detail {

class Offload;

class EpollDriver final : public IoDriver {
public:
    /// Throws std::system_error.
    explicit EpollDriver(Offload& offload);
    ~EpollDriver() override;

    void attach() override {}
    bool ready() const noexcept override;
    void poll() noexcept override;
    void wait(Deadline deadline) noexcept override;
    void wake() noexcept override;
    bool rescue(pid_t owner) noexcept override;
    void on_signal() noexcept override {}
    std::size_t in_flight() const noexcept override;

    void submit(Operation& operation) noexcept override;
    void cancel(Operation& operation) noexcept override;

private:
    static constexpr std::uint32_t most_per_event = 32;  // operations completed on one descriptor
    static constexpr std::uint32_t ready_calls_per_look = 8;

    // These require lock_ to be held.
    int wait_for(FdRecord& record, Operation& operation, OperationChain& finished) noexcept;
    int arm(int fd, FdRecord& record, std::uint32_t events) noexcept;
    void serve(const epoll_event& event, OperationChain& finished) noexcept;
    void fail_all(FdRecord& record, int result, OperationChain& finished) noexcept;

    int wait_kept(FdRecord& record, Operation& operation, OperationChain& finished) noexcept;
    void queue(FdRecord& record, Operation& operation, std::uint32_t wish) noexcept;
    bool try_kept(FdRecord& record, Operation& operation, int& result) noexcept;
    void serve_kept(FdRecord& record, const epoll_event& event, OperationChain& finished) noexcept;
    void unregister(int fd, FdRecord& record) noexcept;

    void submit_once(Operation& operation) noexcept;
    bool submit_kept(Operation& operation) noexcept;
    void submit_waiting(Operation& operation) noexcept;
    void mark_offloaded(Operation& operation) noexcept;
    void deliver(const Epoll::Events& events, std::size_t count) noexcept;
    std::size_t complete_all(OperationChain& finished) noexcept;

    // --- fixed after construction ---
    Offload& offload_;
    // --- any thread; sleep() is the own worker's ---
    Epoll epoll_;
    // --- own worker only ---
    mutable std::uint32_t calls_of_ready_ = 0;
    // --- guarded by lock_ ---
    SpinLock lock_;
    FdTable table_;
    // --- any thread ---
    std::atomic<std::size_t> waiting_{0};    // for epoll, or about to be completed
    std::atomic<std::size_t> offloaded_{0};  // counted down by the Offload's threads, last
    WakeOnce<StdSync> wakes_;
};

}  // namespace weft::detail
