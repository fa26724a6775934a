// Hooks on reads and writes of any descriptor, and on files. Layer: hooks. Uses: io.
//
// A descriptor may be anything. Reads and writes ask first whether it is a socket, by a
// receive or send that does not wait, which is the common case among those that block; of
// other things they try RWF_NOWAIT. What would wait, or knows no RWF_NOWAIT, becomes an
// operation, unless its owner wants to be told (O_NONBLOCK).
//
// A blocking read of a file returns all there is, and a blocking write writes all: so what
// the attempt left over is gone on with.
#include "hooks/descriptor.hpp"
#include "hooks/thread_call.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <limits>

namespace weft::hooks::detail {

namespace {

constexpr off_t here = -1;  // where the file stands

bool is_regular(int fd) noexcept {
    struct stat about {};
    return call(SYS_fstat, fd, &about) == 0 && S_ISREG(about.st_mode);
}

Request request_of(Request::Code code, int fd, const void* data, std::size_t size,
                   off_t offset) noexcept {
    return {.code = code, .fd = fd, .buffer = data, .length = clamp(size), .offset = offset};
}

/// Whether an attempt that said `result` is to be gone on with in the fiber.
bool not_answered(long result) noexcept {
    return result == -EAGAIN || result == -EOPNOTSUPP || result == -ENOSYS;
}

// --- reading ---

/// The rest of a file, of which the first `done` bytes were in memory.
long read_rest(int fd, char* data, std::size_t size, off_t offset, std::size_t done) noexcept {
    while (done < size) {
        const off_t at = offset == here ? here : offset + static_cast<off_t>(done);
        const long result =
            perform_foreign(request_of(Request::Code::read, fd, data + done, size - done, at),
                            Deadline::never(), "read");
        if (result < 0 && done == 0) return result;
        if (result <= 0) break;
        done += static_cast<std::size_t>(result);
    }
    return static_cast<long>(done);
}

/// The one read of something that is no socket.
long read_other(int fd, void* data, std::size_t size, off_t offset) noexcept {
    const iovec piece{data, size};
    const long result =
        call(SYS_preadv2, fd, &piece, 1L, static_cast<long>(offset), 0L, RWF_NOWAIT);
    if (result >= 0 && (static_cast<std::size_t>(result) >= size || !is_regular(fd))) {
        succeeded();
        return result;
    }
    if (result > 0)
        return read_rest(fd, static_cast<char*>(data), size, offset,
                         static_cast<std::size_t>(result));
    if (result == 0 || !not_answered(result)) return result;
    if (is_regular(fd)) return read_rest(fd, static_cast<char*>(data), size, offset, 0);
    if (returns_at_once(fd)) {
        return offset == here ? call(SYS_read, fd, data, size)
                              : call(SYS_pread64, fd, data, size, static_cast<long>(offset));
    }
    return perform_foreign(request_of(Request::Code::read, fd, data, size, offset),
                           Deadline::never(), "read");
}

long read_any(int fd, void* data, std::size_t size) noexcept {
    if (size == 0) return call(SYS_read, fd, data, size);
    const long result = call(SYS_recvfrom, fd, data, size, MSG_DONTWAIT, nullptr, nullptr);
    if (result == -ENOTSOCK) return read_other(fd, data, size, here);
    if (result != -EAGAIN || returns_at_once(fd)) {
        succeeded();
        return result;
    }
    const Request request{
        .code = Request::Code::recv, .fd = fd, .buffer = data, .length = clamp(size)};
    return timed_out_is(perform_foreign(request, deadline_of(fd, Direction::in), "read"), EAGAIN);
}

// --- writing ---

long write_rest(int fd, const char* data, std::size_t size, off_t offset,
                std::size_t done) noexcept {
    while (done < size) {
        const off_t at = offset == here ? here : offset + static_cast<off_t>(done);
        const long result =
            perform_foreign(request_of(Request::Code::write, fd, data + done, size - done, at),
                            Deadline::never(), "write");
        // Once more for the signal.
        if (result == -EPIPE && done == 0) return call(SYS_write, fd, data, size);
        if (result < 0 && done == 0) return result;
        if (result <= 0) break;
        done += static_cast<std::size_t>(result);
    }
    return static_cast<long>(done);
}

long write_other(int fd, const void* data, std::size_t size, off_t offset) noexcept {
    const iovec piece{const_cast<void*>(data), size};
    const long result =
        call(SYS_pwritev2, fd, &piece, 1L, static_cast<long>(offset), 0L, RWF_NOWAIT);
    if (result >= 0 && static_cast<std::size_t>(result) >= size) {
        succeeded();
        return result;
    }
    if (result < 0 && !not_answered(result)) return result;
    const std::size_t done = result > 0 ? static_cast<std::size_t>(result) : 0;
    if (returns_at_once(fd) && !is_regular(fd)) {
        if (result > 0) return result;
        return offset == here ? call(SYS_write, fd, data, size)
                              : call(SYS_pwrite64, fd, data, size, static_cast<long>(offset));
    }
    return write_rest(fd, static_cast<const char*>(data), size, offset, done);
}

}  // namespace

// --- several pieces: those that are left over are one at a time ---

namespace {

/// `one(piece, offset)` for each piece, until one is short.
template <class One>
long for_each_piece(const iovec* pieces, int count, off_t offset, One&& one) noexcept {
    std::size_t done = 0;
    for (int i = 0; i < count; ++i) {
        if (pieces[i].iov_len == 0) continue;
        const off_t at = offset == here ? here : offset + static_cast<off_t>(done);
        const long result = one(pieces[i], at);
        if (result < 0) return done > 0 ? static_cast<long>(done) : result;
        done += static_cast<std::size_t>(result);
        if (static_cast<std::size_t>(result) < pieces[i].iov_len) break;
    }
    return static_cast<long>(done);
}

std::size_t size_of(const iovec* pieces, int count) noexcept {
    std::size_t size = 0;
    for (int i = 0; i < count; ++i) size += pieces[i].iov_len;
    return size;
}

/// Skips `done` bytes, then `one` for the rest.
template <class One>
long go_on(const iovec* pieces, int count, off_t offset, std::size_t done, One&& one) noexcept {
    std::size_t skip = done;
    int first = 0;
    while (first < count && skip >= pieces[first].iov_len) skip -= pieces[first++].iov_len;
    if (first == count) return static_cast<long>(done);
    const off_t at = offset == here ? here : offset + static_cast<off_t>(done);
    iovec rest = pieces[first];
    rest.iov_base = static_cast<char*>(rest.iov_base) + skip;
    rest.iov_len -= skip;
    long more = one(rest, at);
    if (more >= 0 && static_cast<std::size_t>(more) == rest.iov_len) {
        const off_t next = at == here ? here : at + more;
        const long others = for_each_piece(pieces + first + 1, count - first - 1, next, one);
        if (others > 0) more += others;
    }
    if (more < 0) return done > 0 ? static_cast<long>(done) : more;
    return static_cast<long>(done) + more;
}

long read_pieces(int fd, const iovec* pieces, int count, off_t offset, int flags) noexcept {
    const long result = call(SYS_preadv2, fd, pieces, static_cast<long>(count),
                             static_cast<long>(offset), 0L, flags | RWF_NOWAIT);
    if ((flags & RWF_NOWAIT) != 0 || (result < 0 && !not_answered(result))) return result;
    const bool regular = result != 0 && is_regular(fd);
    if (result >= 0 && (!regular || static_cast<std::size_t>(result) >= size_of(pieces, count))) {
        succeeded();
        return result;
    }
    if (!regular && returns_at_once(fd)) {
        return call(SYS_preadv2, fd, pieces, static_cast<long>(count), static_cast<long>(offset),
                    0L, flags);
    }
    if (!regular) {
        const Request request{.code = Request::Code::readv,
                              .fd = fd,
                              .buffer = pieces,
                              .length = static_cast<std::uint32_t>(count),
                              .offset = offset};
        const Deadline deadline = deadline_of(fd, Direction::in);
        return timed_out_is(perform_foreign(request, deadline, "readv"), EAGAIN);
    }
    const std::size_t done = result > 0 ? static_cast<std::size_t>(result) : 0;
    return go_on(pieces, count, offset, done, [fd](const iovec& piece, off_t at) {
        return read_rest(fd, static_cast<char*>(piece.iov_base), piece.iov_len, at, 0);
    });
}

long write_pieces(int fd, const iovec* pieces, int count, off_t offset, int flags) noexcept {
    const long result = call(SYS_pwritev2, fd, pieces, static_cast<long>(count),
                             static_cast<long>(offset), 0L, flags | RWF_NOWAIT);
    if ((flags & RWF_NOWAIT) != 0 || (result < 0 && !not_answered(result))) return result;
    if (result >= 0 && static_cast<std::size_t>(result) >= size_of(pieces, count)) {
        succeeded();
        return result;
    }
    if (returns_at_once(fd) && !is_regular(fd)) {
        if (result > 0) return result;
        return call(SYS_pwritev2, fd, pieces, static_cast<long>(count), static_cast<long>(offset),
                    0L, flags);
    }
    const std::size_t done = result > 0 ? static_cast<std::size_t>(result) : 0;
    return go_on(pieces, count, offset, done, [fd](const iovec& piece, off_t at) {
        return write_rest(fd, static_cast<const char*>(piece.iov_base), piece.iov_len, at, 0);
    });
}

long write_any(int fd, const void* data, std::size_t size) noexcept {
    if (size == 0) return call(SYS_write, fd, data, size);
    const long result = call(SYS_sendto, fd, data, size, MSG_DONTWAIT, nullptr, 0L);
    if (result == -ENOTSOCK) return write_other(fd, data, size, here);
    if (result == static_cast<long>(size)) succeeded();
    if (result < 0 && result != -EAGAIN) return result;
    if (result == static_cast<long>(size) || returns_at_once(fd)) return result;
    std::size_t done = result > 0 ? static_cast<std::size_t>(result) : 0;
    const Deadline deadline = deadline_of(fd, Direction::out);
    while (done < size) {
        const Request request{.code = Request::Code::send,
                              .fd = fd,
                              .buffer = static_cast<const char*>(data) + done,
                              .length = clamp(size - done)};
        const long sent = perform_foreign(request, deadline, "write");
        if (sent == -EPIPE && done == 0) return call(SYS_write, fd, data, size);
        if (sent < 0) return done > 0 ? static_cast<long>(done) : timed_out_is(sent, EAGAIN);
        done += static_cast<std::size_t>(sent);
    }
    return static_cast<long>(done);
}

// --- files ---

long synchronise(int fd, bool data_only) noexcept {
    const Request request{.code = Request::Code::fsync, .fd = fd, .flags = data_only ? 1u : 0u};
    return perform_foreign(request, Deadline::never(), "fsync");
}

/// A FIFO waits for its other end, for which a thread is needed: as an operation it might
/// be opened without.
bool may_wait_for_a_peer(int directory, const char* path, int flags) noexcept {
    if ((flags & (O_NONBLOCK | O_PATH | O_DIRECTORY)) != 0) return false;
    struct stat about {};
    return call(SYS_newfstatat, directory, path, &about, 0L) == 0 &&
           (S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode));
}

long open_at(int directory, const char* path, int flags, mode_t mode) noexcept {
    if (may_wait_for_a_peer(directory, path, flags)) {
        return on_thread(
            [=] { return call(SYS_openat, directory, path, flags, static_cast<long>(mode)); });
    }
    const Request request{.code = Request::Code::openat,
                          .fd = directory,
                          .buffer = path,
                          .length = mode,
                          .flags = static_cast<std::uint32_t>(flags | O_LARGEFILE)};
    return perform_foreign(request, Deadline::never(), "open");
}

/// `attempt(true)` says -EAGAIN instead of waiting for a lock.
template <class Attempt>
long take_lock(Attempt&& attempt) noexcept {
    const long result = attempt(true);
    if (result != -EAGAIN && result != -EACCES) return result;
    return on_thread([&] { return attempt(false); });
}

bool waits_for_lock(int command) noexcept { return command == F_SETLKW || command == F_OFD_SETLKW; }

long lock_record(int fd, int command, long argument) noexcept {
    const int at_once = command == F_SETLKW ? F_SETLK : F_OFD_SETLK;
    return take_lock(
        [=](bool try_it) { return call(SYS_fcntl, fd, try_it ? at_once : command, argument); });
}

// --- between descriptors ---

/// Moves at most `size` bytes by `move()`, which says -EAGAIN instead of waiting: then waits
/// for both ends. Only for descriptors whose owners want to wait.
template <class Move>
long move_between(int from, int to, Move&& move) noexcept {
    for (;;) {
        const long result = move();
        if (result != -EAGAIN) return result;
        const long readable = wait_ready(from, POLLIN, Deadline::never(), "splice");
        // What cannot be polled, such as a file, is ready.
        if (readable < 0 && readable != -EPERM) return readable;
        const long writable = wait_ready(to, POLLOUT, Deadline::never(), "splice");
        if (writable < 0 && writable != -EPERM) return writable;
    }
}

/// sendfile() has no flag that keeps it from waiting: it is told how much there is room for by
/// a thread that may sleep.
long send_file(int to, int from, off_t* offset, std::size_t size) noexcept {
    if (returns_at_once(to)) return call(SYS_sendfile, to, from, offset, size);
    return on_thread(
        [=] { return call(SYS_sendfile, to, from, offset, std::min<std::size_t>(size, INT_MAX)); });
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks: reads ---

ssize_t hook_read(int fd, void* data, size_t size) {
    if (WEFT_TAKEN(read) == nullptr) return WEFT_ORIGINAL(read)(fd, data, size);
    return answer(read_any(fd, data, size));
}

ssize_t hook___read_chk(int fd, void* data, size_t size, size_t room) {
    if (size > room || WEFT_TAKEN(__read_chk) == nullptr) {
        return WEFT_ORIGINAL(__read_chk)(fd, data, size, room);
    }
    return answer(read_any(fd, data, size));
}

ssize_t hook_readv(int fd, const iovec* pieces, int count) {
    if (WEFT_TAKEN(readv) == nullptr) return WEFT_ORIGINAL(readv)(fd, pieces, count);
    return answer(read_pieces(fd, pieces, count, here, 0));
}

#define WEFT_DEFINE_PREAD(name)                                          \
    ssize_t hook_##name(int fd, void* data, size_t size, off_t offset) { \
        if (offset < 0 || WEFT_TAKEN(name) == nullptr) {                 \
            return WEFT_ORIGINAL(name)(fd, data, size, offset);          \
        }                                                                \
        return answer(read_other(fd, data, size, offset));               \
    }
#define WEFT_DEFINE_PREAD_CHK(name)                                                   \
    ssize_t hook_##name(int fd, void* data, size_t size, off_t offset, size_t room) { \
        if (offset < 0 || size > room || WEFT_TAKEN(name) == nullptr) {               \
            return WEFT_ORIGINAL(name)(fd, data, size, offset, room);                 \
        }                                                                             \
        return answer(read_other(fd, data, size, offset));                            \
    }
#define WEFT_DEFINE_PREADV(name)                                                \
    ssize_t hook_##name(int fd, const iovec* pieces, int count, off_t offset) { \
        if (offset < 0 || WEFT_TAKEN(name) == nullptr) {                        \
            return WEFT_ORIGINAL(name)(fd, pieces, count, offset);              \
        }                                                                       \
        return answer(read_pieces(fd, pieces, count, offset, 0));               \
    }
#define WEFT_DEFINE_PREADV2(name)                                                          \
    ssize_t hook_##name(int fd, const iovec* pieces, int count, off_t offset, int flags) { \
        if (offset < here || WEFT_TAKEN(name) == nullptr) {                                \
            return WEFT_ORIGINAL(name)(fd, pieces, count, offset, flags);                  \
        }                                                                                  \
        return answer(read_pieces(fd, pieces, count, offset, flags));                      \
    }
WEFT_DEFINE_PREAD(pread)
WEFT_DEFINE_PREAD(pread64)
WEFT_DEFINE_PREAD_CHK(__pread_chk)
WEFT_DEFINE_PREAD_CHK(__pread64_chk)
WEFT_DEFINE_PREADV(preadv)
WEFT_DEFINE_PREADV(preadv64)
WEFT_DEFINE_PREADV2(preadv2)
WEFT_DEFINE_PREADV2(preadv64v2)

// --- writes ---

ssize_t hook_write(int fd, const void* data, size_t size) {
    if (WEFT_TAKEN(write) == nullptr) return WEFT_ORIGINAL(write)(fd, data, size);
    return answer(write_any(fd, data, size));
}

ssize_t hook_writev(int fd, const iovec* pieces, int count) {
    if (WEFT_TAKEN(writev) == nullptr) return WEFT_ORIGINAL(writev)(fd, pieces, count);
    return answer(write_pieces(fd, pieces, count, here, 0));
}

#define WEFT_DEFINE_PWRITE(name)                                               \
    ssize_t hook_##name(int fd, const void* data, size_t size, off_t offset) { \
        if (offset < 0 || WEFT_TAKEN(name) == nullptr) {                       \
            return WEFT_ORIGINAL(name)(fd, data, size, offset);                \
        }                                                                      \
        return answer(write_other(fd, data, size, offset));                    \
    }
#define WEFT_DEFINE_PWRITEV(name)                                               \
    ssize_t hook_##name(int fd, const iovec* pieces, int count, off_t offset) { \
        if (offset < 0 || WEFT_TAKEN(name) == nullptr) {                        \
            return WEFT_ORIGINAL(name)(fd, pieces, count, offset);              \
        }                                                                       \
        return answer(write_pieces(fd, pieces, count, offset, 0));              \
    }
#define WEFT_DEFINE_PWRITEV2(name)                                                         \
    ssize_t hook_##name(int fd, const iovec* pieces, int count, off_t offset, int flags) { \
        if (offset < here || WEFT_TAKEN(name) == nullptr) {                                \
            return WEFT_ORIGINAL(name)(fd, pieces, count, offset, flags);                  \
        }                                                                                  \
        return answer(write_pieces(fd, pieces, count, offset, flags));                     \
    }
WEFT_DEFINE_PWRITE(pwrite)
WEFT_DEFINE_PWRITE(pwrite64)
WEFT_DEFINE_PWRITEV(pwritev)
WEFT_DEFINE_PWRITEV(pwritev64)
WEFT_DEFINE_PWRITEV2(pwritev2)
WEFT_DEFINE_PWRITEV2(pwritev64v2)

#define WEFT_DEFINE_SENDFILE(name)                                      \
    ssize_t hook_##name(int to, int from, off_t* offset, size_t size) { \
        if (WEFT_TAKEN(name) == nullptr) {                              \
            return WEFT_ORIGINAL(name)(to, from, offset, size);         \
        }                                                               \
        return answer(send_file(to, from, offset, size));               \
    }
WEFT_DEFINE_SENDFILE(sendfile)
WEFT_DEFINE_SENDFILE(sendfile64)

ssize_t hook_splice(int from, off_t* from_offset, int to, off_t* to_offset, size_t size,
                    unsigned flags) {
    const bool waits = (flags & SPLICE_F_NONBLOCK) == 0;
    if (!waits || WEFT_TAKEN(splice) == nullptr || returns_at_once(from) || returns_at_once(to)) {
        return WEFT_ORIGINAL(splice)(from, from_offset, to, to_offset, size, flags);
    }
    return answer(move_between(from, to, [=] {
        return call(SYS_splice, from, from_offset, to, to_offset, size, flags | SPLICE_F_NONBLOCK);
    }));
}

// --- files ---

int hook_fsync(int fd) {
    if (WEFT_TAKEN(fsync) == nullptr) return WEFT_ORIGINAL(fsync)(fd);
    return answer<int>(synchronise(fd, false));
}

int hook_fdatasync(int fd) {
    if (WEFT_TAKEN(fdatasync) == nullptr) return WEFT_ORIGINAL(fdatasync)(fd);
    return answer<int>(synchronise(fd, true));
}

#define WEFT_DEFINE_OPEN(name)                                                          \
    int hook_##name(const char* path, int flags, mode_t mode) {                         \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(path, flags, mode); \
        return answer<int>(open_at(AT_FDCWD, path, flags, mode));                       \
    }
#define WEFT_DEFINE_OPEN_2(name)                                                   \
    int hook_##name(const char* path, int flags) {                                 \
        if ((flags & (O_CREAT | O_TMPFILE)) != 0 || WEFT_TAKEN(name) == nullptr) { \
            return WEFT_ORIGINAL(name)(path, flags);                               \
        }                                                                          \
        return answer<int>(open_at(AT_FDCWD, path, flags, 0));                     \
    }
#define WEFT_DEFINE_OPENAT(name)                                               \
    int hook_##name(int directory, const char* path, int flags, mode_t mode) { \
        if (WEFT_TAKEN(name) == nullptr) {                                     \
            return WEFT_ORIGINAL(name)(directory, path, flags, mode);          \
        }                                                                      \
        return answer<int>(open_at(directory, path, flags, mode));             \
    }
#define WEFT_DEFINE_OPENAT_2(name)                                                 \
    int hook_##name(int directory, const char* path, int flags) {                  \
        if ((flags & (O_CREAT | O_TMPFILE)) != 0 || WEFT_TAKEN(name) == nullptr) { \
            return WEFT_ORIGINAL(name)(directory, path, flags);                    \
        }                                                                          \
        return answer<int>(open_at(directory, path, flags, 0));                    \
    }
#define WEFT_DEFINE_CREAT(name)                                                          \
    int hook_##name(const char* path, mode_t mode) {                                     \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(path, mode);         \
        return answer<int>(open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode)); \
    }
WEFT_DEFINE_OPEN(open)
WEFT_DEFINE_OPEN(open64)
WEFT_DEFINE_OPEN_2(__open_2)
WEFT_DEFINE_OPEN_2(__open64_2)
WEFT_DEFINE_OPENAT(openat)
WEFT_DEFINE_OPENAT(openat64)
WEFT_DEFINE_OPENAT_2(__openat_2)
WEFT_DEFINE_OPENAT_2(__openat64_2)
WEFT_DEFINE_CREAT(creat)
WEFT_DEFINE_CREAT(creat64)

int hook_flock(int fd, int operation) {
    if ((operation & (LOCK_NB | LOCK_UN)) != 0 || WEFT_TAKEN(flock) == nullptr) {
        return WEFT_ORIGINAL(flock)(fd, operation);
    }
    return answer<int>(take_lock([=](bool try_it) {
        return call(SYS_flock, fd, try_it ? operation | LOCK_NB : operation);
    }));
}

#define WEFT_DEFINE_LOCKF(name)                                                       \
    int hook_##name(int fd, int command, off_t size) {                                \
        if (command != F_LOCK || WEFT_TAKEN(name) == nullptr) {                       \
            return WEFT_ORIGINAL(name)(fd, command, size);                            \
        }                                                                             \
        struct flock lock {};                                                         \
        lock.l_type = F_WRLCK;                                                        \
        lock.l_whence = SEEK_CUR;                                                     \
        lock.l_len = size;                                                            \
        return answer<int>(lock_record(fd, F_SETLKW, reinterpret_cast<long>(&lock))); \
    }
WEFT_DEFINE_LOCKF(lockf)
WEFT_DEFINE_LOCKF(lockf64)

#define WEFT_DEFINE_FCNTL(name)                                        \
    int hook_##name(int fd, int command, long argument) {              \
        if (!waits_for_lock(command) || WEFT_TAKEN(name) == nullptr) { \
            return WEFT_ORIGINAL(name)(fd, command, argument);         \
        }                                                              \
        return answer<int>(lock_record(fd, command, argument));        \
    }
WEFT_DEFINE_FCNTL(fcntl)
WEFT_DEFINE_FCNTL(fcntl64)

// --- numbers that change hands ---

int hook_close(int fd) {
    if (WEFT_TAKEN(close) != nullptr) weft::detail::end_foreign_calls(fd);
    return WEFT_ORIGINAL(close)(fd);
}

int hook_dup2(int from, int to) {
    if (from != to && WEFT_TAKEN(dup2) != nullptr) weft::detail::end_foreign_calls(to);
    return WEFT_ORIGINAL(dup2)(from, to);
}

int hook_dup3(int from, int to, int flags) {
    if (from != to && WEFT_TAKEN(dup3) != nullptr) weft::detail::end_foreign_calls(to);
    return WEFT_ORIGINAL(dup3)(from, to, flags);
}
