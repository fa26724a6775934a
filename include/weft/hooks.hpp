#pragma once

#include <weft/detail/export.hpp>

#include <cstddef>
#include <span>
#include <string>

/// Monkey patching: plain blocking calls of libc, made in a fiber by code that has never heard
/// of weft, suspend the fiber instead of its worker. (gevent.monkey.)
///
/// These are in a library of their own, libweft-hooks.so. Linked, it changes nothing
/// until something is patched; preloaded (LD_PRELOAD=libweft-hooks.so) it patches all as
/// it is loaded, or what WEFT_HOOKS lists: "socket,time", or "none".
///
/// What is patched acts on calls from fibers; plain threads, and calls before main() and
/// after the runtime's end, are libc's as ever. (With threads patched plain threads wait at
/// conditions beside fibers, in the same queues: it means what it means in libc, and costs more.)
/// Results, errno, O_NONBLOCK and SO_RCVTIMEO
/// mean what they mean in libc. A call that a cancellation or a Timeout ends answers
/// ECANCELED, since no exception may pass through C code; it is thrown at the fiber's next
/// native cancellation point. What waits for a lock, for "any child" or in another call
/// that only a thread can make is not ended early.
///
/// What differs from libc, in a fiber:
/// - close(), dup2() and dup3() end what other fibers wait for on the number: EBADF, or
///   POLLNVAL, and wait until those have left their calls: until their workers are free, and
///   what cannot be interrupted, as fsync(), is over. In libc they wait on. Not ended: a
///   poll() or select() of more than 8 numbers, or of a file; and what only a thread waits for, as
///   a message to a Unix socket by name. fclose(), close_range() and closefrom() end nothing.
/// - Signals interrupt nothing: no EINTR. The masks of ppoll(), pselect() and epoll_pwait()
///   are not looked at. A fiber has a mask of its own, first that of the thread that made its
///   runtime. What it raises itself, as SIGPIPE, it handles at once unless that has it; what the
///   process is sent goes to threads that are none of weft's. (Under `weft-run --threads` it is
///   otherwise: see README.md.)
/// - pthread_exit() and thrd_exit(), with threads patched, end the fiber as a cancellation would:
///   it unwinds, and get() throws Cancelled. The result has no place.
/// - Signal handlers run with SA_ONSTACK, which sigaction() does not tell, from the first
///   patch on; the calls that a handler makes are libc's.
/// - A child of fork() is no fiber and begins with the fiber's mask of signals; so do those of
///   posix_spawn(), threads that a fiber makes, and what it becomes by exec*(). It may run a
///   runtime of its own; its parent's fibers are not there. vfork() is fork(). Calls of clone() are
///   not seen.
/// - On epoll, connect() sets O_NONBLOCK for the moment of the call; nothing else does. And
///   shutdown() of a Unix socket ends what waits to write there only when its peer reads.
/// - SO_RCVLOWAT does not keep a receive waiting, though it does a poll().
/// - Of traced children (ptrace()) the stops are not told. A terminal's background readers get EIO.
/// - Children waited for with __WNOTHREAD are those of another thread. A child of fork() whose
///   fiber's body ends there exits with 0.
/// - What libc keeps for each thread all fibers of a worker share: the locale of uselocale(), the
///   resolver's _res, which res_query() overlooks, the owner of a FILE (flockfile()).
/// - On a stack that is not weft's, as that of another library's coroutine, and under a Bypass all
///   calls are libc's and hold the worker; a recursive or error-checking mutex that the fiber has
///   locked is another's there.
///
/// A fiber stays on its worker from its first hooked call on, for foreign code keeps things in
/// thread-local variables; see allow_migration().
namespace weft::hooks {

/// What is patched together; the names are gevent's.
struct Categories {
    bool socket = true;   ///< connect accept recv send ..., read and write of any descriptor
    bool select = true;   ///< poll select epoll_wait ...
    bool time = true;     ///< sleep usleep nanosleep clock_nanosleep
    bool dns = true;      ///< getaddrinfo getnameinfo gethostbyname res_query getpwnam ...
    bool file = true;     ///< pread pwrite open fsync flock fcntl(F_SETLKW) ..., read and write
    bool process = true;  ///< waitpid system popen pclose pause sigwait ...
    bool threads = true;  ///< pthread mutexes, conditions, keys ..., semaphores, futexes
};

/// Patches these categories, beside those that are. Idempotent. Any thread, best before
/// the first fiber: a call that is under way ends as it began.
WEFT_API void patch_all(const Categories& categories = {}) noexcept;

WEFT_API void patch_socket() noexcept;
WEFT_API void patch_select() noexcept;
WEFT_API void patch_time() noexcept;
WEFT_API void patch_dns() noexcept;
WEFT_API void patch_file() noexcept;
WEFT_API void patch_process() noexcept;
WEFT_API void patch_threads() noexcept;

/// Unpatches all: from now on calls are libc's. Any thread.
WEFT_API void unpatch_all() noexcept;

/// What is patched.
WEFT_API Categories patched() noexcept;

namespace detail {
WEFT_API void* find_original(void* hook) noexcept;
}

/// libc's own function, whatever is patched: `hooks::original(&::read)(fd, data, size)`.
/// One that has no hook is returned as it is.
template <class Function>
Function* original(Function* function) noexcept {
    return reinterpret_cast<Function*>(detail::find_original(reinterpret_cast<void*>(function)));
}

/// While it lives, the calling fiber's calls are libc's. Nests. To be destroyed by its maker.
class WEFT_API Bypass {
public:
    Bypass() noexcept;
    Bypass(const Bypass&) = delete;
    Bypass& operator=(const Bypass&) = delete;
    ~Bypass();
};

/// Lets the calling fiber go on wherever it is woken, as one does that made no hooked call;
/// inside of a hooked call it stays all the same. For fibers whose foreign code has no
/// thread-local state worth keeping, not even in errno beyond a call. Nothing outside a fiber.
WEFT_API void allow_migration() noexcept;

/// One symbol of libc.
struct SymbolReport {
    const char* name;
    const char* category;
    unsigned long long taken;   ///< calls from fibers that weft made
    unsigned long long passed;  ///< calls from fibers that were left to libc
    bool interposed;            ///< calls from the program reach the hook
};

/// What the hooks have done, and what they cannot do here.
struct Report {
    Categories patched;
    std::span<const SymbolReport> symbols;
    /// One line each: what calls cannot be taken in this process, and why.
    std::string obstacles;
    /// The whole, to be read.
    WEFT_API std::string text() const;
};

/// The state of the hooks. Counts are momentary. Any thread. Throws std::bad_alloc.
/// Lifetime: `symbols` until the calling thread asks again.
WEFT_API Report report();

}  // namespace weft::hooks
