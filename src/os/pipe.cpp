// Pipes. Layer: os. Uses: io, park, sched.
//
// Reads go straight into the driver; writes are tried first, for most of them succeed.
// The ends made here are O_NONBLOCK for the sake of plain threads and of the epoll
// driver. io_uring waits on them all the same; what it does not wait for (-EAGAIN, of
// files that cannot tell it when they are ready) is waited for by poll.
#include <weft/io/pipe.hpp>

#include "os/call.hpp"
#include "os/pieces.hpp"
#include "os/quiet_pipe.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/uio.h>

#include <ctime>

namespace weft::io {

using detail::clamp_length;
using detail::perform_or_poll;
using detail::perform_when_ready;
using detail::Pieces;
using detail::QuietPipe;
using detail::value_or_throw;
using weft::detail::current_position;
using weft::detail::is_waited_for;

namespace {

constexpr const char* reading = "read from a pipe";
constexpr const char* writing = "write to a pipe";

sigset_t broken_pipe_signal() noexcept {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    return set;
}

bool is_pending() noexcept {
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

/// Of others: whoever reads it, too, may be the first, and then io_uring would wait in the kernel.
bool blocks(int fd) noexcept {
    const long flags = system_call<::syscall>(SYS_fcntl, fd, F_GETFL, 0L);
    return flags >= 0 && (flags & O_NONBLOCK) == 0 && is_waited_for(fd);
}

/// `one` or `several` of the pieces, wherever the pipe stands.
Request request_for(const Pieces& pieces, Request::Code one, Request::Code several) noexcept {
    const iovec& front = pieces.front();
    const bool single = pieces.single();
    return {
        .code = single ? one : several,
        .buffer = single ? front.iov_base : static_cast<const void*>(&front),
        .length = single ? clamp_length(front.iov_len) : static_cast<std::uint32_t>(pieces.count()),
        .offset = current_position};
}

std::int64_t read_pieces(Use& use, const Pieces& pieces, bool blocks, Deadline deadline) {
    const Request request = request_for(pieces, Request::Code::read, Request::Code::readv);
    if (blocks) return perform_when_ready(use, request, deadline, reading);
    return perform_or_poll(use, request, POLLIN, deadline, reading);
}

/// A write that does not wait; -EAGAIN, and -EOPNOTSUPP where none is to be had.
std::int64_t try_write_pieces(const Use& use, const Pieces& pieces) {
    return detail::try_on(use, [&pieces](int fd) {
        return system_call<::syscall>(SYS_pwritev2, fd, &pieces.front(), pieces.count(),
                                      current_position, 0L, static_cast<long>(RWF_NOWAIT));
    });
}

std::int64_t write_pieces(Use& use, const Pieces& pieces, Deadline deadline) {
    const QuietPipe quiet;  // on a plain thread, which does not suspend
    const std::int64_t written = try_write_pieces(use, pieces);
    if (written != -EAGAIN && written != -EOPNOTSUPP) return written;
    const Request request = request_for(pieces, Request::Code::write, Request::Code::writev);
    if (written == -EOPNOTSUPP && is_waited_for(use.fd())) {
        return perform_when_ready(use, request, deadline, writing);
    }
    return perform_or_poll(use, request, POLLOUT, deadline, writing);
}

}  // namespace

// --- QuietPipe ---

detail::QuietPipe::QuietPipe() noexcept {
    if (!on_thread_) return;
    was_pending_ = is_pending();
    const sigset_t set = broken_pipe_signal();
    pthread_sigmask(SIG_BLOCK, &set, &before_);
}

detail::QuietPipe::~QuietPipe() {
    if (!on_thread_) return;
    if (!was_pending_ && is_pending()) {
        const sigset_t set = broken_pipe_signal();
        const timespec at_once{};
        system_call<::sigtimedwait>(&set, nullptr, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

// --- PipeReader ---

PipeReader::PipeReader(int fd) noexcept : descriptor_{fd}, blocks_{blocks(fd)} {}

std::int64_t PipeReader::receive(std::span<const MutableBuffer> buffers, Deadline deadline) {
    const Pieces pieces{buffers};
    if (pieces.empty()) return 0;
    Use use{descriptor_};
    return read_pieces(use, pieces, blocks_, deadline);
}

std::size_t PipeReader::read(std::span<std::byte> buffer, Deadline deadline) {
    const MutableBuffer one[] = {{buffer.data(), buffer.size()}};
    return value_or_throw(receive(one, deadline), reading);
}

std::size_t PipeReader::read_exactly(std::span<std::byte> buffer, Deadline deadline) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        if (done > 0 && deadline.passed()) value_or_throw(-ETIMEDOUT, reading);
        const std::size_t some = read(buffer.subspan(done), deadline);
        if (some == 0) break;
        done += some;
    }
    return done;
}

// --- PipeWriter ---

std::int64_t PipeWriter::send(std::span<const ConstBuffer> buffers, Deadline deadline) {
    const Pieces pieces{buffers};
    if (pieces.empty()) return 0;
    Use use{descriptor_};
    return write_pieces(use, pieces, deadline);
}

std::size_t PipeWriter::write(std::span<const std::byte> data, Deadline deadline) {
    const ConstBuffer one[] = {{data.data(), data.size()}};
    return value_or_throw(send(one, deadline), writing);
}

void PipeWriter::write_all(std::span<const std::byte> data, Deadline deadline) {
    const ConstBuffer all[] = {{data.data(), data.size()}};
    Use use{descriptor_};
    for (std::size_t done = 0; done < data.size();) {
        if (done > 0 && deadline.passed()) value_or_throw(-ETIMEDOUT, writing);
        const Pieces rest{std::span<const ConstBuffer>{all}, done};
        done += value_or_throw(write_pieces(use, rest, deadline), writing);
    }
}

// --- Pipe ---

Pipe Pipe::open() {
    int ends[2] = {-1, -1};
    value_or_throw(system_call<::syscall>(SYS_pipe2, ends, long{O_CLOEXEC | O_NONBLOCK}),
                   "make a pipe");
    return {PipeReader{ends[0]}, PipeWriter{ends[1]}};
}

}  // namespace weft::io
