// Offload: a few OS threads for the calls that sleep without being pollable:
// files that are not in memory, fsync, opening, closing, and whatever a BlockingCall is.
// Layer: io. Uses: base.
//
// Shared by the drivers of one runtime; those of io_uring send it what their kernel's
// rings do not know.
//
// Threads are started when an operation finds none idle, as many as it may have;
// an idle one sleeps on its own futex, and the one that slept last is woken
// first. They block all signals and run no weft code but Operation::complete().
// A call that waits for others has a thread of its own, which ends with it: a few such, closes of
// sockets that linger, would keep all files waiting.
//
// Invariants
//  1. An operation is in queue_, or one thread runs it, or it was completed.
//  2. While queue_ is not empty and a thread may be started, none is in idle_.
//  3. A Slot in idle_ belongs to a thread that sleeps until signal changes, which
//     whoever takes the slot out of idle_ does.
//
// Locking: lock_ guards everything but the futexes; no call and no complete() is
//  made under it.
// Lifetime: outlives the drivers and their operations.
#pragma once

#include "io/operation_list.hpp"

#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace weft::detail {

class Offload {
public:
    static constexpr std::size_t default_threads = 8;

    /// Of at most so many threads, and at least one. Throws std::bad_alloc.
    explicit Offload(std::size_t most_threads = default_threads) : slots_(most_threads) {}
    Offload(const Offload&) = delete;
    Offload& operator=(const Offload&) = delete;
    ~Offload() { stop(); }

    /// Any thread. Begins `operation`, which a thread will complete(). It is
    /// counted in `in_flight` until after that; then `in_flight` may be gone.
    void submit(Operation& operation, std::atomic<std::size_t>& in_flight) noexcept;

    /// Any thread. Completes `operation` with -ECANCELED if it has not begun; else
    /// it ends by itself. Requires: it was submitted here and is alive.
    void cancel(Operation& operation) noexcept;

    /// Completes with -ECANCELED what has not begun, waits for the rest, joins
    /// the threads. Idempotent. Requires: nobody calls anything here any more.
    void stop() noexcept;

    /// Any thread; momentary. How many threads there are, without those that run one call only.
    std::size_t threads() noexcept;

private:
    struct Slot {
        // --- guarded by lock_ ---
        bool used = false;
        Slot* next_idle = nullptr;
        // --- any thread ---
        std::atomic<std::uint32_t> signal{0};  // futex
        // --- the starter, then stop() ---
        std::thread thread;
    };

    bool start_alone(Operation& operation) noexcept;
    void start(Slot& slot) noexcept;
    void serve(Slot& slot) noexcept;
    void serve_without_thread(Slot& slot) noexcept;
    void run_next() noexcept;
    static void wake(Slot& slot) noexcept;
    static void deliver(Operation& operation, int result) noexcept;
    static void deliver_cancelled(OperationChain& cancelled) noexcept;
    Slot* take_idle() noexcept;
    Slot* take_unused() noexcept;
    void set_used(Slot& slot, bool used) noexcept;

    SpinLock lock_;
    // --- guarded by lock_ ---
    OperationList queue_;
    Slot* idle_ = nullptr;
    bool stopping_ = false;
    std::vector<Slot> slots_;  // never resized
    std::size_t used_ = 0;     // of those
    // --- any thread ---
    std::atomic<std::uint32_t> alone_{0};  // futex: threads that run one call only
};

}  // namespace weft::detail
