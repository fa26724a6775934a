// Layer: io. Uses: io_uring(7).
#include "io/ring.hpp"

#include "io/system_call.hpp"

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

}  // namespace

Ring::Ring(unsigned sq_entries, unsigned cq_entries) {
    io_uring_params params{};
    const int fd = open(sq_entries, cq_entries, params);
    features_ = params.features;
    if (const int error = io_uring_queue_mmap(fd, &params, &ring_); error != 0) {
        close_number(fd);
        fail(-error, "mmap of an io_uring");
    }
    if ((params.flags & setup_no_sq_array) == 0) {
        for (unsigned i = 0; i < ring_.sq.ring_entries; ++i) ring_.sq.array[i] = i;
    }
}

Ring::~Ring() { io_uring_queue_exit(&ring_); }

int Ring::open(unsigned sq_entries, unsigned cq_entries, io_uring_params& params) {
    unsigned flags = required_flags;
    for (const unsigned flag : optional_flags) flags |= flag;
    const unsigned* next_to_drop = std::begin(optional_flags);
    for (;;) {
        params = io_uring_params{};
        params.flags = flags | IORING_SETUP_CQSIZE;
        params.cq_entries = cq_entries;
        const int fd = io_uring_setup(sq_entries, &params);
        if (fd >= 0) return fd;
        if (fd == -EINTR) continue;
        if (fd == -EINVAL && next_to_drop != std::end(optional_flags)) {
            flags &= ~*next_to_drop++;
            continue;
        }
        // RLIMIT_MEMLOCK counts all rings of the user.
        if (fd == -ENOMEM && sq_entries > least_entries) {
            sq_entries /= 2;
            cq_entries /= 2;
            continue;
        }
        fail(-fd, "io_uring_setup");
    }
}

int Ring::enter(unsigned submit, unsigned wait_for, unsigned flags,
                const __kernel_timespec& timeout) noexcept {
    io_uring_getevents_arg argument{};
    argument.sigmask_sz = 8;
    argument.ts = reinterpret_cast<std::uint64_t>(&timeout);
    // EINTR is an answer here: whoever sleeps looks again whether it should.
    return io_uring_enter2(static_cast<unsigned>(fd()), submit, wait_for,
                           flags | IORING_ENTER_EXT_ARG, reinterpret_cast<sigset_t*>(&argument),
                           sizeof argument);
}

}  // namespace weft::detail
