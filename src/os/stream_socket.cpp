// What all connections do. Layer: os. Uses: io, park, sched.
//
// Receives go straight into the driver; sends are tried first, for most of them
// succeed, and what the socket does not take goes to the driver (measured: a
// receive tried in vain costs more than it saves). Small sends of fibers that run
// in short turns go to the driver as well: a crowd's share a system call.
#include <weft/io/stream_socket.hpp>

#include "base/sanitizer.hpp"
#include "io/lending.hpp"
#include "os/call.hpp"
#include "os/message.hpp"
#include "os/pieces.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace weft::io {

using detail::clamp_length;
using detail::perform_on;
using detail::Pieces;
using detail::value_or_throw;
using weft::detail::lent_size;

namespace {

constexpr const char* reading = "read from a stream";
constexpr const char* writing = "write to a stream";

std::int64_t receive_piece(Use& use, void* data, std::size_t size, Deadline deadline) {
    const Request request{
        .code = Request::Code::recv, .buffer = data, .length = clamp_length(size)};
    return perform_on(use, request, deadline, reading);
}

/// With a result above 0, `lent` is what it received into.
std::int64_t receive_lent(Use& use, std::byte*& lent, Deadline deadline) {
    const int fd = use.fd();
    if (fd < 0) return -EBADF;
    Operation operation{{.code = Request::Code::recv_lent, .fd = fd, .length = lent_size}, &use};
    const int result = perform(operation, deadline, Cancellable::yes, reading);
    lent = operation.lent;
    weft::detail::tsan_acquire(lent);  // from whoever had it before
    return result;
}

std::int64_t receive_pieces(Use& use, Pieces& pieces, Deadline deadline) {
    if (pieces.single()) {
        return receive_piece(use, pieces.front().iov_base, pieces.front().iov_len, deadline);
    }
    msghdr message = pieces.message();
    return detail::receive_message(use, message, 0, deadline, "read from a stream, vectored");
}

/// One send that does not wait.
std::int64_t try_send_piece(const Use& use, const void* data, std::size_t size) {
    return detail::try_on(use, [=](int fd) {
        return kernel_call(SYS_sendto, fd, data, size, detail::without_waiting, nullptr, 0L);
    });
}

std::int64_t try_send_pieces(const Use& use, Pieces& pieces) {
    if (pieces.single()) {
        return try_send_piece(use, pieces.front().iov_base, pieces.front().iov_len);
    }
    return detail::try_send_message(use, pieces.message());
}

std::int64_t send_piece(Use& use, const void* data, std::size_t size, std::uint32_t flags,
                        Deadline deadline) {
    const Request request{.code = Request::Code::send,
                          .buffer = data,
                          .length = clamp_length(size),
                          .flags = flags | MSG_NOSIGNAL};
    return perform_on(use, request, deadline, writing);
}

/// Whether a send had better go to the kernel with what others begin.
bool joins_others(std::size_t size, Deadline deadline) noexcept {
    Worker* const worker = Worker::current();
    return deadline.is_never() && worker != nullptr && worker->has_company(size);
}

/// The first send of a piece: for most, the only one. -EAGAIN: the socket is full.
std::int64_t send_first(Use& use, const void* data, std::size_t size, std::uint32_t flags,
                        Deadline deadline) {
    return joins_others(size, deadline) ? send_piece(use, data, size, flags, deadline)
                                        : try_send_piece(use, data, size);
}

/// One send that waits. `flags`: MSG_WAITALL to wait until all is sent.
std::int64_t send_pieces(Use& use, Pieces& pieces, std::uint32_t flags, Deadline deadline) {
    if (pieces.single()) {
        const iovec& only = pieces.front();
        return send_piece(use, only.iov_base, only.iov_len, flags, deadline);
    }
    const msghdr message = pieces.message();
    return detail::send_message(use, message, flags, deadline, "write to a stream, vectored");
}

/// Sends all but the first `sent` bytes. What a full socket does not take at once is
/// waited for in one operation, so a slow peer does not cost a wake-up for every segment.
std::int64_t send_rest(Use& use, std::span<const ConstBuffer> buffers, std::size_t sent, bool full,
                       Deadline deadline) {
    for (detail::Rest rest{buffers, sent}; !rest.empty();) {
        Pieces pieces{rest.buffers(), rest.skip()};
        if (sent > 0 && deadline.passed()) return -ETIMEDOUT;
        const std::int64_t result =
            full ? send_pieces(use, pieces, MSG_WAITALL, deadline) : try_send_pieces(use, pieces);
        if (result < 0 && result != -EAGAIN) return result;
        const std::size_t some = result > 0 ? static_cast<std::size_t>(result) : 0;
        full = !full && some < pieces.bytes();
        rest.drop(some);
        sent += some;
    }
    return 0;
}

}  // namespace

std::int64_t StreamSocket::receive_into(std::span<const MutableBuffer> buffers, Deadline deadline) {
    Pieces pieces{buffers};
    if (pieces.empty()) return 0;
    Use use{descriptor()};
    return receive_pieces(use, pieces, deadline);
}

std::int64_t StreamSocket::send(std::span<const ConstBuffer> buffers, Deadline deadline) {
    Pieces pieces{buffers};
    if (pieces.empty()) return 0;
    Use use{descriptor()};
    const iovec& first = pieces.front();
    const std::int64_t sent = pieces.single()
                                  ? send_first(use, first.iov_base, first.iov_len, 0, deadline)
                                  : try_send_pieces(use, pieces);
    return sent == -EAGAIN ? send_pieces(use, pieces, 0, deadline) : sent;
}

[[gnu::hot]] std::size_t StreamSocket::read(std::span<std::byte> buffer, Deadline deadline) {
    if (buffer.empty()) return 0;
    Use use{descriptor()};
    return value_or_throw(receive_piece(use, buffer.data(), buffer.size(), deadline), reading);
}

std::size_t StreamSocket::read(std::span<const MutableBuffer> buffers, Deadline deadline) {
    return value_or_throw(receive_into(buffers, deadline), reading);
}

[[gnu::hot]] LentBytes StreamSocket::receive(Deadline deadline) {
    Use use{descriptor()};
    LentBytes received;
    std::int64_t result = receive_lent(use, received.lent_, deadline);
    if (result == -ENOBUFS || result == -EOPNOTSUPP) [[unlikely]] {
        // The driver has nothing to lend, now or ever; so this one holds it while it waits.
        received.lent_ = weft::detail::lend();
        result = received.lent_ == nullptr
                     ? -ENOMEM
                     : receive_piece(use, received.lent_, lent_size, deadline);
    }
    received.size_ = value_or_throw(result, reading);
    return received;
}

// Not by MSG_WAITALL: with that the kernel, and io_uring, take an error that comes
// after the first bytes as the end, and it is gone.
std::size_t StreamSocket::read_exactly(std::span<std::byte> buffer, Deadline deadline) {
    Use use{descriptor()};
    std::size_t done = 0;
    while (done < buffer.size()) {
        if (done > 0 && deadline.passed()) value_or_throw(-ETIMEDOUT, reading);
        const std::span<std::byte> rest = buffer.subspan(done);
        const std::int64_t some = receive_piece(use, rest.data(), rest.size(), deadline);
        if (some == 0) break;
        done += value_or_throw(some, reading);
    }
    return done;
}

std::size_t StreamSocket::write(std::span<const std::byte> data, Deadline deadline) {
    const ConstBuffer one[] = {{data.data(), data.size()}};
    return value_or_throw(send(one, deadline), writing);
}

std::size_t StreamSocket::write(std::span<const ConstBuffer> buffers, Deadline deadline) {
    return value_or_throw(send(buffers, deadline), writing);
}

[[gnu::hot]] void StreamSocket::write_all(std::span<const std::byte> data, Deadline deadline) {
    if (data.empty()) return;
    Use use{descriptor()};
    const std::int64_t sent = send_first(use, data.data(), data.size(), MSG_WAITALL, deadline);
    if (sent == static_cast<std::int64_t>(data.size())) [[likely]]
        return;
    const std::size_t some = sent == -EAGAIN ? 0 : value_or_throw(sent, writing);
    const ConstBuffer all[] = {{data.data(), data.size()}};
    value_or_throw(send_rest(use, all, some, true, deadline), writing);
}

void StreamSocket::write_all(std::span<const ConstBuffer> buffers, Deadline deadline) {
    Use use{descriptor()};
    value_or_throw(send_rest(use, buffers, 0, false, deadline), writing);
}

void StreamSocket::shutdown(Shutdown what) {
    const Use use{descriptor()};
    const int how = what == Shutdown::read    ? SHUT_RD
                    : what == Shutdown::write ? SHUT_WR
                                              : SHUT_RDWR;
    value_or_throw(system_call<::shutdown>(use.fd(), how), "shutdown of a stream");
}

}  // namespace weft::io
