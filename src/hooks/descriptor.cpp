// Layer: hooks. Uses: io.
#include "hooks/descriptor.hpp"

#include "io/timespec.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>

namespace weft::hooks::detail {

// sigprocmask() with no such `how` reads its set, and does nothing. Rejected:
// process_vm_readv(), which many sandboxes forbid.
bool is_readable(const void* data, std::size_t size) noexcept {
    constexpr std::uintptr_t page = 4096;
    constexpr std::uintptr_t word = sizeof(std::uint64_t);
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    const std::uintptr_t end = begin + size;
    const int error = errno;
    bool readable = true;
    if (begin < page) return false;  // a null would be no set
    for (std::uintptr_t at = begin; at < end; at = (at & ~(page - 1)) + page) {
        const auto* const probed = reinterpret_cast<const void*>(at & ~(word - 1));
        readable = readable && call(SYS_rt_sigprocmask, -1L, probed, nullptr, word) != -EFAULT;
    }
    errno = error;
    return readable;
}

bool returns_at_once(int fd) noexcept {
    const long flags = call(SYS_fcntl, fd, F_GETFL, 0L);
    return flags < 0 || (flags & O_NONBLOCK) != 0;
}

bool has_nonblock(int fd) noexcept {
    const long flags = call(SYS_fcntl, fd, F_GETFL, 0L);
    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

int int_option(int fd, int option) noexcept {
    int value = 0;
    socklen_t size = sizeof value;
    return call(SYS_getsockopt, fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

Deadline deadline_of(int fd, Direction direction) noexcept {
    timeval limit{};
    socklen_t size = sizeof limit;
    const int option = direction == Direction::in ? SO_RCVTIMEO : SO_SNDTIMEO;
    if (call(SYS_getsockopt, fd, SOL_SOCKET, option, &limit, &size) < 0) return Deadline::never();
    const auto time = weft::detail::duration_of(limit);
    return time.count() == 0 ? Deadline::never() : Deadline{time};
}

long wait_ready(ForeignUse& use, std::uint32_t events, Deadline deadline,
                const char* reason) noexcept {
    const Request request{.code = Request::Code::poll, .fd = use.fd(), .flags = events};
    return perform_foreign(use, request, deadline, reason, Interruption::all);
}

long wait_ready(int fd, std::uint32_t events, Deadline deadline, const char* reason,
                Interruption needed) noexcept {
    const Request request{.code = Request::Code::poll, .fd = fd, .flags = events};
    return perform_foreign(request, deadline, reason, needed);
}

}  // namespace weft::hooks::detail
