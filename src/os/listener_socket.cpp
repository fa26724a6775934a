// What all listeners do. Layer: os. Uses: io, park, sched.
//
// An accept is tried first, for a busy listener has a queue: one for each turn of
// the worker's loop let 512 connections that came at once wait 300 ms for the last.
#include <weft/io/listener_socket.hpp>

#include "os/socket_call.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

namespace weft::io {

using detail::perform_on;
using detail::value_or_throw;

namespace {

enum class AcceptFailure : std::uint8_t { connection, shortage, other };

AcceptFailure judge_accept(int error) noexcept {
    switch (error) {
        // The connection broke while it was queued: accept(2) tells its error.
        case ECONNABORTED:
        case EAGAIN:
        case EPROTO:
        case ENETDOWN:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EPERM: return AcceptFailure::connection;
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM: return AcceptFailure::shortage;
        default: return AcceptFailure::other;
    }
}

int accept_one(Use& use, Deadline deadline, const char* what) {
    constexpr int flags = detail::socket_flags;
    const long result = detail::try_on(use, [](int fd) {
        return system_call<::syscall>(SYS_accept4, fd, nullptr, nullptr, flags);
    });
    if (result != -EAGAIN) return static_cast<int>(result);
    const Request request{.code = Request::Code::accept, .flags = flags};
    return static_cast<int>(perform_on(use, request, deadline, what));
}

}  // namespace

int ListenerSocket::take(Deadline deadline, const char* what) {
    using namespace std::chrono_literals;
    Use use{descriptor()};
    for (std::chrono::milliseconds pause = 5ms; use.fd() >= 0;) {
        const int result = accept_one(use, deadline, what);
        if (result >= 0) return result;
        switch (judge_accept(-result)) {
            case AcceptFailure::connection: break;
            case AcceptFailure::shortage:
                if (deadline.passed()) value_or_throw(-ETIMEDOUT, what);
                use.sleep(std::min(deadline, Deadline{pause}), "out of descriptors for accept");
                pause = std::min<std::chrono::milliseconds>(2 * pause, 1s);
                break;
            case AcceptFailure::other: value_or_throw(result, what);
        }
    }
    throw std::system_error(EBADF, std::system_category(), what);
}

}  // namespace weft::io
