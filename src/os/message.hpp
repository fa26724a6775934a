// Messages: sendmsg and recvmsg, as all sockets do them. Layer: os. Uses: io.
//
// Where messages go both ways on several workers, io_uring gives one up now and then
// instead of waiting: with -EAGAIN, for the socket is O_NONBLOCK.
#pragma once

#include "os/call.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cstdint>

namespace weft::io::detail {

inline constexpr int without_waiting = MSG_DONTWAIT | MSG_NOSIGNAL;

/// One send that does not wait.
inline std::int64_t try_send_message(const Use& use, const msghdr& message) {
    return try_on(use, [&message](int fd) {
        return system_call<::syscall>(SYS_sendmsg, fd, &message, without_waiting);
    });
}

/// One that waits. `flags`: MSG_WAITALL to wait until all is sent.
inline std::int64_t send_message(Use& use, const msghdr& message, std::uint32_t flags,
                                 Deadline deadline, const char* reason) {
    const Request request{
        .code = Request::Code::sendmsg, .buffer = &message, .flags = flags | MSG_NOSIGNAL};
    return perform_or_poll(use, request, POLLOUT, deadline, reason);
}

/// One receive, which fills `message` in.
inline std::int64_t receive_message(Use& use, msghdr& message, std::uint32_t flags,
                                    Deadline deadline, const char* reason) {
    const Request request{.code = Request::Code::recvmsg, .buffer = &message, .flags = flags};
    return perform_or_poll(use, request, POLLIN, deadline, reason);
}

}  // namespace weft::io::detail
