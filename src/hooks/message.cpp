// Hooks on what processes wait for from each other by queues and semaphores, and on waits for
// POSIX's asynchronous I/O. Layer: hooks. Uses: task.
//
// Each is tried as it is but for waiting; what then would wait is made by a thread.
#include "hooks/descriptor.hpp"
#include "hooks/thread_call.hpp"
#include "io/timespec.hpp"

#include <sys/syscall.h>

#include <array>

namespace weft::hooks::detail {

namespace {

constexpr timespec long_ago{};

/// `attempt(true)` says `not_now` instead of waiting.
template <class Attempt>
long wait_on_thread(int not_now, Attempt&& attempt) noexcept {
    const long result = attempt(true);
    if (result != -not_now) return result;
    return on_own_thread([&] { return attempt(false); });
}

/// Whether the kernel refuses that time, even of a call that would not wait.
bool is_refused(const timespec* time) noexcept {
    return time != nullptr && (!is_readable(time, sizeof *time) || !weft::detail::is_valid(*time));
}

/// A call of libc's that sets errno, as one that says -errno.
template <class Call>
long checked(Call&& made) noexcept {
    const long result = made();
    return result < 0 ? -errno : result;
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- POSIX message queues, where a moment that has passed is no reason to fail ---

int hook_mq_timedsend(mqd_t queue, const char* data, size_t size, unsigned priority,
                      const timespec* until) {
    if (WEFT_TAKEN(mq_timedsend) == nullptr) {
        return WEFT_ORIGINAL(mq_timedsend)(queue, data, size, priority, until);
    }
    return answer<int>([=] {
        if (returns_at_once(queue) || is_refused(until)) {
            return call(SYS_mq_timedsend, queue, data, size, priority, until);
        }
        return wait_on_thread(ETIMEDOUT, [=](bool at_once) {
            return call(SYS_mq_timedsend, queue, data, size, priority, at_once ? &long_ago : until);
        });
    });
}

int hook_mq_send(mqd_t queue, const char* data, size_t size, unsigned priority) {
    if (WEFT_TAKEN(mq_send) == nullptr) {
        return WEFT_ORIGINAL(mq_send)(queue, data, size, priority);
    }
    return answer<int>([=] {
        return wait_on_thread(ETIMEDOUT, [=](bool at_once) {
            return call(SYS_mq_timedsend, queue, data, size, priority,
                        at_once ? &long_ago : nullptr);
        });
    });
}

ssize_t hook_mq_timedreceive(mqd_t queue, char* data, size_t size, unsigned* priority,
                             const timespec* until) {
    if (WEFT_TAKEN(mq_timedreceive) == nullptr) {
        return WEFT_ORIGINAL(mq_timedreceive)(queue, data, size, priority, until);
    }
    return answer([=] {
        if (returns_at_once(queue) || is_refused(until)) {
            return call(SYS_mq_timedreceive, queue, data, size, priority, until);
        }
        return wait_on_thread(ETIMEDOUT, [=](bool at_once) {
            return call(SYS_mq_timedreceive, queue, data, size, priority,
                        at_once ? &long_ago : until);
        });
    });
}

ssize_t hook_mq_receive(mqd_t queue, char* data, size_t size, unsigned* priority) {
    if (WEFT_TAKEN(mq_receive) == nullptr) {
        return WEFT_ORIGINAL(mq_receive)(queue, data, size, priority);
    }
    return answer([=] {
        return wait_on_thread(ETIMEDOUT, [=](bool at_once) {
            return call(SYS_mq_timedreceive, queue, data, size, priority,
                        at_once ? &long_ago : nullptr);
        });
    });
}

// --- System V ---

int hook_msgsnd(int queue, const void* message, size_t size, int flags) {
    if ((flags & IPC_NOWAIT) != 0 || WEFT_TAKEN(msgsnd) == nullptr) {
        return WEFT_ORIGINAL(msgsnd)(queue, message, size, flags);
    }
    return answer<int>([=] {
        return wait_on_thread(EAGAIN, [=](bool at_once) {
            return call(SYS_msgsnd, queue, message, size, flags | (at_once ? IPC_NOWAIT : 0));
        });
    });
}

ssize_t hook_msgrcv(int queue, void* message, size_t size, long type, int flags) {
    if ((flags & IPC_NOWAIT) != 0 || WEFT_TAKEN(msgrcv) == nullptr) {
        return WEFT_ORIGINAL(msgrcv)(queue, message, size, type, flags);
    }
    return answer([=] {
        return wait_on_thread(ENOMSG, [=](bool at_once) {
            return call(SYS_msgrcv, queue, message, size, type, flags | (at_once ? IPC_NOWAIT : 0));
        });
    });
}

// A time limit of nothing is EAGAIN, as IPC_NOWAIT of the operation that waits would be. SEM_UNDO
// is a matter of the process.
int hook_semtimedop(int set, sembuf* operations, size_t count, const timespec* timeout) {
    if (WEFT_TAKEN(semtimedop) == nullptr) {
        return WEFT_ORIGINAL(semtimedop)(set, operations, count, timeout);
    }
    return told<int>([=] {
        if (is_refused(timeout)) return call(SYS_semtimedop, set, operations, count, timeout);
        return wait_on_thread(EAGAIN, [=](bool at_once) {
            return call(SYS_semtimedop, set, operations, count, at_once ? &long_ago : timeout);
        });
    });
}

int hook_semop(int set, sembuf* operations, size_t count) {
    if (WEFT_TAKEN(semop) == nullptr) return WEFT_ORIGINAL(semop)(set, operations, count);
    return told<int>([=] {
        return wait_on_thread(EAGAIN, [=](bool at_once) {
            return call(SYS_semtimedop, set, operations, count, at_once ? &long_ago : nullptr);
        });
    });
}

// --- asynchronous I/O ---

#define WEFT_DEFINE_AIO_SUSPEND(name, block)                                               \
    int hook_##name(const block* const* list, int count, const timespec* timeout) {        \
        if (WEFT_TAKEN(name) == nullptr) return WEFT_ORIGINAL(name)(list, count, timeout); \
        return answer<int>([=] {                                                           \
            return on_own_thread([=] {                                                     \
                return checked([=] { return WEFT_ORIGINAL(name)(list, count, timeout); }); \
            });                                                                            \
        });                                                                                \
    }
WEFT_DEFINE_AIO_SUSPEND(aio_suspend, aiocb)
WEFT_DEFINE_AIO_SUSPEND(aio_suspend64, aiocb64)

#define WEFT_DEFINE_LIO_LISTIO(name, block)                                                    \
    int hook_##name(int mode, block* const* list, int count, sigevent* event) {                \
        if (mode != LIO_WAIT || WEFT_TAKEN(name) == nullptr) {                                 \
            return WEFT_ORIGINAL(name)(mode, list, count, event);                              \
        }                                                                                      \
        return answer<int>([=] {                                                               \
            return on_own_thread([=] {                                                         \
                return checked([=] { return WEFT_ORIGINAL(name)(mode, list, count, event); }); \
            });                                                                                \
        });                                                                                    \
    }
WEFT_DEFINE_LIO_LISTIO(lio_listio, aiocb)
WEFT_DEFINE_LIO_LISTIO(lio_listio64, aiocb64)
