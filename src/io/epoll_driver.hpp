// EpollDriver: the Driver for where io_uring is missing or forbidden.
// Layer: io. Uses: base, sched.
//
// An operation is tried at once (attempt.hpp). One that would block waits in
// the list of its descriptor until epoll reports that ready, and is tried again;
// one that may sleep without being pollable goes to the Offload.
//
// Registrations are one-shot and renewed by every wait. Rejected: edge-triggered
// ones that stay, which save that call, but a descriptor closed behind our back
// (fclose, dup2) and given out again would never wake anybody; renewing it fails
// with ENOENT and tells. They do serve where an error that nobody collects (of
// IP_RECVERR) would report itself without end.
//
// Invariants
//  1. An operation that waits is in the list of its descriptor's record, is
//     marked `waiting`, and the registration covers its interest. So a record
//     that is not registered has an empty list.
//  2. Whoever unlinks an operation, under the lock, completes it, after it.
//  3. An event is a hint: it may be of a file that had the number before. Only
//     the retry, on the file that has it now, completes an operation.
//
// Locking: lock_ guards the table and all lists. Retries are made under it, so
//  that none is under way once cancel_fd() has the lock; they do not sleep.
//  complete() is called with no lock held.
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
    void cancel_fd(int fd) noexcept override;

private:
    static constexpr std::uint32_t most_per_event = 32;  // operations completed on one descriptor
    static constexpr std::uint32_t ready_calls_per_look = 8;

    // These require lock_ to be held.
    int wait_for(FdRecord& record, Operation& operation, OperationChain& finished) noexcept;
    int arm(int fd, FdRecord& record, std::uint32_t events) noexcept;
    void serve(const epoll_event& event, OperationChain& finished) noexcept;
    void fail_all(FdRecord& record, int result, OperationChain& finished) noexcept;

    void submit_waiting(Operation& operation) noexcept;
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
