// UringDriver: one worker's io_uring. Layer: io. Uses: base, sched.
//
// submit() only fills an entry; the worker's next poll() or wait() passes all of
// them to the kernel in the one system call that also collects completions.
//
// Cancelling. cancel() never touches the ring: it queues the operation on
// requests_, from where the owner, or its SIGURG handler, makes an ASYNC_CANCEL
// entry of it that names the target by its address (user_data). No address is
// ever used for the wrong operation:
//   - an operation leaves requests_ when its completion is taken out of the
//     queue, under the lock, so before complete() and before it may die;
//     a cancel() after that sees `is_over` and does nothing;
//   - with an ASYNC_CANCEL entry made it is held until that is answered, too.
// So no generations are needed. The answer matters: what the kernel is just about to try again
// (a socket with errors queued is always "ready") it does not find, and it is to be asked
// again. -EALREADY is no such answer: a kernel thread works on it, and was interrupted.
//
// What this kernel's io_uring does not know, or none does, the Offload carries out.
//
// Lending. Each recv_lent puts a piece from the worker's stock into buffers_, unless that is
// full; whichever receive has something to put there next gets it. One that finds none is over
// with -ENOBUFS. Who takes its completion out of the queue takes the piece from buffers_.
//
// Waking. wake_state_ goes idle -> sleeping or resting (owner) -> notified (waker)
// -> idle. While nothing is in the ring the owner rests on wake_state_ as a futex, whose
// wake-ups take half as long (8 us against 14). Only the waker that finds `sleeping`
// sends a message, so there is at most one per sleep. A message that comes late ends a later wait
// early; that is all. Whoever but the owner takes a message out of the queue sends it again, for
// the owner may be just about to sleep. (Rejected: a ring FUTEX_WAIT, whose wake-ups get lost on
// some kernels.)
//
// Invariants
//  1. An operation is in requests_ exactly while its `queued` flag is set, and is never both
//     `queued` and `cancelling`.
//  2. The lock is free while anybody is in the kernel or in complete().
//  3. Only the owner's thread enters the ring: in its own calls or in on_signal().
//
// Locking: lock_, a leaf. It guards the completion queue, requests_ and the flags of
//  operations. on_signal() may find it held by the thread it interrupted, and so only tries.
//  The submission queue is the owner's thread's, who shares it with on_signal() alone: filling_
//  says so where lock_ is not held. submit() sets an operation's flags without the lock: a
//  cancel() that does not see them yet is none (io/descriptor.hpp), and else it comes after.
#pragma once

#include "base/clock.hpp"
#include "io/buffer_ring.hpp"
#include "io/operation.hpp"
#include "io/operation_list.hpp"
#include "io/ring.hpp"

#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::detail {

class Offload;
struct UringSupport;

class UringDriver final : public IoDriver {
public:
    /// Throws std::system_error when there is no ring to be had.
    UringDriver(const UringSupport& support, Offload& offload,
                unsigned sq_entries = default_sq_entries);
    ~UringDriver() override;

    void attach() override;
    bool ready() const noexcept override;
    void poll() noexcept override;
    void wait(Deadline deadline) noexcept override;
    void wake() noexcept override;
    bool rescue(pid_t owner) noexcept override;
    void on_signal() noexcept override;
    std::size_t in_flight() const noexcept override;
    bool is_busy() const noexcept override;
    std::size_t most_together() const noexcept override { return most_together_; }

    void submit(Operation& operation) noexcept override;
    void cancel(Operation& operation) noexcept override;

private:
    enum class Who : std::uint8_t { owner, rescuer };

    // wake_state_
    static constexpr std::uint32_t idle = 0;
    static constexpr std::uint32_t sleeping = 1;  // in the ring
    static constexpr std::uint32_t resting = 2;   // beside it
    static constexpr std::uint32_t notified = 3;

    // Not larger: locked memory is limited per user. Not smaller: sends go in crowds. What
    // exceeds the completion queue the kernel keeps in a list of its own.
    static constexpr unsigned default_sq_entries = 1024;
    static constexpr unsigned cq_factor = 4;
    // More would let what completes at once overtake what comes from outside. (With 128 the p99 of
    // an echo at 4000 connections is 160 to 190 ms; so it is 40 to 56.)
    static constexpr std::size_t batch = 32;
    static constexpr unsigned most_rescue_batches = 32;
    static constexpr std::int64_t most_put_off_ns = 200'000;
    static constexpr std::size_t most_moved = 256 << 10;
    // What is more had better be sent while it is in the cache, if a system call costs less.
    static constexpr std::size_t most_cached_together = 96 << 10;
    static constexpr std::int64_t rescue_patience_ns = 100'000;

    void queue_request(Operation& operation) noexcept;
    void flush_requests() noexcept;
    bool flush_request(Operation& operation) noexcept;
    bool arm_wake_event() noexcept;
    void make_room() noexcept;
    void let_arrivals_in() noexcept;
    void enter() noexcept;
    void enter_and_wait(Deadline deadline) noexcept;
    void rest(Deadline deadline) noexcept;
    struct Done {
        Operation* operation;
        int result;
        std::byte* lent;
    };
    void hand_out(const Done& done) noexcept;
    std::size_t take_completions(Done (&done)[batch], bool& took_wake) noexcept;
    std::size_t deliver(Who who) noexcept;
    std::byte* piece_for(Request::Code code) noexcept;
    bool cancel_settled(Operation& operation, int answer) noexcept;
    bool finish(const Done& done) noexcept;
    bool knows(Request::Code code) const noexcept;
    void hand_over(Operation& operation) noexcept;
    void set_filling(bool filling) noexcept;
    void provide(std::byte* piece) noexcept;
    // Those ended first: of those that are not, none is missed then.
    std::size_t unfinished() const noexcept {
        const std::size_t ended = ended_.load(std::memory_order_acquire);
        return begun_.load(std::memory_order_relaxed) - ended;
    }
    void send_wake() noexcept;
    bool owner_must_enter() const noexcept;
    bool may_put_off() const noexcept;
    void note_entry() noexcept;

    // --- fixed after construction ---
    Offload& offload_;
    const std::uint64_t operations_;  // as UringSupport's
    const bool message_ring_;
    const bool absolute_timeout_;
    const std::uint16_t accept_flags_;
    const std::size_t most_together_;
    const unsigned wait_flags_;
    int wake_event_ = -1;  // an eventfd, where there are no messages between rings

    // --- own worker only ---
    TimePoint entered_{};                // when it last came back from the kernel
    std::atomic<bool> filling_{false};   // an entry; for on_signal(), on the same thread
    std::atomic<std::size_t> begun_{0};  // operations in the ring, ever; read by any thread

    // --- any thread ---
    SpinLock lock_;
    Ring ring_;                               // completions guarded by lock_
    OperationList requests_;                  // guarded by lock_
    BufferRing buffers_;                      // guarded by lock_, but for is_full()
    bool wake_event_armed_ = false;           // guarded by lock_
    std::atomic<bool> has_requests_{false};   // written under lock_: requests_ or arming
    std::atomic<std::size_t> ended_{0};       // of those begun_, delivered; under lock_
    std::atomic<std::size_t> moved_{0};       // bytes since entered_, by results; under lock_
    std::atomic<std::size_t> delivering_{0};  // left the queue, complete() is under way
    std::atomic<std::size_t> offloaded_{0};   // with the Offload
    std::atomic<std::uint32_t> wake_state_{idle};
};

}  // namespace weft::detail
