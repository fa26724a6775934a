// Layer: hooks. Uses: io.
#include "hooks/descriptor.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <chrono>

namespace weft::hooks::detail {

bool returns_at_once(int fd) noexcept {
    const long flags = call(SYS_fcntl, fd, F_GETFL, 0L);
    return flags < 0 || (flags & O_NONBLOCK) != 0;
}

Deadline deadline_of(int fd, Direction direction) noexcept {
    timeval limit{};
    socklen_t size = sizeof limit;
    const int option = direction == Direction::in ? SO_RCVTIMEO : SO_SNDTIMEO;
    if (call(SYS_getsockopt, fd, SOL_SOCKET, option, &limit, &size) < 0) return Deadline::never();
    const auto time = std::chrono::seconds{limit.tv_sec} + std::chrono::microseconds{limit.tv_usec};
    return time.count() == 0 ? Deadline::never() : Deadline{time};
}

long wait_ready(int fd, std::uint32_t events, Deadline deadline, const char* reason) noexcept {
    const Request request{.code = Request::Code::poll, .fd = fd, .flags = events};
    return perform_foreign(request, deadline, reason);
}

}  // namespace weft::hooks::detail
