// Hooks on files: opening, closing, locks, the disk. Layer: hooks. Uses: io.
#include "hooks/descriptor.hpp"
#include "hooks/thread_call.hpp"
#include "io/closing.hpp"
#include "io/foreign_use.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace weft::hooks::detail {

namespace {

long synchronise(int fd, bool data_only) noexcept {
    const Request request{.code = Request::Code::fsync, .fd = fd, .flags = data_only ? 1u : 0u};
    return perform_foreign(request, Deadline::never(), "fsync");
}

/// A FIFO waits for its other end, for which a thread is needed: as an operation it might
/// be opened without.
bool may_wait_for_a_peer(int directory, const char* path, int flags) noexcept {
    if ((flags & (O_NONBLOCK | O_PATH | O_DIRECTORY)) != 0) return false;
    struct stat about {};
    return call(SYS_newfstatat, directory, path, &about, 0L) == 0 &&
           (S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode));
}

long open_at(int directory, const char* path, int flags, mode_t mode) noexcept {
    if (may_wait_for_a_peer(directory, path, flags)) {
        return on_own_thread(
            [=] { return call(SYS_openat, directory, path, flags, static_cast<long>(mode)); });
    }
    const Request request{.code = Request::Code::openat,
                          .fd = directory,
                          .buffer = path,
                          .length = mode,
                          .flags = static_cast<std::uint32_t>(flags | O_LARGEFILE)};
    return perform_foreign(request, Deadline::never(), "open");
}

/// `attempt(true)` says -EAGAIN instead of waiting for a lock.
template <class Attempt>
long take_lock(Attempt&& attempt) noexcept {
    const long result = attempt(true);
    if (result != -EAGAIN && result != -EACCES) return result;
    return on_own_thread([&] { return attempt(false); });
}

bool waits_for_lock(int command) noexcept { return command == F_SETLKW || command == F_OFD_SETLKW; }

long lock_record(int fd, int command, long argument) noexcept {
    const int at_once = command == F_SETLKW ? F_SETLK : F_OFD_SETLK;
    return take_lock(
        [=](bool try_it) { return call(SYS_fcntl, fd, try_it ? at_once : command, argument); });
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- files ---

int hook_fsync(int fd) {
    if (WEFT_TAKEN(fsync) == nullptr) return WEFT_ORIGINAL(fsync)(fd);
    return answer<int>([&] { return synchronise(fd, false); });
}

int hook_fdatasync(int fd) {
    if (WEFT_TAKEN(fdatasync) == nullptr) return WEFT_ORIGINAL(fdatasync)(fd);
    return answer<int>([&] { return synchronise(fd, true); });
}

#define WEFT_DEFINE_OPEN(name)                                                          \
    int hook_##name(const char* path, int flags, mode_t mode) {                         \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(path, flags, mode); \
        return answer<int>([&] { return open_at(AT_FDCWD, path, flags, mode); });       \
    }
#define WEFT_DEFINE_OPEN_2(name)                                                   \
    int hook_##name(const char* path, int flags) {                                 \
        if ((flags & (O_CREAT | O_TMPFILE)) != 0 || WEFT_TAKEN(name) == nullptr) { \
            return WEFT_ORIGINAL(name)(path, flags);                               \
        }                                                                          \
        return answer<int>([&] { return open_at(AT_FDCWD, path, flags, 0); });     \
    }
#define WEFT_DEFINE_OPENAT(name)                                                   \
    int hook_##name(int directory, const char* path, int flags, mode_t mode) {     \
        if (WEFT_TAKEN(name) == nullptr) {                                         \
            return WEFT_ORIGINAL(name)(directory, path, flags, mode);              \
        }                                                                          \
        return answer<int>([&] { return open_at(directory, path, flags, mode); }); \
    }
#define WEFT_DEFINE_OPENAT_2(name)                                                 \
    int hook_##name(int directory, const char* path, int flags) {                  \
        if ((flags & (O_CREAT | O_TMPFILE)) != 0 || WEFT_TAKEN(name) == nullptr) { \
            return WEFT_ORIGINAL(name)(directory, path, flags);                    \
        }                                                                          \
        return answer<int>([&] { return open_at(directory, path, flags, 0); });    \
    }
#define WEFT_DEFINE_CREAT(name)                                                           \
    int hook_##name(const char* path, mode_t mode) {                                      \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(path, mode);          \
        return answer<int>(                                                               \
            [&] { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }); \
    }
WEFT_DEFINE_OPEN(open)
WEFT_DEFINE_OPEN(open64)
WEFT_DEFINE_OPEN(__open)
WEFT_DEFINE_OPEN(__open64)
WEFT_DEFINE_OPEN_2(__open_2)
WEFT_DEFINE_OPEN_2(__open64_2)
WEFT_DEFINE_OPENAT(openat)
WEFT_DEFINE_OPENAT(openat64)
WEFT_DEFINE_OPENAT_2(__openat_2)
WEFT_DEFINE_OPENAT_2(__openat64_2)
WEFT_DEFINE_CREAT(creat)
WEFT_DEFINE_CREAT(creat64)

int hook_flock(int fd, int operation) {
    if ((operation & (LOCK_NB | LOCK_UN)) != 0 || WEFT_TAKEN(flock) == nullptr) {
        return WEFT_ORIGINAL(flock)(fd, operation);
    }
    return told<int>([&] {
        return take_lock([=](bool try_it) {
            return call(SYS_flock, fd, try_it ? operation | LOCK_NB : operation);
        });
    });
}

#define WEFT_DEFINE_LOCKF(name)                                                        \
    int hook_##name(int fd, int command, off_t size) {                                 \
        if (command != F_LOCK || WEFT_TAKEN(name) == nullptr) {                        \
            return WEFT_ORIGINAL(name)(fd, command, size);                             \
        }                                                                              \
        struct flock lock {};                                                          \
        lock.l_type = F_WRLCK;                                                         \
        lock.l_whence = SEEK_CUR;                                                      \
        lock.l_len = size;                                                             \
        return answer<int>(                                                            \
            [&] { return lock_record(fd, F_SETLKW, reinterpret_cast<long>(&lock)); }); \
    }
WEFT_DEFINE_LOCKF(lockf)
WEFT_DEFINE_LOCKF(lockf64)

#define WEFT_DEFINE_FCNTL(name)                                                 \
    int hook_##name(int fd, int command, long argument) {                       \
        if (!waits_for_lock(command) || WEFT_TAKEN(name) == nullptr) {          \
            return WEFT_ORIGINAL(name)(fd, command, argument);                  \
        }                                                                       \
        return answer<int>([&] { return lock_record(fd, command, argument); }); \
    }
WEFT_DEFINE_FCNTL(fcntl)
WEFT_DEFINE_FCNTL(fcntl64)
WEFT_DEFINE_FCNTL(__fcntl)

// --- what can only be waited for by a thread ---

void hook_sync() {
    if (WEFT_TAKEN(sync) == nullptr) return WEFT_ORIGINAL(sync)();
    (void)told([] {
        return on_thread([]() -> long {
            WEFT_ORIGINAL(sync)();
            return 0;
        });
    });
}

int hook_syncfs(int fd) {
    if (WEFT_TAKEN(syncfs) == nullptr) return WEFT_ORIGINAL(syncfs)(fd);
    return told<int>([=] { return on_thread([=] { return call(SYS_syncfs, fd); }); });
}

int hook_msync(void* data, size_t size, int flags) {
    if (WEFT_TAKEN(msync) == nullptr) return WEFT_ORIGINAL(msync)(data, size, flags);
    return answer<int>(
        [=] { return on_thread([=] { return call(SYS_msync, data, size, flags); }); });
}

ssize_t hook_copy_file_range(int from, off64_t* from_offset, int to, off64_t* to_offset,
                             size_t size, unsigned flags) {
    if (WEFT_TAKEN(copy_file_range) == nullptr) {
        return WEFT_ORIGINAL(copy_file_range)(from, from_offset, to, to_offset, size, flags);
    }
    return answer([=]() -> long {
        const auto copy = [=] {
            return on_thread([=] {
                return call(SYS_copy_file_range, from, from_offset, to, to_offset, size, flags);
            });
        };
        for (;;) {
            {
                const ForeignUse use{from};
                if (to == from) return copy();
                const ForeignUse other{to, ForeignUse::if_not_closing};
                if (!other.closing()) return copy();
            }
            const ForeignUse until_closed{to};
        }
    });
}

int hook_tcdrain(int fd) {
    if (WEFT_TAKEN(tcdrain) == nullptr) return WEFT_ORIGINAL(tcdrain)(fd);
    return answer<int>(
        [=] { return on_own_thread([=] { return call(SYS_ioctl, fd, TCSBRK, 1L); }); });
}

int hook_tcsendbreak(int fd, int duration) {
    if (WEFT_TAKEN(tcsendbreak) == nullptr) return WEFT_ORIGINAL(tcsendbreak)(fd, duration);
    return answer<int>([=] {
        return on_thread(
            [=]() -> long { return WEFT_ORIGINAL(tcsendbreak)(fd, duration) == 0 ? 0 : -errno; });
    });
}

int hook_tcsetattr(int fd, int when, const termios* settings) {
    const bool waits = when == TCSADRAIN || when == TCSAFLUSH;
    if (!waits || WEFT_TAKEN(tcsetattr) == nullptr) {
        return WEFT_ORIGINAL(tcsetattr)(fd, when, settings);
    }
    return answer<int>([=] {
        return on_own_thread([=]() -> long {
            return WEFT_ORIGINAL(tcsetattr)(fd, when, settings) == 0 ? 0 : -errno;
        });
    });
}

// --- numbers that change hands ---

namespace {

bool is_open(int fd) noexcept { return call(SYS_fcntl, fd, F_GETFD, 0L) >= 0; }

void close_by_thread(int fd) noexcept {
    const auto close = [fd]() -> long {
        weft::detail::close_number(fd);
        return 0;
    };
    if (on_own_thread(close) < 0) close();  // there is none
}

/// Has a second descriptor of a file closed, so that its server is told before the number is given
/// up, and there is less to tell it by then. (To have a thread give the number up would not do:
/// while it waits the number may be another's already.)
void tell_machine(int fd) noexcept {
    (void)on_own_thread([fd]() -> long {
        weft::detail::learn_file_system(fd);
        const long second = call(SYS_fcntl, fd, long{F_DUPFD_CLOEXEC}, 0L);
        if (second >= 0) weft::detail::close_number(static_cast<int>(second));
        return 0;
    });
}

/// `change()` of the number `fd`, which is another's afterwards.
template <class Change>
int close_number_by(int fd, Change&& change) noexcept {
    const weft::this_fiber::Pin pin;
    const auto changed = [&]() -> long {
        const int result = change();
        return result < 0 ? -errno : result;
    };
    return told<int>([&]() -> long {
        using weft::detail::FileClose;
        const FileClose how = weft::detail::close_of_file(fd);
        if (how == FileClose::tells_machine) tell_machine(fd);
        // The number is another's at once; what sleeps is the close of a second one.
        const bool sleeps = how == FileClose::frees_much || weft::detail::lingers(fd);
        const long kept = sleeps ? call(SYS_fcntl, fd, long{F_DUPFD_CLOEXEC}, 0L) : -1;
        long result = 0;
        {
            const weft::detail::ClosingNumber closing{fd};
            result = changed();
        }
        if (kept >= 0) close_by_thread(static_cast<int>(kept));
        return result;
    });
}

}  // namespace

#define WEFT_DEFINE_CLOSE(name)                                              \
    int hook_##name(int fd) {                                                \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(fd);     \
        leave_if_cancelled();                                                \
        return close_number_by(fd, [=] { return WEFT_ORIGINAL(name)(fd); }); \
    }
WEFT_DEFINE_CLOSE(close)
WEFT_DEFINE_CLOSE(__close)

#define WEFT_DEFINE_DUP2(name)                                                     \
    int hook_##name(int from, int to) {                                            \
        if (from == to || WEFT_TAKEN(name) == nullptr || !is_open(from))           \
            return WEFT_ORIGINAL(name)(from, to);                                  \
        return close_number_by(to, [=] { return WEFT_ORIGINAL(name)(from, to); }); \
    }
WEFT_DEFINE_DUP2(dup2)
WEFT_DEFINE_DUP2(__dup2)

int hook_dup3(int from, int to, int flags) {
    const bool bad = from == to || (flags & ~O_CLOEXEC) != 0;
    if (bad || WEFT_TAKEN(dup3) == nullptr || !is_open(from))
        return WEFT_ORIGINAL(dup3)(from, to, flags);
    return close_number_by(to, [=] { return WEFT_ORIGINAL(dup3)(from, to, flags); });
}
