// What all listeners do. Layer: os. Uses: io, park, sched.
//
// An accept is tried first, for a busy listener has a queue: one for each turn of
// the worker's loop let 512 connections that came at once wait 300 ms for the last.
#include <weft/io/listener_socket.hpp>

#include "os/socket_call.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
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

/// Connections found broken one after the other: from then on it may be that every accept fails
/// so, as by a filter of system calls that says EPERM.
constexpr unsigned most_broken = 64;

const char* reason_to_pause(AcceptFailure failure) noexcept {
    return failure == AcceptFailure::shortage ? "out of descriptors for accept"
                                              : "every accept fails";
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

int detail::listening(int fd, std::initializer_list<int> families, const char* what) {
    const auto option = [&](int name) {
        int value = 0;
        socklen_t size = sizeof value;
        const long result = system_call<::getsockopt>(fd, SOL_SOCKET, name, &value, &size);
        return result < 0 ? result : value;
    };
    const auto judge = [&]() -> long {
        const long family = option(SO_DOMAIN);
        if (family < 0) return family;
        const bool fits = std::find(families.begin(), families.end(), family) != families.end();
        if (!fits || option(SO_TYPE) != SOCK_STREAM) return -EPROTOTYPE;
        if (option(SO_ACCEPTCONN) == 0) return -EINVAL;
        const long flags = system_call<::fcntl>(fd, F_GETFL);
        return flags < 0 ? flags : system_call<::fcntl>(fd, F_SETFL, flags | O_NONBLOCK);
    };
    if (const long result = judge(); result < 0) {
        throw_error(result, ("take descriptor " + std::to_string(fd) + " over as " + what).c_str());
    }
    return fd;
}

int ListenerSocket::take(Deadline deadline, const char* what) {
    using namespace std::chrono_literals;
    Use use{descriptor()};
    std::chrono::milliseconds pause = 5ms;
    for (unsigned broken = 0; use.fd() >= 0;) {
        const int result = accept_one(use, deadline, what);
        if (result >= 0) return result;
        if (result == -EAGAIN) continue;  // another was faster
        const AcceptFailure failure = judge_accept(-result);
        if (failure == AcceptFailure::other) value_or_throw(result, what);
        if (failure == AcceptFailure::connection && ++broken % most_broken != 0) continue;
        if (deadline.passed()) value_or_throw(-ETIMEDOUT, what);
        use.sleep(std::min(deadline, Deadline{pause}), reason_to_pause(failure));
        pause = std::min<std::chrono::milliseconds>(2 * pause, 1s);
    }
    throw std::system_error(EBADF, std::system_category(), what);
}

}  // namespace weft::io
