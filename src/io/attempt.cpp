// Layer: io. Uses: Linux system calls.
#include "io/attempt.hpp"

#include "base/assert.hpp"
#include "io/system_call.hpp"

#include <weft/detail/wait_queue.hpp>

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <mutex>

namespace weft::detail {

namespace {

using Code = Request::Code;
using Outcome = Attempt::Outcome;

/// A raw call; every argument is as wide as the register it goes in.
template <class... Args>
int call(long number, Args... args) noexcept {
    return static_cast<int>(kernel_call(number, args...));
}

// Not to be repeated: Linux has given the number up even when it says EINTR.
[[gnu::noinline]] int call_close(int fd) noexcept {
    if (::syscall(SYS_close, fd) == 0) return 0;
    return errno == EINTR ? 0 : -errno;
}

Attempt done(int result) noexcept { return {Outcome::done, result}; }
Attempt would_block() noexcept { return {Outcome::would_block}; }
Attempt needs_thread() noexcept { return {Outcome::needs_thread}; }

Attempt unless_blocked(int result) noexcept {
    return result == -EAGAIN ? would_block() : done(result);
}

/// The POLL* events of `fd` now, or -errno.
int events_now(int fd, std::uint32_t wanted) noexcept {
    pollfd entry{fd, static_cast<short>(wanted), 0};
    timespec at_once{};
    const int count = call(SYS_ppoll, &entry, 1L, &at_once, nullptr, 0L);
    if (count < 0) return count;
    return (entry.revents & POLLNVAL) != 0 ? -EBADF : entry.revents;
}

bool is_blocking(int fd) noexcept {
    const int flags = call(SYS_fcntl, fd, F_GETFL, 0L);
    return flags >= 0 && (flags & O_NONBLOCK) == 0;
}

int socket_option(int fd, int option) noexcept {
    int value = 0;
    socklen_t size = sizeof(value);
    const int result = call(SYS_getsockopt, fd, SOL_SOCKET, option, &value, &size);
    return result < 0 ? result : value;
}

/// As io_uring does: a FIFO is opened though nobody is at its other end, for whom os/fifo.hpp
/// waits; nothing could end a call that waits here.
int open_at_once(const Request& request) noexcept {
    const auto flags = static_cast<int>(request.flags);
    const auto open = [&request](int how) noexcept {
        return call(SYS_openat, request.fd, request.buffer, how, request.length);
    };
    const int fd = open(flags | O_NONBLOCK);
    if (fd == -EWOULDBLOCK) return open(flags);  // who has a lease on it is to give that up
    if (fd >= 0) call(SYS_fcntl, fd, F_SETFL, static_cast<long>(flags));
    return fd;
}

// --- sockets ---

/// recv or send; with MSG_WAITALL, on a stream, until all of it is through.
Attempt transfer(const Request& request, long number, std::uint32_t flags,
                 std::uint32_t& progress) noexcept {
    const bool all = (request.flags & (MSG_WAITALL | MSG_PEEK)) == MSG_WAITALL;
    for (;;) {
        const char* at = static_cast<const char*>(request.buffer) + progress;
        const std::size_t left = request.length - progress;
        const int result = call(number, request.fd, at, left, request.flags | MSG_DONTWAIT | flags,
                                nullptr, nullptr);
        if (result == -EAGAIN) return would_block();
        if (result <= 0) return done(progress > 0 ? static_cast<int>(progress) : result);
        if (!all) return done(result);
        progress += static_cast<std::uint32_t>(result);
        if (progress >= request.length || socket_option(request.fd, SO_TYPE) != SOCK_STREAM) {
            return done(static_cast<int>(progress));
        }
    }
}

Attempt transfer_message(const Request& request, long number, std::uint32_t flags) noexcept {
    return unless_blocked(
        call(number, request.fd, request.buffer, request.flags | MSG_DONTWAIT | flags));
}

constinit SpinLock blocking_accepts;

/// accept4 has no MSG_DONTWAIT. On a foreign listener that blocks, the lock
/// keeps weft's other workers from taking the connection that poll() saw.
Attempt accept_one(const Request& request) noexcept {
    const auto take = [&request]() noexcept {
        return unless_blocked(call(SYS_accept4, request.fd, request.buffer, request.extra,
                                   static_cast<int>(request.flags)));
    };
    if (!is_blocking(request.fd)) return take();
    const std::lock_guard hold{blocking_accepts};
    if (events_now(request.fd, POLLIN) == 0) return would_block();
    return take();
}

/// A full queue of a Unix listener is -EAGAIN and stays the caller's to repeat:
/// nothing tells when there is room.
Attempt begin_connect(const Request& request) noexcept {
    const int flags = call(SYS_fcntl, request.fd, F_GETFL, 0L);
    const bool blocking = flags >= 0 && (flags & O_NONBLOCK) == 0;
    if (blocking) call(SYS_fcntl, request.fd, F_SETFL, static_cast<long>(flags | O_NONBLOCK));
    const int result = call(SYS_connect, request.fd, request.buffer, request.length);
    if (blocking) call(SYS_fcntl, request.fd, F_SETFL, static_cast<long>(flags));
    return result == -EINPROGRESS ? would_block() : done(result);
}

Attempt finish_connect(const Request& request) noexcept {
    if (events_now(request.fd, POLLOUT) == 0) return would_block();
    if (const int error = socket_option(request.fd, SO_ERROR); error > 0) {
        // It is connecting still, to who asks it to connect again; by this no more. Asked once
        // more itself it would tell as much, but one that was shut down would begin anew.
        const sockaddr nowhere{.sa_family = AF_UNSPEC, .sa_data = {}};
        call(SYS_connect, request.fd, &nowhere, sizeof nowhere);
        return done(-error);
    }
    // Once more, which waits no longer: it may be woken for nothing.
    const int result = call(SYS_connect, request.fd, request.buffer, request.length);
    if (result == -EALREADY || result == -EINPROGRESS) return would_block();
    return done(result == -EISCONN ? 0 : result);
}

// --- reads and writes ---

bool is_read(Code code) noexcept { return code == Code::read || code == Code::readv; }
bool is_vector(Code code) noexcept { return code == Code::readv || code == Code::writev; }

struct Pieces {
    explicit Pieces(const Request& request) noexcept
        : one{const_cast<void*>(request.buffer), request.length} {
        const bool vector = is_vector(request.code);
        first = vector ? static_cast<const iovec*>(request.buffer) : &one;
        count = vector ? request.length : 1;
    }
    Pieces(const Pieces&) = delete;
    Pieces& operator=(const Pieces&) = delete;

    std::size_t bytes() const noexcept {
        std::size_t sum = 0;
        for (std::size_t i = 0; i < count; ++i) sum += first[i].iov_len;
        return sum;
    }

    const iovec one;
    const iovec* first;
    std::size_t count;
};

/// Whether the file goes on at `position`: then a short read was one of what
/// happened to be in memory.
bool goes_on(int fd, std::int64_t position) noexcept {
    struct statx about {};
    const int result = call(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, &about);
    return result == 0 && (about.stx_mode & S_IFMT) == S_IFREG &&
           about.stx_size > static_cast<std::uint64_t>(position);
}

/// Which terminal it is; -1: none.
std::int64_t terminal_of(int fd) noexcept {
    unsigned device = 0;
    return call(SYS_ioctl, fd, TIOCGDEV, &device) == 0 ? std::int64_t{device} : -1;
}

/// Another open file of the same terminal or pipe, to read or write (`access`) without blocking.
/// -1 when there is none to be had: of another thing, of the master of a terminal, where one may
/// not open it, and to write what nobody reads.
int reopen(int fd, int access) noexcept {
    const std::int64_t terminal = terminal_of(fd);
    struct statx about {};
    if (call(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &about) != 0) return -1;
    if (terminal < 0 && (about.stx_mode & S_IFMT) != S_IFIFO) return -1;
    unsigned number = 0;
    if (terminal >= 0 && call(SYS_ioctl, fd, TIOCGPTN, &number) == 0) return -1;  // makes new ones
    char name[32] = "/proc/self/fd/";
    std::to_chars(name + sizeof "/proc/self/fd/" - 1, std::end(name) - 1, fd);
    const int own =
        call(SYS_openat, AT_FDCWD, name, access | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0L);
    if (own < 0) return -1;
    if (terminal_of(own) == terminal) return own;
    call_close(own);  // /dev/tty is another one in each session
    return -1;
}

/// Of a write, what room for PIPE_BUF bytes is enough for: all of it, or a part of its first piece.
Request first_part(const Request& request) noexcept {
    const Pieces pieces{request};
    if (pieces.bytes() <= PIPE_BUF) return request;
    const iovec* const piece = std::find_if(pieces.first, pieces.first + pieces.count,
                                            [](const iovec& each) { return each.iov_len > 0; });
    Request part = request;
    part.code = Code::write;
    part.buffer = piece->iov_base;
    part.length = static_cast<std::uint32_t>(std::min<std::size_t>(piece->iov_len, PIPE_BUF));
    return part;
}

/// For a descriptor without RWF_NOWAIT (terminals; FIFOs; pipes before Linux 6.4) that poll() said
/// is ready. Who reads it, too, may be the first to read what is there; and a write that is too
/// long would block: of a pipe, room for PIPE_BUF bytes is all that readiness promises, and of a
/// terminal not even that. So it is opened once more, not to block.
Attempt read_or_write_when_ready(const Request& request) noexcept {
    if (!is_blocking(request.fd)) return unless_blocked(carry_out(request));
    if (events_now(request.fd, interest_of(request)) == 0) return would_block();
    if (!is_waited_for(request.fd)) return unless_blocked(carry_out(request));

    const bool read = is_read(request.code);
    const int own = reopen(request.fd, read ? O_RDONLY : O_WRONLY);
    if (own < 0) return unless_blocked(carry_out(read ? request : first_part(request)));
    Request at_once = request;
    at_once.fd = own;
    const int result = carry_out(at_once);
    call_close(own);
    return unless_blocked(result);
}

Attempt read_or_write(const Request& request, Occasion occasion) noexcept {
    const bool sleeps = (request.flags & sleeps_for_disk) != 0;
    if (sleeps && occasion == Occasion::submitted) return needs_thread();
    // To try a file again without sleeping would but fail again.
    if (occasion == Occasion::readiness_on_thread && !is_waited_for(request.fd)) {
        return unless_blocked(carry_out(request));
    }
    const bool read = is_read(request.code);
    const Pieces pieces{request};
    const int result = call(read ? SYS_preadv2 : SYS_pwritev2, request.fd, pieces.first,
                            pieces.count, request.offset, 0L, RWF_NOWAIT);
    switch (result) {
        case -EAGAIN: return would_block();  // of a regular file epoll will say EPERM
        case -EOPNOTSUPP:
        case -ENOSYS:
            // Not before epoll took it: else it is a file, and may sleep for a disk.
            if (request.fd < 0) return done(-EBADF);
            if (occasion == Occasion::submitted) return would_block();
            return read_or_write_when_ready(request);
        default: break;
    }
    // Only files have offsets. Reading the same place again loses nothing, whereas
    // a short write is left as it is: with O_APPEND it would be doubled.
    const bool partial = read && result >= 0 && request.offset != current_position &&
                         static_cast<std::size_t>(result) < pieces.bytes() &&
                         occasion == Occasion::submitted;
    if (partial && goes_on(request.fd, request.offset + result)) return needs_thread();
    return done(result);
}

Attempt poll_once(const Request& request) noexcept {
    const int events = events_now(request.fd, request.flags);
    return events == 0 ? would_block() : done(events);
}

Attempt attempt_unchecked(const Request& request, Occasion occasion,
                          std::uint32_t& progress) noexcept {
    switch (request.code) {
        case Code::nop: return done(0);
        case Code::accept: return accept_one(request);
        case Code::connect:
            return occasion == Occasion::submitted ? begin_connect(request)
                                                   : finish_connect(request);
        case Code::recv: return transfer(request, SYS_recvfrom, 0, progress);
        case Code::recv_lent: return done(-EOPNOTSUPP);
        case Code::send: return transfer(request, SYS_sendto, MSG_NOSIGNAL, progress);
        case Code::recvmsg: return transfer_message(request, SYS_recvmsg, 0);
        case Code::sendmsg: return transfer_message(request, SYS_sendmsg, MSG_NOSIGNAL);
        case Code::read:
        case Code::write:
        case Code::readv:
        case Code::writev: return read_or_write(request, occasion);
        case Code::poll: return poll_once(request);
        case Code::fsync:
        case Code::openat:
        case Code::statx:
        case Code::close:
        case Code::renameat:
        case Code::linkat:
        case Code::symlinkat:
        case Code::unlinkat:
        case Code::mkdirat:
        case Code::fallocate:
        case Code::ftruncate:
        case Code::fadvise:
        case Code::sync_file_range:
        case Code::call: return needs_thread();
    }
    return done(-EINVAL);
}

/// Whether the caller asked not to wait: of sockets only, by flags.
bool asks_not_to_wait(const Request& request) noexcept {
    const Code code = request.code;
    const bool receives = code == Code::recv || code == Code::recvmsg;
    const bool sends = code == Code::send || code == Code::sendmsg;
    const std::uint32_t mask = receives ? MSG_DONTWAIT | MSG_ERRQUEUE : sends ? MSG_DONTWAIT : 0;
    return (request.flags & mask) != 0;
}

}  // namespace

Attempt attempt(const Request& request, Occasion occasion, std::uint32_t& progress) noexcept {
    const Attempt made = attempt_unchecked(request, occasion, progress);
    if (made.outcome != Outcome::would_block || !asks_not_to_wait(request)) return made;
    return done(progress > 0 ? static_cast<int>(progress) : -EAGAIN);
}

bool is_waited_for(int fd) noexcept {
    struct statx about {};
    if (call(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &about) != 0) return false;
    switch (about.stx_mode & S_IFMT) {
        case S_IFREG:
        case S_IFDIR:
        case S_IFBLK: return false;
        case S_IFCHR: return terminal_of(fd) >= 0;
        default: return true;
    }
}

int carry_out(const Request& request) noexcept {
    const bool here = request.offset == current_position;
    const int fd = request.fd;
    const std::size_t size = request.length;
    switch (request.code) {
        case Code::read:
            return here ? call(SYS_read, fd, request.buffer, size)
                        : call(SYS_pread64, fd, request.buffer, size, request.offset);
        case Code::write:
            return here ? call(SYS_write, fd, request.buffer, size)
                        : call(SYS_pwrite64, fd, request.buffer, size, request.offset);
        case Code::readv:
            return here ? call(SYS_readv, fd, request.buffer, size)
                        : call(SYS_preadv, fd, request.buffer, size, request.offset, 0L);
        case Code::writev:
            return here ? call(SYS_writev, fd, request.buffer, size)
                        : call(SYS_pwritev, fd, request.buffer, size, request.offset, 0L);
        case Code::fsync: return call(request.flags == 1 ? SYS_fdatasync : SYS_fsync, fd);
        case Code::openat: return open_at_once(request);
        case Code::statx:
            return call(SYS_statx, fd, request.buffer, request.flags, request.length,
                        request.extra);
        case Code::close: return call_close(fd);
        case Code::renameat:
            return call(SYS_renameat2, fd, request.buffer, fd, request.extra, request.flags);
        case Code::linkat:
            return call(SYS_linkat, fd, request.buffer, fd, request.extra, request.flags);
        case Code::symlinkat: return call(SYS_symlinkat, request.buffer, fd, request.extra);
        case Code::unlinkat: return call(SYS_unlinkat, fd, request.buffer, request.flags);
        case Code::mkdirat: return call(SYS_mkdirat, fd, request.buffer, request.length);
        case Code::fallocate:
            return call(SYS_fallocate, fd, request.flags, request.offset, request.size);
        case Code::ftruncate: return call(SYS_ftruncate, fd, request.size);
        case Code::fadvise: return call(SYS_fadvise64, fd, request.offset, size, request.flags);
        case Code::sync_file_range:
            return call(SYS_sync_file_range, fd, request.offset, size, request.flags);
        case Code::call: {
            const auto& made = *static_cast<const BlockingCall*>(request.extra);
            return made.run(made.context);
        }
        // What epoll does not take: a file, whose readiness never changes.
        case Code::poll: return -EPERM;
        case Code::nop:
        case Code::accept:
        case Code::connect:
        case Code::recv:
        case Code::recv_lent:
        case Code::send:
        case Code::recvmsg:
        case Code::sendmsg: break;
    }
    WEFT_ASSERT(false && "an operation that no thread is needed for");
    return -EINVAL;
}

std::uint32_t interest_of(const Request& request) noexcept {
    switch (request.code) {
        case Code::accept:
        case Code::recv_lent:
        case Code::read:
        case Code::readv: return POLLIN;
        case Code::recv:
        case Code::recvmsg: return (request.flags & MSG_OOB) != 0 ? POLLPRI : POLLIN;
        case Code::connect:
        case Code::send:
        case Code::sendmsg:
        case Code::write:
        case Code::writev: return POLLOUT;
        case Code::poll: return request.flags & 0xffffU;
        case Code::nop:
        case Code::fsync:
        case Code::openat:
        case Code::statx:
        case Code::close:
        case Code::renameat:
        case Code::linkat:
        case Code::symlinkat:
        case Code::unlinkat:
        case Code::mkdirat:
        case Code::fallocate:
        case Code::ftruncate:
        case Code::fadvise:
        case Code::sync_file_range:
        case Code::call: return 0;
    }
    return 0;
}

}  // namespace weft::detail
