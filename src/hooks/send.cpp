// Sends. Layer: hooks. Uses: io.
//
// A send is tried with the caller's own flags, so that SIGPIPE comes from the kernel as it
// always does; when an operation says EPIPE the call is made once more for the same reason.
#include "hooks/send.hpp"

#include "hooks/rest.hpp"
#include "hooks/thread_call.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

namespace weft::hooks::detail {

namespace {

/// What a send that did `done` bytes returns when the rest came to `result`.
long result_of_send(long result, std::size_t done) noexcept {
    if (done > 0) return static_cast<long>(done);
    return timed_out_is(result, EAGAIN);
}

/// Whether what it sends are messages to a Unix socket.
bool is_of_unix_messages(int fd) noexcept {
    return int_option(fd, SO_DOMAIN) == AF_UNIX && int_option(fd, SO_TYPE) != SOCK_STREAM;
}

/// To a full queue, not by an operation: io_uring sends an empty message when it tries again
/// (on 6.18). Of a peer that is named with the message no readiness tells; a thread that waits for
/// it has a number of its own, so that a close need not wait, too.
long send_unix_message(ForeignUse& use, const msghdr& message, int flags) noexcept {
    const int fd = use.fd();
    const Deadline deadline = deadline_of(fd, Direction::out);
    if (message.msg_name != nullptr) {
        const auto own = static_cast<int>(call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0L));
        if (own >= 0) use.give_back();
        const int to = own >= 0 ? own : fd;
        const long sent = on_own_thread([&] { return call(SYS_sendmsg, to, &message, flags); });
        if (own >= 0) weft::detail::close_number(own);
        return sent;
    }
    for (;;) {
        const long ready = wait_ready(use, POLLOUT, deadline, "send");
        if (ready < 0) return timed_out_is(ready, EAGAIN);
        const long sent = call(SYS_sendmsg, fd, &message, flags | MSG_DONTWAIT);
        if (sent != -EAGAIN || deadline.passed()) return sent;
    }
}

}  // namespace

long send_rest(ForeignUse& use, const msghdr& message, int flags, std::size_t done) noexcept {
    const int fd = use.fd();
    if (is_of_unix_messages(fd)) return send_unix_message(use, message, flags);
    Rest pieces{{message.msg_iov, message.msg_iovlen}};
    if (!pieces.skip(done)) return result_of_send(-ENOBUFS, done);
    msghdr rest = message;
    if (done > 0) rest.msg_control = nullptr, rest.msg_controllen = 0;
    const Deadline deadline = deadline_of(fd, Direction::out);
    do {
        rest.msg_iov = const_cast<iovec*>(pieces.pieces().data());
        rest.msg_iovlen = pieces.pieces().size();
        const Request request{.code = Request::Code::sendmsg,
                              .fd = fd,
                              .buffer = &rest,
                              .flags = static_cast<std::uint32_t>(flags)};
        const long sent = perform_foreign(use, request, deadline, "send");
        if (sent == -EPIPE && done == 0)
            return call(SYS_sendmsg, fd, &message, flags | MSG_DONTWAIT);
        if (sent < 0) return result_of_send(sent, done);
        done += static_cast<std::size_t>(sent);
        if (!pieces.skip(static_cast<std::size_t>(sent))) break;
        rest.msg_control = nullptr;
        rest.msg_controllen = 0;
    } while (!pieces.empty());
    return static_cast<long>(done);
}

namespace {

std::size_t size_of(const msghdr& message) noexcept {
    std::size_t size = 0;
    for (std::size_t i = 0; i < message.msg_iovlen; ++i) size += message.msg_iov[i].iov_len;
    return size;
}

/// Whether a send that said `result` goes on in its fiber. EINPROGRESS: it is a connect, too
/// (TCP fast open), and sent nothing.
bool send_goes_on(long result, std::size_t size, int fd, int flags) noexcept {
    if (result >= 0 && static_cast<std::size_t>(result) >= size) return false;
    if (result < 0 && result != -EAGAIN && result != -EINPROGRESS) return false;
    return (flags & MSG_DONTWAIT) == 0 && !has_nonblock(fd);
}

long send_message(ForeignUse& use, const msghdr* message, int flags) noexcept {
    const int fd = use.fd();
    const long sent = call(SYS_sendmsg, fd, message, flags | MSG_DONTWAIT);
    if (sent < 0 && sent != -EAGAIN && sent != -EINPROGRESS) return sent;
    if (!send_goes_on(sent, size_of(*message), fd, flags)) {
        succeeded();
        return sent;
    }
    return send_rest(use, *message, flags, sent > 0 ? static_cast<std::size_t>(sent) : 0);
}

/// The last of `sent` messages may have gone in part: its rest goes now.
long finish_last(ForeignUse& use, mmsghdr& last, int flags, long sent) noexcept {
    if (last.msg_len >= size_of(last.msg_hdr)) return sent;
    const long all = send_rest(use, last.msg_hdr, flags, last.msg_len);
    if (all > 0) last.msg_len = static_cast<unsigned>(all);
    return sent;
}

}  // namespace

long send_to(int fd, const void* data, std::size_t size, int flags, const sockaddr* address,
             socklen_t length) noexcept {
    ForeignUse use{fd};
    const long sent = call(SYS_sendto, fd, data, size, flags | MSG_DONTWAIT, address,
                           static_cast<unsigned long>(length));
    if (!send_goes_on(sent, size, fd, flags)) {
        succeeded();
        return sent;
    }
    iovec piece{const_cast<void*>(data), size};
    msghdr message{};
    message.msg_name = const_cast<sockaddr*>(address);
    message.msg_namelen = address != nullptr ? length : 0;
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    return send_rest(use, message, flags, sent > 0 ? static_cast<std::size_t>(sent) : 0);
}

long send_message(int fd, const msghdr* message, int flags) noexcept {
    ForeignUse use{fd};
    return send_message(use, message, flags);
}

long send_messages(int fd, mmsghdr* messages, unsigned count, int flags) noexcept {
    if ((flags & MSG_DONTWAIT) != 0 || returns_at_once(fd) || count == 0) {
        return call(SYS_sendmmsg, fd, messages, static_cast<long>(count), flags);
    }
    ForeignUse use{fd};
    return for_each_message(
        messages, std::min(count, most_messages),
        [&](mmsghdr* first, unsigned left) -> long {
            if (use.closing() || !use.is_held()) return -EBADF;
            const long sent =
                call(SYS_sendmmsg, fd, first, static_cast<long>(left), flags | MSG_DONTWAIT);
            // The last one may have gone in part.
            return sent <= 0 ? sent : finish_last(use, first[sent - 1], flags, sent);
        },
        [&](mmsghdr& each, unsigned) { return send_message(use, &each.msg_hdr, flags); });
}

}  // namespace weft::hooks::detail
