// Hooks on sockets. Layer: hooks. Uses: io.
#include "hooks/descriptor.hpp"
#include "hooks/send.hpp"
#include "hooks/thread_call.hpp"
#include "io/timespec.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>

namespace weft::hooks::detail {

namespace {

constexpr int no_wait = MSG_DONTWAIT;
constexpr const char* receives_message = "receive a message";

/// By its flags. Of errors and urgent data there is some or not.
bool never_waits(int flags) noexcept {
    return (flags & (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB)) != 0;
}

/// Whether a call that said `result` is to wait in its fiber.
bool waits(long result, int fd, int flags) noexcept {
    return result == -EAGAIN && !never_waits(flags) && !has_nonblock(fd);
}

// --- receiving ---

/// MSG_WAITALL needs several receives, and what came by the first is not to be lost: so it is
/// not tried, and where they must all see the same bytes, or fill several pieces, only a thread
/// can make it.
bool takes_all(int flags) noexcept { return (flags & MSG_WAITALL) != 0 && !never_waits(flags); }

/// Without MSG_WAITALL where it means nothing: one message is all. (io_uring would go on.)
int flags_for(int fd, int flags) noexcept {
    const bool vain = takes_all(flags) && int_option(fd, SO_TYPE) != SOCK_STREAM;
    return vain ? flags & ~MSG_WAITALL : flags;
}

long receive(int fd, void* data, std::size_t size, int flags) noexcept {
    flags = flags_for(fd, flags);
    if (!takes_all(flags)) {
        const long result = call(SYS_recvfrom, fd, data, size, flags | no_wait, nullptr, nullptr);
        if (!waits(result, fd, flags)) {
            succeeded();
            return result;
        }
    } else if (returns_at_once(fd)) {
        return call(SYS_recvfrom, fd, data, size, flags, nullptr, nullptr);
    } else if ((flags & MSG_PEEK) != 0 || size > INT_MAX) {
        return on_own_thread(
            [=] { return call(SYS_recvfrom, fd, data, size, flags, nullptr, nullptr); });
    }
    const Request request{.code = Request::Code::recv,
                          .fd = fd,
                          .buffer = data,
                          .length = clamp(size),
                          .flags = static_cast<std::uint32_t>(flags)};
    return timed_out_is(perform_foreign(request, deadline_of(fd, Direction::in), "recv"), EAGAIN);
}

/// Waits until there is something to receive, or an error, by a receive that takes nothing: to
/// a poll a socket is ready as long as its queue of errors has one. >= 0, or -errno.
long wait_by_receiving(ForeignUse& use, Deadline deadline) noexcept {
    const Request request{.code = Request::Code::recv, .fd = use.fd(), .flags = MSG_PEEK};
    return perform_foreign(use, request, deadline, receives_message);
}

/// `attempt()`, which says -EAGAIN instead of waiting, until it says something else. What the
/// kernel is given are the caller's own pointers, good or bad.
template <class Attempt>
long receive_when_ready(ForeignUse& use, int flags, Attempt&& attempt) noexcept {
    long result = attempt();
    const int fd = use.fd();
    if (waits(result, fd, flags)) {
        const Deadline deadline = deadline_of(fd, Direction::in);
        bool polls = true;
        do {
            const long ready = polls ? wait_ready(use, POLLIN, deadline, receives_message)
                                     : wait_by_receiving(use, deadline);
            if (ready < 0) return timed_out_is(ready, EAGAIN);
            result = attempt();
            polls = polls && (ready & POLLIN) != 0;
        } while (result == -EAGAIN && !deadline.passed());
    }
    succeeded();
    return result;
}

/// Not by a request: a receive that finds nothing takes room for credentials out of the message's
/// head all the same (SO_PASSCRED), and io_uring goes on with that head.
long receive_message(ForeignUse& use, msghdr* message, int flags) noexcept {
    const int fd = use.fd();
    flags = flags_for(fd, flags);
    if (!takes_all(flags)) {
        return receive_when_ready(use, flags,
                                  [=] { return call(SYS_recvmsg, fd, message, flags | no_wait); });
    }
    if (returns_at_once(fd)) return call(SYS_recvmsg, fd, message, flags);
    use.give_back();
    return on_own_thread([=] { return call(SYS_recvmsg, fd, message, flags); });
}

long receive_from(int fd, void* data, std::size_t size, int flags, sockaddr* address,
                  socklen_t* length) noexcept {
    if (address == nullptr) return receive(fd, data, size, flags);
    flags = flags_for(fd, flags);
    const auto attempt = [=](int how) {
        return call(SYS_recvfrom, fd, data, size, flags | how, address, length);
    };
    if (takes_all(flags) && !returns_at_once(fd)) return on_own_thread([&] { return attempt(0); });
    ForeignUse use{fd};
    return receive_when_ready(use, flags, [&] { return attempt(no_wait); });
}

// --- connections ---

bool is_socket(int fd) noexcept {
    int type = 0;
    socklen_t size = sizeof type;
    return call(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

long accept_one(int fd, sockaddr* address, socklen_t* length, int flags) noexcept {
    const bool refused = (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0;
    if (refused || returns_at_once(fd)) return call(SYS_accept4, fd, address, length, flags);
    const Request request{.code = Request::Code::accept,
                          .fd = fd,
                          .buffer = address,
                          .flags = static_cast<std::uint32_t>(flags),
                          .extra = length};
    const long result = perform_foreign(request, deadline_of(fd, Direction::in), "accept");
    // So says a ring of what is no socket, for which it cannot poll; the kernel knows better.
    if (result == -EAGAIN && !is_socket(fd)) return call(SYS_accept4, fd, address, length, flags);
    return timed_out_is(result, EAGAIN);
}

/// Of one that is under way already, begun by another fiber or before a signal: waits for what
/// becomes of it. connect() itself is not to begin anew, here.
long await_connect(ForeignUse& use, const sockaddr* address, socklen_t length,
                   Deadline deadline) noexcept {
    const int fd = use.fd();
    const auto option = [fd](int level, int name, auto& value) {
        socklen_t size = sizeof value;
        return call(SYS_getsockopt, fd, level, name, &value, &size) == 0;
    };
    for (;;) {
        const long ready = wait_ready(use, POLLOUT, deadline, "connect");
        if (ready < 0) return timed_out_is(ready, EALREADY);
        int error = 0;
        if (option(SOL_SOCKET, SO_ERROR, error) && error > 0) {
            const sockaddr nowhere{.sa_family = AF_UNSPEC, .sa_data = {}};  // it is free then
            call(SYS_connect, fd, &nowhere, sizeof nowhere);
            return -error;
        }
        sockaddr_storage peer;
        socklen_t room = sizeof peer;
        if (call(SYS_getpeername, fd, &peer, &room) == 0) {
            const long result = call(SYS_connect, fd, address, static_cast<unsigned long>(length));
            return result == -EISCONN ? 0 : result;
        }
        tcp_info info{};
        const bool goes_on = option(IPPROTO_TCP, TCP_INFO, info) && info.tcpi_state == TCP_SYN_SENT;
        if (!goes_on) return -ECONNABORTED;
    }
}

long connect_to(int fd, const sockaddr* address, socklen_t length) noexcept {
    const auto connect = [=] {
        return call(SYS_connect, fd, address, static_cast<unsigned long>(length));
    };
    if (returns_at_once(fd)) return connect();
    ForeignUse use{fd};
    const Request request{
        .code = Request::Code::connect, .fd = fd, .buffer = address, .length = length};
    const Deadline deadline = deadline_of(fd, Direction::out);
    const long result = perform_foreign(use, request, deadline, "connect");
    // The queue of a Unix listener is full, of which no readiness tells.
    if (result == -EAGAIN) {
        use.give_back();
        return on_own_thread(connect);
    }
    if (result == -EALREADY) return await_connect(use, address, length, deadline);
    return timed_out_is(result, int_option(fd, SO_DOMAIN) == AF_UNIX ? EAGAIN : EINPROGRESS);
}

// --- several messages ---

long receive_messages(int fd, mmsghdr* messages, unsigned count, int flags,
                      timespec* timeout) noexcept {
    if ((flags & MSG_DONTWAIT) != 0 || returns_at_once(fd) || count == 0) {
        return call(SYS_recvmmsg, fd, messages, static_cast<long>(count), flags, timeout);
    }
    flags = flags_for(fd, flags);
    if (takes_all(flags)) {
        return on_own_thread([=] {
            return call(SYS_recvmmsg, fd, messages, static_cast<long>(count), flags, timeout);
        });
    }
    if (timeout != nullptr && !is_readable(timeout, sizeof *timeout)) return -EFAULT;
    if (timeout != nullptr && !weft::detail::is_valid(*timeout)) return -EINVAL;
    const Deadline deadline =
        timeout == nullptr ? Deadline::never() : Deadline{weft::detail::duration_of(*timeout)};
    ForeignUse use{fd};
    const auto attempt = [&](mmsghdr* first, unsigned left) -> long {
        if (use.closing()) return -EBADF;
        return call(SYS_recvmmsg, fd, first, static_cast<long>(left), flags | no_wait, nullptr);
    };
    const long result = for_each_message(
        messages, std::min(count, most_messages), attempt, [&](mmsghdr& each, unsigned done) {
            // Looked at between messages only, as Linux does.
            const bool is_enough = (flags & MSG_WAITFORONE) != 0 || deadline.passed();
            if (done > 0 && is_enough) return -static_cast<long>(EAGAIN);
            return receive_message(use, &each.msg_hdr, flags & ~MSG_WAITFORONE);
        });
    if (timeout != nullptr && result > 0) {
        *timeout = weft::detail::to_timespec<timespec>(weft::detail::time_left(deadline));
    }
    return result;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_accept(int fd, sockaddr* address, socklen_t* length) {
    if (WEFT_TAKEN(accept) == nullptr) return WEFT_ORIGINAL(accept)(fd, address, length);
    return answer<int>([&] { return accept_one(fd, address, length, 0); });
}

int hook_accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
    if (WEFT_TAKEN(accept4) == nullptr) return WEFT_ORIGINAL(accept4)(fd, address, length, flags);
    return answer<int>([&] { return accept_one(fd, address, length, flags); });
}

#define WEFT_DEFINE_CONNECT(name)                                                         \
    int hook_##name(int fd, const sockaddr* address, socklen_t length) {                  \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(fd, address, length); \
        return answer<int>([&] { return connect_to(fd, address, length); });              \
    }
WEFT_DEFINE_CONNECT(connect)
WEFT_DEFINE_CONNECT(__connect)

#define WEFT_DEFINE_RECV(name)                                                              \
    ssize_t hook_##name(int fd, void* data, size_t size, int flags) {                       \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(fd, data, size, flags); \
        return answer([&] { return receive(fd, data, size, flags); });                      \
    }
WEFT_DEFINE_RECV(recv)
WEFT_DEFINE_RECV(__recv)

ssize_t hook___recv_chk(int fd, void* data, size_t size, size_t room, int flags) {
    if (size > room || WEFT_TAKEN(__recv_chk) == nullptr) {
        return WEFT_ORIGINAL(__recv_chk)(fd, data, size, room, flags);
    }
    return answer([&] { return receive(fd, data, size, flags); });
}

ssize_t hook_recvfrom(int fd, void* data, size_t size, int flags, sockaddr* address,
                      socklen_t* length) {
    if (WEFT_TAKEN(recvfrom) == nullptr) {
        return WEFT_ORIGINAL(recvfrom)(fd, data, size, flags, address, length);
    }
    return answer([&] { return receive_from(fd, data, size, flags, address, length); });
}

ssize_t hook___recvfrom_chk(int fd, void* data, size_t size, size_t room, int flags,
                            sockaddr* address, socklen_t* length) {
    if (size > room || WEFT_TAKEN(__recvfrom_chk) == nullptr) {
        return WEFT_ORIGINAL(__recvfrom_chk)(fd, data, size, room, flags, address, length);
    }
    return answer([&] { return receive_from(fd, data, size, flags, address, length); });
}

ssize_t hook_recvmsg(int fd, msghdr* message, int flags) {
    if (WEFT_TAKEN(recvmsg) == nullptr) return WEFT_ORIGINAL(recvmsg)(fd, message, flags);
    return answer([&] {
        ForeignUse use{fd};
        return receive_message(use, message, flags);
    });
}

int hook_recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
    if (WEFT_TAKEN(recvmmsg) == nullptr) {
        return WEFT_ORIGINAL(recvmmsg)(fd, messages, count, flags, timeout);
    }
    return answer<int>([&] { return receive_messages(fd, messages, count, flags, timeout); });
}

#define WEFT_DEFINE_SEND(name)                                                                    \
    ssize_t hook_##name(int fd, const void* data, size_t size, int flags) {                       \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(fd, data, size, flags);       \
        return answer_writing(flags, [&] { return send_to(fd, data, size, flags, nullptr, 0); }); \
    }
WEFT_DEFINE_SEND(send)
WEFT_DEFINE_SEND(__send)

ssize_t hook_sendto(int fd, const void* data, size_t size, int flags, const sockaddr* address,
                    socklen_t length) {
    if (WEFT_TAKEN(sendto) == nullptr) {
        return WEFT_ORIGINAL(sendto)(fd, data, size, flags, address, length);
    }
    return answer_writing(flags, [&] { return send_to(fd, data, size, flags, address, length); });
}

ssize_t hook_sendmsg(int fd, const msghdr* message, int flags) {
    if (WEFT_TAKEN(sendmsg) == nullptr) return WEFT_ORIGINAL(sendmsg)(fd, message, flags);
    return answer_writing(flags, [&] { return send_message(fd, message, flags); });
}

#define WEFT_DEFINE_SENDMMSG(name)                                                             \
    int hook_##name(int fd, mmsghdr* messages, unsigned count, int flags) {                    \
        if (WEFT_TAKEN(name) == nullptr) {                                                     \
            return WEFT_ORIGINAL(name)(fd, messages, count, flags);                            \
        }                                                                                      \
        return answer_writing<int>(flags,                                                      \
                                   [&] { return send_messages(fd, messages, count, flags); }); \
    }
WEFT_DEFINE_SENDMMSG(sendmmsg)
WEFT_DEFINE_SENDMMSG(__sendmmsg)
