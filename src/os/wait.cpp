// Waiting for descriptors of others. Layer: os. Uses: io, park, sched.
#include <weft/io/wait.hpp>

#include "os/call.hpp"

#include <weft/io/stream.hpp>

#include <poll.h>

#include <cerrno>

namespace weft::io {

namespace {

bool wait_ready(int fd, std::uint32_t events, Deadline deadline, const char* reason) {
    if (fd < 0) detail::throw_error(-EBADF, reason);
    int result = 0;
    while (result == 0) {  // it may be woken for nothing
        Operation operation{Request{.code = Request::Code::poll, .fd = fd, .flags = events}};
        result = perform(operation, deadline, Cancellable::yes, reason);
    }
    if (result == -ETIMEDOUT) return false;
    detail::value_or_throw(result, reason);
    return true;
}

}  // namespace

bool wait_readable(int fd, Deadline deadline) {
    return wait_ready(fd, POLLIN, deadline, "wait until a descriptor is readable");
}

bool wait_writable(int fd, Deadline deadline) {
    return wait_ready(fd, POLLOUT, deadline, "wait until a descriptor is writable");
}

}  // namespace weft::io
