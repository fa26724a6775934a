// Layer: hooks. Uses: io.
//
// A descriptor may be anything. Reads and writes ask first whether it is a socket, by a
// receive or send that does not wait, which is the common case among those that block; of
// other things they try RWF_NOWAIT, and at once if the number was none when it was last asked.
// What would wait, or knows no RWF_NOWAIT, becomes an operation, unless its owner wants to be
// told (O_NONBLOCK).
//
// A file is read to its end, or to that of the buffer, and written whole. Where it stands
// moves under a lock of the kernel's that operations do not take: two fibers that write to
// one file would write over each other. So there an operation only fetches what is to be
// read, and a thread writes. The same goes for O_APPEND, where a write in two parts would
// be torn, and for flags that no operation has.
//
// A call of several steps has a right to its number from the first to the last: when another
// fiber closes it, it ends with what it has done, and nothing goes to whatever gets the number.
#include "hooks/transfer.hpp"
#include "hooks/descriptor.hpp"
#include "hooks/rest.hpp"
#include "hooks/send.hpp"
#include "hooks/thread_call.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>

namespace weft::hooks::detail {

namespace {

/// Whether what was last asked of those numbers that are alike in their lowest bits was no
/// socket. A guess: one that is wrong costs a system call.
class Guess {
public:
    explicit Guess(int fd) noexcept : no_socket_{all[static_cast<unsigned>(fd) % all.size()]} {}
    bool no_socket() const noexcept { return no_socket_.load(std::memory_order_relaxed); }
    void learn(bool no_socket) noexcept {
        if (no_socket != this->no_socket()) no_socket_.store(no_socket, std::memory_order_relaxed);
    }

private:
    static std::array<std::atomic<bool>, 1024> all;
    std::atomic<bool>& no_socket_;
};
constinit std::array<std::atomic<bool>, 1024> Guess::all{};

/// What a call moves: one piece, or several.
struct Span {
    const iovec* pieces;
    int count;

    std::size_t size() const noexcept {
        std::size_t size = 0;
        for (int i = 0; i < count; ++i) size += pieces[i].iov_len;
        return size;
    }
};

/// A file or a disk: it has a place to stand at, and its reads are whole.
bool is_file(int fd, struct stat& about) noexcept {
    return call(SYS_fstat, fd, &about) == 0 && (S_ISREG(about.st_mode) || S_ISBLK(about.st_mode));
}

/// Whether an attempt that said `result` is to be gone on with in the fiber.
bool not_answered(long result) noexcept {
    return result == -EAGAIN || result == -EOPNOTSUPP || result == -ENOSYS;
}

/// The kernel's own vectored calls, with `flags`.
long vector_call(long number, int fd, Span span, off_t offset, int flags) noexcept {
    return call(number, fd, span.pieces, static_cast<long>(span.count), static_cast<long>(offset),
                0L, static_cast<long>(flags));
}

/// `pieces` behind their first `done` bytes: moved one after the other by `one(data, size, at)`,
/// until one is short. All that was moved, or the error if that is nothing.
template <class One>
long go_on(Span span, off_t offset, std::size_t done, One&& one) noexcept {
    std::size_t skip = done;
    for (int i = 0; i < span.count; ++i) {
        const iovec& piece = span.pieces[i];
        if (skip >= piece.iov_len) {
            skip -= piece.iov_len;
            continue;
        }
        const std::size_t size = piece.iov_len - skip;
        const off_t at = offset == here ? here : offset + static_cast<off_t>(done);
        const long result = one(static_cast<char*>(piece.iov_base) + skip, size, at);
        skip = 0;
        if (result < 0) return done > 0 ? static_cast<long>(done) : result;
        done += static_cast<std::size_t>(result);
        if (static_cast<std::size_t>(result) < size) break;
    }
    return static_cast<long>(done);
}

// --- reading ---

/// Reads the whole of a piece of a file at an offset: operations may be short.
long read_by_operations(ForeignUse& use, char* data, std::size_t size, off_t offset) noexcept {
    std::size_t done = 0;
    while (done < size) {
        const Request request{.code = Request::Code::read,
                              .fd = use.fd(),
                              .buffer = data + done,
                              .length = clamp(size - done),
                              .offset = offset + static_cast<off_t>(done)};
        const long result = perform_foreign(use, request, Deadline::never(), "read");
        if (result < 0 && done == 0) return result;
        if (result <= 0) break;
        done += static_cast<std::size_t>(result);
    }
    return static_cast<long>(done);
}

/// Goes on where the file stands, which it does after `done` bytes of `span`. They are fetched
/// by operations, so that then the kernel has them at hand.
long read_on_here(ForeignUse& use, Span span, std::size_t done, bool may_fetch) noexcept {
    const int fd = use.fd();
    const long position = may_fetch ? call(SYS_lseek, fd, 0L, SEEK_CUR) : -1;
    const auto one = [&](char* data, std::size_t size, off_t at) -> long {
        if (use.closing()) return -EBADF;
        if (position >= 0) {
            (void)read_by_operations(use, data, size, at);
            const iovec piece{data, size};
            const long result = vector_call(SYS_preadv2, fd, {&piece, 1}, here, RWF_NOWAIT);
            if (result == static_cast<long>(size) || result == 0) return result;
            if (result > 0) {
                const long more = on_thread([=] {
                    const auto some = static_cast<std::size_t>(result);
                    return call(SYS_read, fd, data + some, size - some);
                });
                return more > 0 ? result + more : result;
            }
        }
        return on_thread([=] { return call(SYS_read, fd, data, size); });
    };
    if (position < 0) {
        if (done > 0) return go_on(span, here, done, one);
        use.give_back();
        return on_own_thread(
            [=] { return call(SYS_readv, fd, span.pieces, static_cast<long>(span.count)); });
    }
    return go_on(span, position - static_cast<off_t>(done), done, one);
}

/// The rest of a file, of which an attempt said `result`.
long read_rest_of_file(ForeignUse& use, Span span, off_t offset, long result,
                       const struct stat& about) noexcept {
    const int fd = use.fd();
    const std::size_t done = result > 0 ? static_cast<std::size_t>(result) : 0;
    if (result > 0 && S_ISREG(about.st_mode)) {
        const long end = offset == here ? call(SYS_lseek, fd, 0L, SEEK_CUR) : offset + result;
        if (end >= about.st_size) return result;
    }
    // Without RWF_NOWAIT it is one of /proc's, say, which decides how much it tells at once;
    // O_DIRECT leaves nothing at hand.
    const bool plain = result != -EOPNOTSUPP && result != -ENOSYS &&
                       (call(SYS_fcntl, fd, F_GETFL, 0L) & O_DIRECT) == 0;
    if (offset == here) return read_on_here(use, span, done, plain);
    if (!plain && done == 0) {
        use.give_back();  // one of /proc's may have nothing to tell for long
        return on_thread([=] {
            return call(SYS_preadv, fd, span.pieces, static_cast<long>(span.count),
                        static_cast<long>(offset), 0L);
        });
    }
    return go_on(span, offset, done, [&](char* data, std::size_t size, off_t at) {
        return read_by_operations(use, data, size, at);
    });
}

/// Whether its reads end by a time (VTIME), or with less than it takes (VMIN) to make it ready.
bool is_timed_terminal(int fd, std::size_t size) noexcept {
    struct termios how {};
    if (::tcgetattr(fd, &how) != 0 || (how.c_lflag & ICANON) != 0) return false;
    return how.c_cc[VMIN] == 0 || how.c_cc[VMIN] > size || how.c_cc[VTIME] > 0;
}

/// Of something that is neither a socket nor a file. `unready`: it knows no RWF_NOWAIT.
long wait_and_read(ForeignUse& use, Span span, off_t offset, int flags, bool unready) noexcept {
    const int fd = use.fd();
    if (returns_at_once(fd)) return vector_call(SYS_preadv2, fd, span, offset, flags);
    if (unready && is_timed_terminal(fd, span.size())) {
        use.give_back();
        return on_own_thread([=] { return vector_call(SYS_preadv2, fd, span, offset, flags); });
    }
    const bool one = span.count == 1;
    const Request request{
        .code = one ? Request::Code::read : Request::Code::readv,
        .fd = fd,
        .buffer = one ? span.pieces->iov_base : static_cast<const void*>(span.pieces),
        .length = one ? clamp(span.pieces->iov_len) : static_cast<std::uint32_t>(span.count),
        .offset = offset};
    const Deadline deadline = deadline_of(fd, Direction::in);
    const long result = unready ? perform_foreign_when_ready(use, request, deadline, "read")
                                : perform_foreign(use, request, deadline, "read");
    return timed_out_is(result, EAGAIN);
}

// --- writing ---

/// Writes the whole of a piece at an offset of a file.
long write_by_operations(ForeignUse& use, const char* data, std::size_t size,
                         off_t offset) noexcept {
    std::size_t done = 0;
    while (done < size) {
        const Request request{.code = Request::Code::write,
                              .fd = use.fd(),
                              .buffer = data + done,
                              .length = clamp(size - done),
                              .offset = offset + static_cast<off_t>(done)};
        const long result = perform_foreign(use, request, Deadline::never(), "write");
        if (result < 0 && done == 0) return result;
        if (result <= 0) break;
        done += static_cast<std::size_t>(result);
    }
    return static_cast<long>(done);
}

/// Whether operations may write this file: see above.
bool is_for_a_thread(int fd, off_t offset, int flags) noexcept {
    return offset == here || flags != 0 || (call(SYS_fcntl, fd, F_GETFL, 0L) & O_APPEND) != 0;
}

/// By an operation that waits for room, with SIGPIPE if nobody reads.
long write_by_operation(ForeignUse& use, Span span, Deadline deadline) noexcept {
    const bool one = span.count == 1;
    const Request request{
        .code = one ? Request::Code::write : Request::Code::writev,
        .fd = use.fd(),
        .buffer = one ? span.pieces->iov_base : static_cast<const void*>(span.pieces),
        .length = one ? clamp(span.pieces->iov_len) : static_cast<std::uint32_t>(span.count),
        .offset = here};
    const long result = perform_foreign_when_ready(use, request, deadline, "write");
    // Once more, for the signal.
    return result == -EPIPE ? vector_call(SYS_writev, use.fd(), span, here, 0) : result;
}

/// To a pipe, a terminal or a device, waiting for room: whole. Each step offers all that is left:
/// what a pipe takes at once, and what is one message to a device, is not to be torn.
long write_when_ready(ForeignUse& use, Span span, std::size_t done) noexcept {
    const int fd = use.fd();
    const Deadline deadline = deadline_of(fd, Direction::out);
    Rest rest{{span.pieces, static_cast<std::size_t>(span.count)}};
    bool goes_on = rest.skip(done);
    while (goes_on && !rest.empty() && !use.closing()) {
        const Span left{rest.pieces().data(), static_cast<int>(rest.pieces().size())};
        long result = vector_call(SYS_pwritev2, fd, left, here, RWF_NOWAIT);
        if (result == -EAGAIN) {
            result = wait_ready(use, POLLOUT, deadline, "write");
            if (result >= 0) continue;
        } else if (not_answered(result)) {
            result = write_by_operation(use, left, deadline);
        }
        // Of a pipe the signal comes even if some was written before.
        if (result == -EPIPE) {
            use.give_back();  // the handler may leave it by a jump
            deliver_pipe_signal();
        }
        if (result <= 0) return done > 0 ? static_cast<long>(done) : timed_out_is(result, EAGAIN);
        done += static_cast<std::size_t>(result);
        goes_on = rest.skip(static_cast<std::size_t>(result));
    }
    return done > 0 ? static_cast<long>(done) : -EBADF;
}

long write_other(int fd, Span span, off_t offset, int flags) noexcept {
    const auto write = [=] { return vector_call(SYS_pwritev2, fd, span, offset, flags); };
    ForeignUse use{fd};
    struct stat about {};
    const bool file = is_file(fd, about);
    const bool socket = S_ISSOCK(about.st_mode);
    Guess{fd}.learn(!socket);
    // It ends by itself, so a close() can wait, and the number is this file's until then.
    if (file && is_for_a_thread(fd, offset, flags)) return on_thread(write);
    const long result = vector_call(SYS_pwritev2, fd, span, offset, flags | RWF_NOWAIT);
    const bool connects = socket && result == -EINPROGRESS;  // TCP fast open
    if ((flags & RWF_NOWAIT) != 0 || (result < 0 && !not_answered(result) && !connects)) {
        return result;
    }
    if (result >= 0 && static_cast<std::size_t>(result) >= span.size()) {
        succeeded();
        return result;
    }
    if (!file && returns_at_once(fd)) return result > 0 ? result : write();
    const std::size_t done = result > 0 ? static_cast<std::size_t>(result) : 0;
    if (file) {
        return go_on(span, offset, done, [&](const char* data, std::size_t size, off_t at) {
            return write_by_operations(use, data, size, at);
        });
    }
    if (offset != here || flags != 0) {
        use.give_back();
        return result > 0 ? result : on_own_thread(write);
    }
    if (socket) {
        msghdr message{};
        message.msg_iov = const_cast<iovec*>(span.pieces);
        message.msg_iovlen = static_cast<std::size_t>(span.count);
        return send_rest(use, message, 0, done);
    }
    return write_when_ready(use, span, done);
}

long try_to_read(int fd, Span span, off_t offset, int flags) noexcept {
    return vector_call(SYS_preadv2, fd, span, offset, flags | RWF_NOWAIT);
}

/// What a read returns of which the attempt said `result`.
long read_on(ForeignUse& use, Span span, off_t offset, int flags, long result) noexcept {
    const int fd = use.fd();
    if ((flags & RWF_NOWAIT) != 0 || (result < 0 && !not_answered(result))) return result;
    struct stat about {};
    const bool is_all =
        result == 0 || (result > 0 && static_cast<std::size_t>(result) >= span.size());
    if (is_all || (result > 0 && !is_file(fd, about))) {
        succeeded();
        return result;
    }
    if (result < 0 && flags != 0) {  // perhaps of those that no operation has, or nobody
        use.give_back();
        return on_own_thread([=] { return vector_call(SYS_preadv2, fd, span, offset, flags); });
    }
    if (result < 0 && !is_file(fd, about)) {
        return wait_and_read(use, span, offset, flags, result != -EAGAIN);
    }
    return read_rest_of_file(use, span, offset, result, about);
}

/// No buffer is larger than where programs have their addresses.
constexpr std::size_t largest_buffer = std::size_t{1} << 47;

/// What the kernel refuses, or has nothing to do for; it is its to say.
bool is_odd(std::size_t size) noexcept { return size == 0 || size > largest_buffer; }

}  // namespace

long read_pieces(int fd, const iovec* pieces, int count, off_t offset, int flags) noexcept {
    const Span span{pieces, count};
    ForeignUse use{fd};
    return read_on(use, span, offset, flags, try_to_read(fd, span, offset, flags));
}

long read_at(int fd, void* data, std::size_t size, off_t offset) noexcept {
    if (is_odd(size)) return call(SYS_pread64, fd, data, size, static_cast<long>(offset));
    const iovec piece{data, size};
    return read_pieces(fd, &piece, 1, offset, 0);
}

long read_any(int fd, void* data, std::size_t size) noexcept {
    if (is_odd(size)) return call(SYS_read, fd, data, size);
    const iovec piece{data, size};
    const Span span{&piece, 1};
    ForeignUse use{fd};
    Guess guess{fd};
    const bool guessed = guess.no_socket();
    long result = guessed ? try_to_read(fd, span, here, 0) : -EAGAIN;
    if (guessed && !not_answered(result)) return read_on(use, span, here, 0, result);
    const long received = call(SYS_recvfrom, fd, data, size, MSG_DONTWAIT, nullptr, nullptr);
    guess.learn(received == -ENOTSOCK);
    if (received == -ENOTSOCK) {
        if (!guessed) result = try_to_read(fd, span, here, 0);
        return read_on(use, span, here, 0, result);
    }
    if (received != -EAGAIN || has_nonblock(fd)) {
        succeeded();
        return received;
    }
    const Request request{
        .code = Request::Code::recv, .fd = fd, .buffer = data, .length = clamp(size)};
    const Deadline deadline = deadline_of(fd, Direction::in);
    return timed_out_is(perform_foreign(use, request, deadline, "read"), EAGAIN);
}

long write_pieces(int fd, const iovec* pieces, int count, off_t offset, int flags) noexcept {
    return write_other(fd, {pieces, count}, offset, flags);
}

long write_at(int fd, const void* data, std::size_t size, off_t offset) noexcept {
    if (is_odd(size)) return call(SYS_pwrite64, fd, data, size, static_cast<long>(offset));
    const iovec piece{const_cast<void*>(data), size};
    return write_other(fd, {&piece, 1}, offset, 0);
}

long write_any(int fd, const void* data, std::size_t size) noexcept {
    if (is_odd(size)) return call(SYS_write, fd, data, size);
    if (!Guess{fd}.no_socket()) {
        const long sent = send_to(fd, data, size, 0, nullptr, 0);
        if (sent != -ENOTSOCK) return sent;
    }
    const iovec piece{const_cast<void*>(data), size};
    return write_other(fd, {&piece, 1}, here, 0);
}

}  // namespace weft::hooks::detail
