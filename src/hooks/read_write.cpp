// Hooks on reads and writes of any descriptor. Layer: hooks. Uses: io.
#include "hooks/descriptor.hpp"
#include "hooks/thread_call.hpp"
#include "hooks/transfer.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace weft::hooks::detail {

namespace {

// --- between descriptors ---

/// Moves by `move()`, which says -EAGAIN instead of waiting: then waits for both ends. Only for
/// descriptors whose owners want to wait.
template <class Move>
long move_between(int from, int to, Move&& move) noexcept {
    const std::array<pollfd, 2> ends{{{from, 0, 0}, {to, 0, 0}}};
    ForeignUses uses{ends};
    if (uses.error() == -EBADF) return move_between(from, to, move);  // one was being closed
    if (uses.error() != 0) return uses.error();
    const auto wait = [&](int fd, std::uint32_t events) {
        const Request request{.code = Request::Code::poll, .fd = fd, .flags = events};
        return perform_foreign(uses, request, Deadline::never(), "splice", Interruption::all);
    };
    while (!uses.closing()) {
        const long result = move();
        if (result != -EAGAIN) return result;
        const long readable = wait(from, POLLIN);
        // What cannot be polled, such as a file, is ready.
        if (readable < 0 && readable != -EPERM) return readable;
        const long writable = wait(to, POLLOUT);
        if (writable < 0 && writable != -EPERM) return writable;
    }
    return -EBADF;
}

bool is_socket(int fd) noexcept {
    struct stat about {};
    return call(SYS_fstat, fd, &about) == 0 && S_ISSOCK(about.st_mode);
}

/// Whether SPLICE_F_NONBLOCK, which is about pipes, does not keep it from waiting.
bool waits_all_the_same(int fd) noexcept { return is_socket(fd) || ::isatty(fd) == 1; }

bool is_ready(int fd, short events) noexcept {
    pollfd one{fd, events, 0};
    const timespec at_once{};
    return call(SYS_ppoll, &one, 1L, &at_once, nullptr, 0L) > 0;
}

bool is_of_internet(int fd) noexcept {
    const int family = int_option(fd, SO_DOMAIN);
    return family == AF_INET || family == AF_INET6;
}

/// O_NONBLOCK of a pipe need not be about a socket at the other end.
bool splice_returns_at_once(int from, int to) noexcept {
    const bool one = returns_at_once(from);
    const bool other = returns_at_once(to);
    const bool both_open = one == has_nonblock(from) && other == has_nonblock(to);
    if (!both_open || (one && other)) return true;
    return (one || other) && !is_socket(from) && !is_socket(to);
}

/// A thread does not wait long, though, for what there is to be read.
template <class Move>
long splice_on_thread(int from, int to, Move&& move) noexcept {
    // A Unix socket does as its pipe says, one of TCP by its own flag.
    const bool of_unix = is_socket(from) && !is_of_internet(from);
    const bool waits = !has_nonblock(from) && !(of_unix && has_nonblock(to));
    const long readable = waits ? wait_ready(from, POLLIN, Deadline::never(), "splice") : 0;
    if (readable < 0 && readable != -EPERM) return readable;  // a file is never waited for
    const long result = on_own_thread(move);
    if (result == -EPIPE) raise_pipe_signal();  // that thread had it
    return result;
}

/// sendfile() has no flag that keeps it from waiting: a thread makes it that may sleep, as long
/// as a peer likes.
long send_file(int to, int from, off_t* offset, std::size_t size) noexcept {
    if (returns_at_once(to)) return call(SYS_sendfile, to, from, offset, size);
    const long result = on_own_thread(
        [=] { return call(SYS_sendfile, to, from, offset, std::min<std::size_t>(size, INT_MAX)); });
    if (result == -EPIPE) raise_pipe_signal();  // that thread had it
    return result;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks: reads ---

#define WEFT_DEFINE_READ(name)                                                       \
    ssize_t hook_##name(int fd, void* data, size_t size) {                           \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(fd, data, size); \
        return answer([&] { return read_any(fd, data, size); });                     \
    }
WEFT_DEFINE_READ(read)
WEFT_DEFINE_READ(__read)

ssize_t hook___read_chk(int fd, void* data, size_t size, size_t room) {
    if (size > room || WEFT_TAKEN(__read_chk) == nullptr) {
        return WEFT_ORIGINAL(__read_chk)(fd, data, size, room);
    }
    return answer([&] { return read_any(fd, data, size); });
}

ssize_t hook_readv(int fd, const iovec* pieces, int count) {
    if (WEFT_TAKEN(readv) == nullptr) return WEFT_ORIGINAL(readv)(fd, pieces, count);
    return answer([&] { return read_pieces(fd, pieces, count, here, 0); });
}

#define WEFT_DEFINE_PREAD(name)                                          \
    ssize_t hook_##name(int fd, void* data, size_t size, off_t offset) { \
        if (offset < 0 || WEFT_TAKEN(name) == nullptr) {                 \
            return WEFT_ORIGINAL(name)(fd, data, size, offset);          \
        }                                                                \
        return answer([&] { return read_at(fd, data, size, offset); });  \
    }
#define WEFT_DEFINE_PREAD_CHK(name)                                                   \
    ssize_t hook_##name(int fd, void* data, size_t size, off_t offset, size_t room) { \
        if (offset < 0 || size > room || WEFT_TAKEN(name) == nullptr) {               \
            return WEFT_ORIGINAL(name)(fd, data, size, offset, room);                 \
        }                                                                             \
        return answer([&] { return read_at(fd, data, size, offset); });               \
    }
#define WEFT_DEFINE_PREADV(name)                                                  \
    ssize_t hook_##name(int fd, const iovec* pieces, int count, off_t offset) {   \
        if (offset < 0 || WEFT_TAKEN(name) == nullptr) {                          \
            return WEFT_ORIGINAL(name)(fd, pieces, count, offset);                \
        }                                                                         \
        return answer([&] { return read_pieces(fd, pieces, count, offset, 0); }); \
    }
#define WEFT_DEFINE_PREADV2(name)                                                          \
    ssize_t hook_##name(int fd, const iovec* pieces, int count, off_t offset, int flags) { \
        if (offset < here || WEFT_TAKEN(name) == nullptr) {                                \
            return WEFT_ORIGINAL(name)(fd, pieces, count, offset, flags);                  \
        }                                                                                  \
        return answer([&] { return read_pieces(fd, pieces, count, offset, flags); });      \
    }
WEFT_DEFINE_PREAD(pread)
WEFT_DEFINE_PREAD(pread64)
WEFT_DEFINE_PREAD(__pread64)
WEFT_DEFINE_PREAD_CHK(__pread_chk)
WEFT_DEFINE_PREAD_CHK(__pread64_chk)
WEFT_DEFINE_PREADV(preadv)
WEFT_DEFINE_PREADV(preadv64)
WEFT_DEFINE_PREADV2(preadv2)
WEFT_DEFINE_PREADV2(preadv64v2)

// --- writes ---

#define WEFT_DEFINE_WRITE(name)                                                      \
    ssize_t hook_##name(int fd, const void* data, size_t size) {                     \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(fd, data, size); \
        return answer_writing(0, [&] { return write_any(fd, data, size); });         \
    }
WEFT_DEFINE_WRITE(write)
WEFT_DEFINE_WRITE(__write)

ssize_t hook_writev(int fd, const iovec* pieces, int count) {
    if (WEFT_TAKEN(writev) == nullptr) return WEFT_ORIGINAL(writev)(fd, pieces, count);
    return answer_writing(0, [&] { return write_pieces(fd, pieces, count, here, 0); });
}

#define WEFT_DEFINE_PWRITE(name)                                                    \
    ssize_t hook_##name(int fd, const void* data, size_t size, off_t offset) {      \
        if (offset < 0 || WEFT_TAKEN(name) == nullptr) {                            \
            return WEFT_ORIGINAL(name)(fd, data, size, offset);                     \
        }                                                                           \
        return answer_writing(0, [&] { return write_at(fd, data, size, offset); }); \
    }
#define WEFT_DEFINE_PWRITEV(name)                                                             \
    ssize_t hook_##name(int fd, const iovec* pieces, int count, off_t offset) {               \
        if (offset < 0 || WEFT_TAKEN(name) == nullptr) {                                      \
            return WEFT_ORIGINAL(name)(fd, pieces, count, offset);                            \
        }                                                                                     \
        return answer_writing(0, [&] { return write_pieces(fd, pieces, count, offset, 0); }); \
    }
#define WEFT_DEFINE_PWRITEV2(name)                                                                \
    ssize_t hook_##name(int fd, const iovec* pieces, int count, off_t offset, int flags) {        \
        if (offset < here || WEFT_TAKEN(name) == nullptr) {                                       \
            return WEFT_ORIGINAL(name)(fd, pieces, count, offset, flags);                         \
        }                                                                                         \
        return answer_writing(0, [&] { return write_pieces(fd, pieces, count, offset, flags); }); \
    }
WEFT_DEFINE_PWRITE(pwrite)
WEFT_DEFINE_PWRITE(pwrite64)
WEFT_DEFINE_PWRITE(__pwrite64)
WEFT_DEFINE_PWRITEV(pwritev)
WEFT_DEFINE_PWRITEV(pwritev64)
WEFT_DEFINE_PWRITEV2(pwritev2)
WEFT_DEFINE_PWRITEV2(pwritev64v2)

#define WEFT_DEFINE_SENDFILE(name)                                           \
    ssize_t hook_##name(int to, int from, off_t* offset, size_t size) {      \
        if (WEFT_TAKEN(name) == nullptr) {                                   \
            return WEFT_ORIGINAL(name)(to, from, offset, size);              \
        }                                                                    \
        const auto send = [&] { return send_file(to, from, offset, size); }; \
        return told([&] { return raising_pipe_signal(0, send); });           \
    }
WEFT_DEFINE_SENDFILE(sendfile)
WEFT_DEFINE_SENDFILE(sendfile64)

ssize_t hook_splice(int from, off_t* from_offset, int to, off_t* to_offset, size_t size,
                    unsigned flags) {
    const bool waits = (flags & SPLICE_F_NONBLOCK) == 0;
    if (!waits || WEFT_TAKEN(splice) == nullptr || splice_returns_at_once(from, to)) {
        return WEFT_ORIGINAL(splice)(from, from_offset, to, to_offset, size, flags);
    }
    return answer_writing(0, [=] {
        const auto move = [=](unsigned how) {
            return call(SYS_splice, from, from_offset, to, to_offset, size, flags | how);
        };
        if (!waits_all_the_same(from) && !waits_all_the_same(to)) {
            return move_between(from, to, [=] { return move(SPLICE_F_NONBLOCK); });
        }
        if (has_nonblock(from) && !waits_all_the_same(to)) {
            const long at_once = move(SPLICE_F_NONBLOCK);
            if (at_once != -EAGAIN || is_ready(to, POLLOUT)) return at_once;  // nothing to read
        }
        return splice_on_thread(from, to, [=] { return move(0); });
    });
}

// --- other ways to say it ---

int hook_eventfd_read(int fd, eventfd_t* value) {
    if (WEFT_TAKEN(eventfd_read) == nullptr) return WEFT_ORIGINAL(eventfd_read)(fd, value);
    const long size = answer([=] { return read_any(fd, value, sizeof *value); });
    return size == sizeof *value ? 0 : -1;
}

int hook_eventfd_write(int fd, eventfd_t value) {
    if (WEFT_TAKEN(eventfd_write) == nullptr) return WEFT_ORIGINAL(eventfd_write)(fd, value);
    const long size = answer([=] { return write_any(fd, &value, sizeof value); });
    return size == sizeof value ? 0 : -1;
}

ssize_t hook_tee(int from, int to, size_t size, unsigned flags) {
    const bool waits = (flags & SPLICE_F_NONBLOCK) == 0;
    if (!waits || WEFT_TAKEN(tee) == nullptr || returns_at_once(from) || returns_at_once(to)) {
        return WEFT_ORIGINAL(tee)(from, to, size, flags);
    }
    return answer_writing(0, [=] {
        return move_between(
            from, to, [=] { return call(SYS_tee, from, to, size, flags | SPLICE_F_NONBLOCK); });
    });
}

// Whole, as write() is: a pipe that fills up takes the rest on a thread.
ssize_t hook_vmsplice(int fd, const iovec* pieces, size_t count, unsigned flags) {
    const bool waits = (flags & SPLICE_F_NONBLOCK) == 0;
    if (!waits || WEFT_TAKEN(vmsplice) == nullptr || returns_at_once(fd)) {
        return WEFT_ORIGINAL(vmsplice)(fd, pieces, count, flags);
    }
    return answer([=] {
        const long result =
            on_own_thread([=] { return call(SYS_vmsplice, fd, pieces, count, flags); });
        if (result == -EPIPE) raise_pipe_signal();  // that thread had it
        return result;
    });
}
