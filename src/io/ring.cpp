// Layer: io. Uses: io_uring(7).
#include "io/ring.hpp"

#include "io/system_call.hpp"

#include <linux/time_types.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace weft::detail {

namespace {

constexpr unsigned required_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                    IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
// Good to have; dropped in this order until the kernel takes the rest.
constexpr unsigned optional_flags[] = {setup_no_sq_array, IORING_SETUP_SUBMIT_ALL,
                                       IORING_SETUP_CLAMP};
constexpr unsigned least_entries = 8;

[[noreturn]] void fail(int error, const char* what) {
    throw std::system_error(error, std::system_category(), what);
}

template <class T>
T* at(void* base, std::size_t offset) noexcept {
    return reinterpret_cast<T*>(static_cast<char*>(base) + offset);
}

}  // namespace

WEFT_NO_TSAN [[gnu::noinline]] int ring_setup(unsigned entries, io_uring_params& params) noexcept {
    const long result = ::syscall(SYS_io_uring_setup, entries, &params);
    return result < 0 ? -errno : static_cast<int>(result);
}

// EINTR is an answer here: whoever sleeps looks again whether it should.
WEFT_NO_TSAN [[gnu::noinline]] int ring_enter(int fd, unsigned submit, unsigned wait_for,
                                              unsigned flags, const void* argument,
                                              std::size_t size) noexcept {
    const long result = ::syscall(SYS_io_uring_enter, fd, submit, wait_for, flags, argument, size);
    return result < 0 ? -errno : static_cast<int>(result);
}

WEFT_NO_TSAN [[gnu::noinline]] int ring_register(int fd, unsigned what, const void* argument,
                                                 unsigned count) noexcept {
    const long result = ::syscall(SYS_io_uring_register, fd, what, argument, count);
    return result < 0 ? -errno : static_cast<int>(result);
}

Ring::Ring(unsigned sq_entries, unsigned cq_entries) {
    io_uring_params params{};
    open(sq_entries, cq_entries, params);
    features_ = params.features;
    try {
        map(params);
    } catch (...) {
        unmap();
        throw;
    }
}

Ring::~Ring() { unmap(); }

void Ring::open(unsigned sq_entries, unsigned cq_entries, io_uring_params& params) {
    unsigned flags = required_flags;
    for (const unsigned flag : optional_flags) flags |= flag;
    const unsigned* next_to_drop = std::begin(optional_flags);
    for (;;) {
        params = io_uring_params{};
        params.flags = flags | IORING_SETUP_CQSIZE;
        params.cq_entries = cq_entries;
        fd_ = ring_setup(sq_entries, params);
        if (fd_ >= 0) return;
        if (fd_ == -EINTR) continue;
        if (fd_ == -EINVAL && next_to_drop != std::end(optional_flags)) {
            flags &= ~*next_to_drop++;
            continue;
        }
        // RLIMIT_MEMLOCK counts all rings of the user.
        if (fd_ == -ENOMEM && sq_entries > least_entries) {
            sq_entries /= 2;
            cq_entries /= 2;
            continue;
        }
        fail(-fd_, "io_uring_setup");
    }
}

void Ring::map(const io_uring_params& params) {
    if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0) fail(ENOSYS, "io_uring: one mapping");
    const std::size_t sq_end = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    const std::size_t cq_end = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
    constexpr int protection = PROT_READ | PROT_WRITE;
    constexpr int flags = MAP_SHARED | MAP_POPULATE;

    queues_size_ = std::max(sq_end, cq_end);
    void* queues = ::mmap(nullptr, queues_size_, protection, flags, fd_, IORING_OFF_SQ_RING);
    if (queues == MAP_FAILED) fail(errno, "mmap of a ring's queues");
    queues_ = queues;
    sq_size_ = params.sq_entries * sizeof(io_uring_sqe);
    void* entries = ::mmap(nullptr, sq_size_, protection, flags, fd_, IORING_OFF_SQES);
    if (entries == MAP_FAILED) fail(errno, "mmap of a ring's submission entries");
    sq_ = static_cast<io_uring_sqe*>(entries);

    sq_head_ = at<unsigned>(queues_, params.sq_off.head);
    sq_tail_ = at<unsigned>(queues_, params.sq_off.tail);
    sq_flags_ = at<unsigned>(queues_, params.sq_off.flags);
    sq_mask_ = *at<unsigned>(queues_, params.sq_off.ring_mask);
    sq_entries_ = params.sq_entries;
    cq_head_ = at<unsigned>(queues_, params.cq_off.head);
    cq_tail_ = at<unsigned>(queues_, params.cq_off.tail);
    cq_mask_ = *at<unsigned>(queues_, params.cq_off.ring_mask);
    cq_ = at<io_uring_cqe>(queues_, params.cq_off.cqes);
    if ((params.flags & setup_no_sq_array) == 0) {
        auto* array = at<unsigned>(queues_, params.sq_off.array);
        for (unsigned i = 0; i < sq_entries_; ++i) array[i] = i;
    }
}

void Ring::unmap() noexcept {
    if (sq_ != nullptr) ::munmap(sq_, sq_size_);
    if (queues_ != nullptr) ::munmap(queues_, queues_size_);
    if (fd_ >= 0) close_number(fd_);
}

int Ring::enter(unsigned submit, unsigned wait_for, unsigned flags,
                const __kernel_timespec& timeout) noexcept {
    io_uring_getevents_arg argument{};
    argument.sigmask_sz = 8;
    argument.ts = reinterpret_cast<std::uint64_t>(&timeout);
    return ring_enter(fd_, submit, wait_for, flags | IORING_ENTER_EXT_ARG, &argument,
                      sizeof argument);
}

}  // namespace weft::detail
