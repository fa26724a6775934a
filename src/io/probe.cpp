// Layer: io. Uses: base.
#include "io/probe.hpp"

#include "io/ring.hpp"

#include <linux/time_types.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace weft::detail {

namespace {

constexpr std::uint8_t needed_operations[] = {
    IORING_OP_NOP,         IORING_OP_ACCEPT,  IORING_OP_CONNECT,  IORING_OP_RECV,
    IORING_OP_SEND,        IORING_OP_RECVMSG, IORING_OP_SENDMSG,  IORING_OP_READ,
    IORING_OP_WRITE,       IORING_OP_READV,   IORING_OP_WRITEV,   IORING_OP_FSYNC,
    IORING_OP_OPENAT,      IORING_OP_STATX,   IORING_OP_POLL_ADD, IORING_OP_CLOSE,
    IORING_OP_ASYNC_CANCEL};

constexpr unsigned most_operations = 256;

std::string describe(const char* what, int error) {
    return std::string{what} + ": " + std::system_category().message(-error);
}

std::string check_operations(const Ring& ring, std::uint64_t& operations) {
    // The answer's layout: a head, then one entry for each operation.
    alignas(io_uring_probe)
        std::byte room[sizeof(io_uring_probe) + most_operations * sizeof(io_uring_probe_op)]{};
    const auto& table = *reinterpret_cast<const io_uring_probe*>(room);
    const int result = io_uring_register(static_cast<unsigned>(ring.fd()), IORING_REGISTER_PROBE,
                                         room, most_operations);
    if (result < 0) return describe("io_uring: listing its operations", result);
    for (unsigned code = 0; code <= table.last_op && code < 64; ++code) {
        if ((table.ops[code].flags & IO_URING_OP_SUPPORTED) != 0) {
            operations |= std::uint64_t{1} << code;
        }
    }
    for (const std::uint8_t code : needed_operations) {
        if ((operations >> code & 1) == 0)
            return "io_uring: operation " + std::to_string(code) + " is missing";
    }
    return {};
}

std::string check_round_trip(Ring& ring) {
    io_uring_sqe* entry = ring.push();
    entry->opcode = IORING_OP_NOP;
    entry->user_data = 42;
    ring.publish();
    while (!ring.has_completions()) {
        const int result = ring.enter(ring.unsubmitted(), 1, IORING_ENTER_GETEVENTS);
        if (result < 0 && result != -EINTR) return describe("io_uring_enter", result);
    }
    const bool ours = ring.front()->user_data == 42;
    ring.pop();
    return ours ? std::string{} : "io_uring: a NOP came back as something else";
}

bool takes_messages(Ring& ring) noexcept {
    io_uring_sqe message{};
    message.opcode = IORING_OP_MSG_RING;
    message.fd = ring.fd();
    message.off = 43;  // the user_data of the completion
    if (io_uring_register(no_ring, register_send_message_ring, &message, 1) < 0) return false;
    while (!ring.has_completions()) {
        const int result = ring.enter(0, 1, IORING_ENTER_GETEVENTS);
        if (result < 0 && result != -EINTR) return false;
    }
    const bool ours = ring.front()->user_data == 43;
    ring.pop();
    return ours;
}

bool takes_absolute_timeouts(Ring& ring) noexcept {
    const __kernel_timespec long_ago{1, 0};
    const unsigned flags = IORING_ENTER_GETEVENTS | enter_absolute_timer;
    return ring.enter(0, 1, flags, long_ago) == -ETIME;
}

/// Flags are looked at before the descriptor: without this one the answer is EINVAL.
bool accepts_poll_first(Ring& ring) noexcept {
    io_uring_sqe* entry = ring.push();
    entry->opcode = IORING_OP_ACCEPT;
    entry->fd = -1;
    entry->ioprio = accept_poll_first;
    ring.publish();
    while (!ring.has_completions()) {
        const int result = ring.enter(ring.unsubmitted(), 1, IORING_ENTER_GETEVENTS);
        if (result < 0 && result != -EINTR) return false;
    }
    const int result = ring.front()->res;
    ring.pop();
    return result == -EBADF;
}

/// By the least of several tries, for others may have the CPU meanwhile.
bool measure_system_calls() noexcept {
    constexpr int tries = 8;
    constexpr int calls = 16;
    constexpr std::chrono::nanoseconds dear{400};
    auto least = std::chrono::steady_clock::duration::max();
    for (int i = 0; i < tries; ++i) {
        const auto before = std::chrono::steady_clock::now();
        for (int j = 0; j < calls; ++j) ::syscall(SYS_getppid);
        least = std::min(least, std::chrono::steady_clock::now() - before);
    }
    return least > calls * dear;
}

}  // namespace

UringSupport probe_uring() {
    UringSupport support;
    try {
        Ring ring{8, 16};
        if (const int result = ring.enable(); result < 0) {
            support.refusal = describe("io_uring: enabling a ring", result);
            return support;
        }
        if ((ring.features() & (IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP)) !=
            (IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP)) {
            support.refusal = "io_uring: too old (no EXT_ARG or NODROP)";
            return support;
        }
        support.refusal = check_operations(ring, support.operations);
        if (support) support.refusal = check_round_trip(ring);
        if (!support) return support;
        support.message_ring = takes_messages(ring);
        support.absolute_timeout = takes_absolute_timeouts(ring);
        support.accept_polls_first = accepts_poll_first(ring);
        support.dear_system_calls = measure_system_calls();
        support.no_iowait = (ring.features() & feature_no_iowait) != 0;
    } catch (const std::system_error& error) {
        support.refusal = error.what();
    }
    return support;
}

const UringSupport& uring_support() {
    static const UringSupport support = probe_uring();
    return support;
}

}  // namespace weft::detail
