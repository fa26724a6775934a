// System calls that answer with -errno. Layer: io. Uses: libc.
//
// Why not errno at the call: its address belongs to the thread, and a compiler
// may keep it across a suspension, after which the fiber runs on another
// thread. So code that may suspend never names errno; these functions do, and
// nothing suspends inside them. EINTR is dealt with here, once.
//
// What weft's hooks replace in libc (send, read, close, ...) is called by number:
// system_call<::syscall>(SYS_sendto, ...), or by kernel_call(), which does without
// libc and its errno where every request of a server comes by.
#pragma once

#include "base/sanitizer.hpp"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <type_traits>

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

#if defined(__x86_64__)
namespace kernel {

/// An argument as wide as its register.
template <class T>
long as_word(T argument) noexcept {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<long>(argument);
    } else if constexpr (std::is_null_pointer_v<T>) {
        return 0;
    } else {
        return static_cast<long>(argument);
    }
}

[[gnu::always_inline]] inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0,
                                        long e = 0, long f = 0) noexcept {
    register long fourth asm("r10") = d;
    register long fifth asm("r8") = e;
    register long sixth asm("r9") = f;
    asm volatile("syscall"
                 : "+a"(number)
                 : "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                 : "rcx", "r11", "memory");
    return number;
}

}  // namespace kernel

/// The system call of that number: >= 0, or -errno; never -EINTR.
template <class... Args>
[[gnu::always_inline]] inline long kernel_call(long number, Args... args) noexcept {
    for (;;) {
        const long result = kernel::call(number, kernel::as_word(args)...);
        if (result != -EINTR) return result;
    }
}
#else
template <class... Args>
long kernel_call(long number, Args... args) noexcept {
    return system_call<::syscall>(number, args...);
}
#endif

/// Never repeated: Linux has given the number up even when it says EINTR. Its
/// other errors are of no use to anybody.
[[gnu::noinline]] inline void close_number(int fd) noexcept { ::syscall(SYS_close, fd); }

/// Whether closing it sleeps until the peer has what was sent. False for no socket.
inline bool lingers(int fd) noexcept {
    ::linger how{};
    socklen_t size = sizeof how;
    const long result = kernel_call(SYS_getsockopt, fd, SOL_SOCKET, SO_LINGER, &how, &size);
    return result == 0 && how.l_onoff != 0 && how.l_linger > 0;
}

}  // namespace weft::detail
