#include "support/kernel.hpp"

#include "base/sanitizer.hpp"
#include "io/ring.hpp"

#include <liburing.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string_view>

using weft::test::Mishap;

extern "C" {
int __real_io_uring_enter2(unsigned ring, unsigned submit, unsigned wait_for, unsigned flags,
                           sigset_t* argument, std::size_t size);
int __real_io_uring_setup(unsigned entries, io_uring_params* params);
int __real_io_uring_register(unsigned ring, unsigned what, const void* argument, unsigned count);
int __real_io_uring_queue_mmap(int fd, io_uring_params* params, io_uring* ring);
long __real_syscall(long number, ...);
}

namespace {

// --- older kernels ---

/// What a kernel does not know.
struct Version {
    std::string_view name;
    unsigned setup_flags;
    bool buffer_rings;
    unsigned last_operation;
};

// What all of these are older than.
constexpr unsigned young_enter_flags =
    weft::detail::enter_absolute_timer | weft::detail::enter_no_iowait;

constexpr Version versions[] = {
    {"6.1", weft::detail::setup_no_sq_array, true, IORING_OP_SEND_ZC},
    {"least", weft::detail::setup_no_sq_array | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP, false,
     IORING_OP_RECV},
};

std::string_view kernel_asked_for() {
    const char* name = std::getenv("WEFT_TEST_KERNEL");
    return name == nullptr ? std::string_view{} : name;
}

/// Null: this one.
const Version* older() {
    static const Version* const found = []() -> const Version* {
        for (const Version& each : versions) {
            if (each.name == kernel_asked_for()) return &each;
        }
        return nullptr;
    }();
    return found;
}

void forget_operations(io_uring_probe& table, const Version& version) {
    for (unsigned code = version.last_operation + 1; code <= table.last_op; ++code) {
        table.ops[code].flags = 0;
    }
}

// --- bad days ---

struct Trouble {
    std::atomic<Mishap> mishap{Mishap::none};
    std::atomic<int> error{0};
    std::atomic<int> met{0};
    std::atomic<std::uint32_t> requests{0};
};

Trouble& trouble() {
    static Trouble all;
    [[maybe_unused]] static const bool asked = [] {
        if (kernel_asked_for() != "interrupting") return false;
        if (weft::test::nops_can_fail())
            all.mishap = Mishap::interrupted;
        else
            std::fputs("skipped: no request can be made to fail here\n", stderr);
        return true;
    }();
    return all;
}

/// The mishap of this request. A third, but in no pattern that a loop could fall in step with.
Mishap draw() {
    Trouble& all = trouble();
    const Mishap mishap = all.mishap;
    if (mishap == Mishap::none || mishap == Mishap::failed) return mishap;
    std::uint32_t number = all.requests.fetch_add(1) * 0x9e3779b9u;
    number = (number ^ number >> 15) * 0x85ebca6bu;
    return (number ^ number >> 13) % 3 == 0 ? mishap : Mishap::none;
}

/// A length from 1 to less than all of it, if there is one.
template <class Length>
bool shorten(Length& length) {
    if (length < 2) return false;
    length -= length / 2 + length / 4;
    return true;
}

// --- requests to a ring ---

constexpr std::size_t most_fds = 4096;
struct Mapped {
    std::atomic<io_uring*> ring{nullptr};
    std::atomic<bool> in_work{false};
};
std::array<Mapped, most_fds> mapped;

constexpr unsigned nop_injects = 1;  // IORING_NOP_INJECT_RESULT, as rw_flags

void make_fail(io_uring_sqe& entry, int error) {
    const auto owner = entry.user_data;
    entry = io_uring_sqe{};
    entry.opcode = IORING_OP_NOP;
    entry.rw_flags = nop_injects;
    entry.len = static_cast<std::uint32_t>(-error);
    entry.user_data = owner;
}

bool is_one_of(unsigned code, std::initializer_list<unsigned> codes) {
    for (const unsigned each : codes) {
        if (each == code) return true;
    }
    return false;
}

/// Whether io_uring may say EAGAIN to it: of what is O_NONBLOCK.
bool may_give_up(const io_uring_sqe& entry) {
    const bool reads_or_writes = is_one_of(
        entry.opcode, {IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE, IORING_OP_WRITEV});
    return (reads_or_writes && entry.off == ~0ULL) ||
           is_one_of(entry.opcode, {IORING_OP_RECVMSG, IORING_OP_SENDMSG, IORING_OP_ACCEPT});
}

/// Whether its length, of bytes or of pieces, may be any.
bool may_be_short(const io_uring_sqe& entry) {
    return is_one_of(entry.opcode, {IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE,
                                    IORING_OP_WRITEV, IORING_OP_RECV, IORING_OP_SEND});
}

/// Whether its owner is not the driver itself, and may repeat it.
bool is_users(const io_uring_sqe& entry) {
    return entry.user_data % alignof(std::max_align_t) == 0 &&
           !is_one_of(entry.opcode, {IORING_OP_NOP, IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE});
}

/// Whether `entry` met it.
bool spoil(io_uring_sqe& entry, Mishap mishap) {
    switch (mishap) {
        case Mishap::none: return false;
        case Mishap::interrupted: make_fail(entry, EINTR); return true;
        case Mishap::again:
            if (!may_give_up(entry)) return false;
            make_fail(entry, EAGAIN);
            return true;
        case Mishap::cut: return may_be_short(entry) && shorten(entry.len);
        case Mishap::failed: make_fail(entry, trouble().error); return true;
    }
    return false;
}

void look_at(io_uring_sqe& entry) {
    const bool polls_first =
        entry.opcode == IORING_OP_ACCEPT && (entry.ioprio & weft::detail::accept_poll_first) != 0;
    if (polls_first && older() != nullptr) return make_fail(entry, EINVAL);
    if (is_users(entry) && spoil(entry, draw())) ++trouble().met;
}

void look_at_what_is_submitted(io_uring& ring) {
    const unsigned tail = __atomic_load_n(ring.sq.ktail, __ATOMIC_ACQUIRE);
    for (unsigned at = __atomic_load_n(ring.sq.khead, __ATOMIC_ACQUIRE); at != tail; ++at) {
        look_at(ring.sq.sqes[at & ring.sq.ring_mask]);
    }
}

// --- system calls ---

std::atomic<long> refused_call{-1};
std::atomic<int> refusal{0};
std::atomic<int> refused{0};

/// In which argument a call that may be cut short has its length; -1: it has none.
int place_of_length(long number) {
    switch (number) {
        case SYS_read:
        case SYS_write:
        case SYS_preadv2:
        case SYS_pwritev2:
        case SYS_recvmmsg:
        case SYS_sendmmsg: return 2;
        case SYS_splice:
        case SYS_copy_file_range: return 4;
        default: return -1;
    }
}

/// A wake-up or a message of the runtime's own.
bool is_runtimes(long number, const long (&arguments)[6]) {
    return (number == SYS_read || number == SYS_write) &&
           static_cast<unsigned long>(arguments[2]) <= sizeof(siginfo_t);
}

/// Of a message in pieces, which no datagram here is, the first ones; `part` is where it lies then.
bool shorten_message(long& message, msghdr& part) {
    part = *reinterpret_cast<const msghdr*>(message);
    message = reinterpret_cast<long>(&part);
    return shorten(part.msg_iovlen);
}

/// 0, or the error that it fails with. `part`: room for a message.
int spoil(long number, long (&arguments)[6], msghdr& part) {
    const int place = place_of_length(number);
    const bool known = place >= 0 || number == SYS_sendmsg || number == SYS_accept4;
    if (!known || is_runtimes(number, arguments)) return 0;
    Trouble& all = trouble();
    switch (draw()) {
        case Mishap::none: return 0;
        case Mishap::interrupted: ++all.met; return EINTR;
        case Mishap::again:
            if (number == SYS_copy_file_range) return 0;
            ++all.met;
            return EAGAIN;
        case Mishap::cut:
            if (number == SYS_sendmsg ? shorten_message(arguments[1], part)
                                      : place >= 0 && shorten(arguments[place])) {
                ++all.met;
            }
            return 0;
        case Mishap::failed: ++all.met; return all.error;
    }
    return 0;
}

int error_of_call(long number, long (&arguments)[6], msghdr& part) {
    if (number != refused_call) return spoil(number, arguments, part);
    ++refused;
    return refusal;
}

}  // namespace

extern "C" {

int __wrap_io_uring_enter2(unsigned ring, unsigned submit, unsigned wait_for, unsigned flags,
                           sigset_t* argument, std::size_t size) {
    if (older() != nullptr && (flags & young_enter_flags) != 0) return -EINVAL;
    if (submit > 0) {
        Mapped& known = mapped.at(ring);
        // In a signal's handler, that came in the midst of this.
        if (known.in_work.exchange(true)) return -EINTR;
        if (io_uring* const queues = known.ring) look_at_what_is_submitted(*queues);
        known.in_work = false;
    }
    return __real_io_uring_enter2(ring, submit, wait_for, flags, argument, size);
}

int __wrap_io_uring_setup(unsigned entries, io_uring_params* params) {
    if (older() != nullptr && (params->flags & older()->setup_flags) != 0) return -EINVAL;
    const int result = __real_io_uring_setup(entries, params);
    if (older() != nullptr) params->features &= ~weft::detail::feature_no_iowait;
    return result;
}

int __wrap_io_uring_register(unsigned ring, unsigned what, const void* argument, unsigned count) {
    const Version* const version = older();
    if (version != nullptr) {
        if (what == weft::detail::register_send_message_ring) return -EINVAL;
        if (what == IORING_REGISTER_PBUF_RING && !version->buffer_rings) return -EINVAL;
    }
    const int result = __real_io_uring_register(ring, what, argument, count);
    if (version != nullptr && what == IORING_REGISTER_PROBE) {
        forget_operations(*static_cast<io_uring_probe*>(const_cast<void*>(argument)), *version);
    }
    return result;
}

int __wrap_io_uring_queue_mmap(int fd, io_uring_params* params, io_uring* ring) {
    const int result = __real_io_uring_queue_mmap(fd, params, ring);
    if (result == 0) mapped.at(static_cast<std::size_t>(fd)).ring = ring;
    return result;
}

// Where libc writes errno, TSan does not look: fibers of one thread share it.
WEFT_NO_TSAN long __wrap_syscall(long number, ...) {
    long arguments[6];
    va_list list;
    va_start(list, number);
    for (long& each : arguments) each = va_arg(list, long);
    va_end(list);
    msghdr part;
    if (const int error = error_of_call(number, arguments, part)) {
        errno = error;
        return -1;
    }
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                          arguments[4], arguments[5]);
}

}  // extern "C"

namespace weft::test {

Mishaps::Mishaps(Mishap mishap, int error) {
    Trouble& all = trouble();
    all.met = 0;
    all.error = error;
    all.mishap = mishap;
}

Mishaps::~Mishaps() { trouble().mishap = Mishap::none; }

int Mishaps::met() noexcept { return trouble().met; }

RefusedCall::RefusedCall(long number, int error) {
    refused = 0;
    refusal = error;
    refused_call = number;
}

RefusedCall::~RefusedCall() { refused_call = -1; }

int RefusedCall::met() noexcept { return refused; }

bool nops_can_fail() {
    static const bool can = [] {
        io_uring ring;
        if (io_uring_queue_init(2, &ring, 0) != 0) return false;
        io_uring_sqe* entry = io_uring_get_sqe(&ring);
        entry->user_data = 0;
        make_fail(*entry, EXDEV);
        io_uring_cqe* answer = nullptr;
        const bool answered =
            io_uring_submit_and_wait(&ring, 1) == 1 && io_uring_peek_cqe(&ring, &answer) == 0;
        const bool injected = answered && answer->res == -EXDEV;
        io_uring_queue_exit(&ring);
        return injected;
    }();
    return can;
}

}  // namespace weft::test
