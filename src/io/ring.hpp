// Ring: one io_uring, its two queues mapped; no policy. Layer: io. Uses: base.
//
// Made for SINGLE_ISSUER | DEFER_TASKRUN: only the owner, the thread that
// enable()d it, may enter it, and completions appear only while it does.
// liburing maps the queues and makes the system calls; entries are filled and
// taken here, because what is wanted is younger than the liburing of the
// distributions, and because others than the owner look into the queues.
//
// Invariants
//  1. Entries between the kernel's head and the published tail are complete and
//     not yet submitted. So whoever enters may submit them, a signal handler
//     that interrupts anything included.
//  2. Without NO_SQARRAY, sq_array[i] == i for ever.
//
// Locking: none. push() + publish() are the owner's thread's, the caller's lock guards front() +
//  pop(); the rest reads words shared with the kernel. enter() needs no lock.
#pragma once

#include "base/sanitizer.hpp"

#include <liburing.h>

#include <cstddef>
#include <cstdint>

namespace weft::detail {

// Younger than the headers of Linux 6.1.
inline constexpr unsigned setup_no_sq_array = 1u << 16;
inline constexpr unsigned enter_absolute_timer = 1u << 5;
inline constexpr unsigned enter_no_iowait = 1u << 7;
inline constexpr std::uint16_t accept_poll_first = 1u << 2;
inline constexpr unsigned feature_no_iowait = 1u << 17;
inline constexpr unsigned register_send_message_ring = 31;

/// For registrations that need no ring of one's own.
inline constexpr unsigned no_ring = ~0u;

class Ring {
public:
    /// Throws std::system_error. Asked for `sq_entries` and `cq_entries`, it
    /// makes do with half, and so on, while memory may not be locked (ENOMEM).
    Ring(unsigned sq_entries, unsigned cq_entries);
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring();

    int fd() const noexcept { return ring_.ring_fd; }
    unsigned features() const noexcept { return features_; }
    unsigned sq_entries() const noexcept { return ring_.sq.ring_entries; }

    /// Makes the calling thread the owner. Returns 0 or -errno.
    int enable() noexcept {
        return io_uring_register(static_cast<unsigned>(fd()), IORING_REGISTER_ENABLE_RINGS, nullptr,
                                 0);
    }

    /// A zeroed entry to fill and publish() next; null when the queue is full.
    io_uring_sqe* push() noexcept {
        tsan_acquire(this);  // from the fiber that came before on this thread
        const unsigned tail = *ring_.sq.ktail;
        if (tail - load(ring_.sq.khead) >= sq_entries()) return nullptr;
        io_uring_sqe* entry = &ring_.sq.sqes[tail & ring_.sq.ring_mask];
        *entry = io_uring_sqe{};
        return entry;
    }
    void publish() noexcept {
        store(ring_.sq.ktail, *ring_.sq.ktail + 1);
        tsan_release(this);
    }

    /// The oldest completion; null when there is none.
    const io_uring_cqe* front() const noexcept {
        const unsigned head = load(ring_.cq.khead);
        return head == load(ring_.cq.ktail) ? nullptr : &ring_.cq.cqes[head & ring_.cq.ring_mask];
    }
    void pop() noexcept { store(ring_.cq.khead, *ring_.cq.khead + 1); }

    // Any thread; momentary.
    unsigned unsubmitted() const noexcept { return load(ring_.sq.ktail) - load(ring_.sq.khead); }
    bool has_completions() const noexcept { return load(ring_.cq.khead) != load(ring_.cq.ktail); }
    unsigned completions_seen() const noexcept { return load(ring_.cq.ktail); }
    /// Whether the kernel holds completions back until the owner enters.
    bool must_enter() const noexcept {
        return (load(ring_.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

    /// The owner. >= 0 or -errno.
    int enter(unsigned submit, unsigned wait_for, unsigned flags) noexcept {
        return io_uring_enter2(static_cast<unsigned>(fd()), submit, wait_for, flags, nullptr, 0);
    }
    /// With a time-out, which `flags` says how to read.
    int enter(unsigned submit, unsigned wait_for, unsigned flags,
              const __kernel_timespec& timeout) noexcept;

private:
    static unsigned load(const unsigned* word) noexcept {
        return __atomic_load_n(word, __ATOMIC_ACQUIRE);
    }
    static void store(unsigned* word, unsigned value) noexcept {
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
    }
    static int open(unsigned sq_entries, unsigned cq_entries, io_uring_params& params);

    // Of the heads and tails that are ours one is the owner's, one the lock's.
    io_uring ring_{};
    unsigned features_ = 0;
};

}  // namespace weft::detail
