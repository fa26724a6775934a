// An io_uring as the reference servers use it: one per thread, completions run
// when that thread enters the kernel, one enter per turn. Layer: benchmarks, net.
#pragma once

#include "net/sockets.hpp"

#include <liburing.h>

#include <cerrno>
#include <cstdint>

namespace bench {

class Ring {
public:
    Ring() {
        io_uring_params parameters{};
        parameters.flags =
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
        parameters.cq_entries = 16'384;
        errno = -io_uring_queue_init_params(1'024, &ring_, &parameters);
        if (errno != 0) fail("io_uring");
        io_uring_register_ring_fd(&ring_);
    }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring() { io_uring_queue_exit(&ring_); }

    /// An operation to fill in. Submits when the queue is full.
    io_uring_sqe& next() {
        io_uring_sqe* entry = io_uring_get_sqe(&ring_);
        while (entry == nullptr) {
            io_uring_submit(&ring_);
            entry = io_uring_get_sqe(&ring_);
        }
        return *entry;
    }

    void accept_for_ever(int listener, std::uint64_t user_data) {
        io_uring_sqe& entry = next();
        io_uring_prep_multishot_accept(&entry, listener, nullptr, nullptr, 0);
        io_uring_sqe_set_data64(&entry, user_data);
    }

    /// Submits everything and sleeps until there is a completion.
    void submit_and_wait() { io_uring_submit_and_wait(&ring_, 1); }

    /// Calls `handle(completion)` for all that are there now.
    template <class Handler>
    void drain(Handler handle) {
        unsigned head = 0;
        unsigned handled = 0;
        io_uring_cqe* completion = nullptr;
        io_uring_for_each_cqe(&ring_, head, completion) {
            handle(*completion);
            ++handled;
        }
        io_uring_cq_advance(&ring_, handled);
    }

private:
    io_uring ring_;
};

}  // namespace bench
