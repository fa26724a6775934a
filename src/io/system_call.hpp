// System calls that answer with -errno. Layer: io. Uses: libc.
//
// Why not errno at the call: its address belongs to the thread, and a compiler
// may keep it across a suspension, after which the fiber runs on another
// thread. So code that may suspend never names errno; these functions do, and
// nothing suspends inside them. EINTR is dealt with here, once.
//
// What weft's hooks replace in libc (send, read, close, ...) is called by number:
// system_call<::syscall>(SYS_sendto, ...).
#pragma once

#include "base/sanitizer.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace weft::detail {

/// system_call<::send>(fd, data, size, flags): >= 0, or -errno; never -EINTR.
/// Not seen by TSan, to which a fiber that reads a thread's errno is a race.
template <auto function, class... Args>
WEFT_NO_TSAN [[gnu::noinline]] long system_call(Args... args) noexcept {
    for (;;) {
        const long result = static_cast<long>(function(args...));
        if (result >= 0) return result;
        if (errno != EINTR) return -errno;
    }
}

/// Never repeated: Linux has given the number up even when it says EINTR. Its
/// other errors are of no use to anybody.
[[gnu::noinline]] inline void close_number(int fd) noexcept { ::syscall(SYS_close, fd); }

}  // namespace weft::detail
