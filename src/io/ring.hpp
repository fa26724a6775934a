// Ring: one io_uring, its two queues mapped; no policy. Layer: io. Uses: base.
//
// Made for SINGLE_ISSUER | DEFER_TASKRUN: only the owner, the thread that
// enable()d it, may enter it, and completions appear only while it does.
// liburing is not used: the flags wanted here are younger than the liburing of
// the distributions that run them.
//
// Invariants
//  1. Entries between the kernel's head and the published tail are complete and
//     not yet submitted. So whoever enters may submit them, a signal handler
//     that interrupts anything included.
//  2. Without NO_SQARRAY, sq_array[i] == i for ever.
//
// Locking: none. The caller's lock guards push() + publish() and front() +
//  pop(); the rest reads words shared with the kernel. enter() needs no lock.
#pragma once

#include <linux/io_uring.h>

#include <cstddef>
#include <cstdint>

struct __kernel_timespec;

namespace weft::detail {

// Younger than the headers of Linux 6.1.
inline constexpr unsigned setup_no_sq_array = 1u << 16;
inline constexpr unsigned enter_absolute_timer = 1u << 5;
inline constexpr unsigned enter_no_iowait = 1u << 7;
inline constexpr unsigned feature_no_iowait = 1u << 17;
inline constexpr unsigned register_send_message_ring = 31;

/// Thin system calls: >= 0, or -errno.
int ring_setup(unsigned entries, io_uring_params& params) noexcept;
int ring_enter(int fd, unsigned submit, unsigned wait_for, unsigned flags, const void* argument,
               std::size_t size) noexcept;
int ring_register(int fd, unsigned what, const void* argument, unsigned count) noexcept;

class Ring {
public:
    /// Throws std::system_error. Asked for `sq_entries` and `cq_entries`, it
    /// makes do with half, and so on, while memory may not be locked (ENOMEM).
    Ring(unsigned sq_entries, unsigned cq_entries);
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring();

    int fd() const noexcept { return fd_; }
    unsigned features() const noexcept { return features_; }
    unsigned sq_entries() const noexcept { return sq_entries_; }

    /// Makes the calling thread the owner. Returns 0 or -errno.
    int enable() noexcept { return ring_register(fd_, IORING_REGISTER_ENABLE_RINGS, nullptr, 0); }

    /// A zeroed entry to fill and publish() next; null when the queue is full.
    io_uring_sqe* push() noexcept {
        const unsigned tail = *sq_tail_;
        if (tail - load(sq_head_) >= sq_entries_) return nullptr;
        io_uring_sqe* entry = &sq_[tail & sq_mask_];
        *entry = io_uring_sqe{};
        return entry;
    }
    void publish() noexcept { store(sq_tail_, *sq_tail_ + 1); }

    /// The oldest completion; null when there is none.
    const io_uring_cqe* front() const noexcept {
        const unsigned head = load(cq_head_);
        return head == load(cq_tail_) ? nullptr : &cq_[head & cq_mask_];
    }
    void pop() noexcept { store(cq_head_, *cq_head_ + 1); }

    // Any thread; momentary.
    unsigned unsubmitted() const noexcept { return load(sq_tail_) - load(sq_head_); }
    bool has_completions() const noexcept { return load(cq_head_) != load(cq_tail_); }
    unsigned completions_seen() const noexcept { return load(cq_tail_); }
    /// Whether the kernel holds completions back until the owner enters.
    bool must_enter() const noexcept {
        return (load(sq_flags_) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

    /// The owner. >= 0 or -errno.
    int enter(unsigned submit, unsigned wait_for, unsigned flags) noexcept {
        return ring_enter(fd_, submit, wait_for, flags, nullptr, 0);
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
    void open(unsigned sq_entries, unsigned cq_entries, io_uring_params& params);
    void map(const io_uring_params& params);
    void unmap() noexcept;

    int fd_ = -1;
    unsigned features_ = 0;
    void* queues_ = nullptr;
    std::size_t queues_size_ = 0;
    io_uring_sqe* sq_ = nullptr;
    std::size_t sq_size_ = 0;
    unsigned sq_entries_ = 0;
    unsigned sq_mask_ = 0;
    unsigned cq_mask_ = 0;
    unsigned* sq_head_ = nullptr;   // the kernel's
    unsigned* sq_tail_ = nullptr;   // ours, under the caller's lock
    unsigned* sq_flags_ = nullptr;  // the kernel's
    unsigned* cq_head_ = nullptr;   // ours, under the caller's lock
    unsigned* cq_tail_ = nullptr;   // the kernel's
    io_uring_cqe* cq_ = nullptr;
};

}  // namespace weft::detail
