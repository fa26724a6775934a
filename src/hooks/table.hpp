// The table of hooks: every libc symbol that weft replaces, once.
// Layer: hooks. Uses: libc.
//
// The hooks' declarations, the originals, hooks::report() and the tests are made from it:
// WEFT_HOOKS(HOOK) is HOOK(category, result, name, parameters) for each symbol. A hook is
// defined as `result hook_name parameters`; its symbol is `name`. So neither the macros of
// libc's headers nor its inline functions get in the way.
//
// What libc declares with "..." is declared here with the one argument that it may have:
// where that was not given its register holds something, which libc does not look at. (Those
// of exec*() are any number, and collected by the hook.)
//
// Of libc's other names for the same function (tests/hooks/symbols_test.py finds them) each has
// a row, too, but for what is told there.
#pragma once

#include <aio.h>
#include <fcntl.h>
#include <grp.h>
#include <mqueue.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <resolv.h>
#include <semaphore.h>
#include <shadow.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

// glibc's names for its own names; here the symbols are meant.
#undef res_nquery
#undef res_nquerydomain
#undef res_nsearch
#undef res_nsend
#undef res_query
#undef res_querydomain
#undef res_search
#undef res_send

namespace weft::hooks::detail {

/// What is patched together, as bits.
using Category = std::uint32_t;
inline constexpr Category c_socket = 1;
inline constexpr Category c_select = 2;
inline constexpr Category c_time = 4;
inline constexpr Category c_dns = 8;
inline constexpr Category c_file = 16;
inline constexpr Category c_process = 32;
inline constexpr Category c_threads = 64;
inline constexpr Category c_any_fd = c_socket | c_file;
/// Not patched but switched on, as the program starts.
inline constexpr Category c_runner = 128;
/// What keeps the others right, whichever they are.
inline constexpr Category c_always = 127;

}  // namespace weft::hooks::detail

// clang-format off
#define WEFT_SOCKET_HOOKS(HOOK) \
    HOOK(c_socket, int, accept, (int fd, sockaddr* address, socklen_t* length)) \
    HOOK(c_socket, int, accept4, (int fd, sockaddr* address, socklen_t* length, int flags)) \
    HOOK(c_socket, int, connect, (int fd, const sockaddr* address, socklen_t length)) \
    HOOK(c_socket, int, __connect, (int fd, const sockaddr* address, socklen_t length)) \
    HOOK(c_socket, ssize_t, __recv, (int fd, void* data, size_t size, int flags)) \
    HOOK(c_socket, ssize_t, __send, (int fd, const void* data, size_t size, int flags)) \
    HOOK(c_socket, int, __sendmmsg, (int fd, mmsghdr* messages, unsigned count, int flags)) \
    HOOK(c_socket, ssize_t, recv, (int fd, void* data, size_t size, int flags)) \
    HOOK(c_socket, ssize_t, __recv_chk, (int fd, void* data, size_t size, size_t room, int flags)) \
    HOOK(c_socket, ssize_t, recvfrom, (int fd, void* data, size_t size, int flags, sockaddr* address, socklen_t* length)) \
    HOOK(c_socket, ssize_t, __recvfrom_chk, (int fd, void* data, size_t size, size_t room, int flags, sockaddr* address, socklen_t* length)) \
    HOOK(c_socket, ssize_t, recvmsg, (int fd, msghdr* message, int flags)) \
    HOOK(c_socket, int, recvmmsg, (int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout)) \
    HOOK(c_socket, ssize_t, send, (int fd, const void* data, size_t size, int flags)) \
    HOOK(c_socket, ssize_t, sendto, (int fd, const void* data, size_t size, int flags, const sockaddr* address, socklen_t length)) \
    HOOK(c_socket, ssize_t, sendmsg, (int fd, const msghdr* message, int flags)) \
    HOOK(c_socket, int, sendmmsg, (int fd, mmsghdr* messages, unsigned count, int flags))

#define WEFT_FILE_HOOKS(HOOK) \
    HOOK(c_any_fd, ssize_t, read, (int fd, void* data, size_t size)) \
    HOOK(c_any_fd, ssize_t, __read_chk, (int fd, void* data, size_t size, size_t room)) \
    HOOK(c_any_fd, ssize_t, __read, (int fd, void* data, size_t size)) \
    HOOK(c_any_fd, ssize_t, readv, (int fd, const iovec* pieces, int count)) \
    HOOK(c_any_fd, ssize_t, write, (int fd, const void* data, size_t size)) \
    HOOK(c_any_fd, ssize_t, __write, (int fd, const void* data, size_t size)) \
    HOOK(c_any_fd, ssize_t, writev, (int fd, const iovec* pieces, int count)) \
    HOOK(c_file, ssize_t, pread, (int fd, void* data, size_t size, off_t offset)) \
    HOOK(c_file, ssize_t, pread64, (int fd, void* data, size_t size, off_t offset)) \
    HOOK(c_file, ssize_t, __pread64, (int fd, void* data, size_t size, off_t offset)) \
    HOOK(c_file, ssize_t, __pread_chk, (int fd, void* data, size_t size, off_t offset, size_t room)) \
    HOOK(c_file, ssize_t, __pread64_chk, (int fd, void* data, size_t size, off_t offset, size_t room)) \
    HOOK(c_file, ssize_t, pwrite, (int fd, const void* data, size_t size, off_t offset)) \
    HOOK(c_file, ssize_t, pwrite64, (int fd, const void* data, size_t size, off_t offset)) \
    HOOK(c_file, ssize_t, __pwrite64, (int fd, const void* data, size_t size, off_t offset)) \
    HOOK(c_file, ssize_t, preadv, (int fd, const iovec* pieces, int count, off_t offset)) \
    HOOK(c_file, ssize_t, preadv64, (int fd, const iovec* pieces, int count, off_t offset)) \
    HOOK(c_file, ssize_t, pwritev, (int fd, const iovec* pieces, int count, off_t offset)) \
    HOOK(c_file, ssize_t, pwritev64, (int fd, const iovec* pieces, int count, off_t offset)) \
    HOOK(c_any_fd, ssize_t, preadv2, (int fd, const iovec* pieces, int count, off_t offset, int flags)) \
    HOOK(c_any_fd, ssize_t, preadv64v2, (int fd, const iovec* pieces, int count, off_t offset, int flags)) \
    HOOK(c_any_fd, ssize_t, pwritev2, (int fd, const iovec* pieces, int count, off_t offset, int flags)) \
    HOOK(c_any_fd, ssize_t, pwritev64v2, (int fd, const iovec* pieces, int count, off_t offset, int flags)) \
    HOOK(c_any_fd, int, eventfd_read, (int fd, eventfd_t* value)) \
    HOOK(c_any_fd, int, eventfd_write, (int fd, eventfd_t value)) \
    HOOK(c_any_fd, ssize_t, tee, (int from, int to, size_t size, unsigned flags)) \
    HOOK(c_any_fd, ssize_t, vmsplice, (int fd, const iovec* pieces, size_t count, unsigned flags)) \
    HOOK(c_any_fd, ssize_t, sendfile, (int to, int from, off_t* offset, size_t size)) \
    HOOK(c_any_fd, ssize_t, sendfile64, (int to, int from, off_t* offset, size_t size)) \
    HOOK(c_any_fd, ssize_t, splice, (int from, off_t* from_offset, int to, off_t* to_offset, size_t size, unsigned flags)) \
    HOOK(c_file, int, fsync, (int fd)) \
    HOOK(c_file, int, fdatasync, (int fd)) \
    HOOK(c_file, int, open, (const char* path, int flags, mode_t mode)) \
    HOOK(c_file, int, open64, (const char* path, int flags, mode_t mode)) \
    HOOK(c_file, int, __open, (const char* path, int flags, mode_t mode)) \
    HOOK(c_file, int, __open64, (const char* path, int flags, mode_t mode)) \
    HOOK(c_file, int, __open_2, (const char* path, int flags)) \
    HOOK(c_file, int, __open64_2, (const char* path, int flags)) \
    HOOK(c_file, int, openat, (int directory, const char* path, int flags, mode_t mode)) \
    HOOK(c_file, int, openat64, (int directory, const char* path, int flags, mode_t mode)) \
    HOOK(c_file, int, __openat_2, (int directory, const char* path, int flags)) \
    HOOK(c_file, int, __openat64_2, (int directory, const char* path, int flags)) \
    HOOK(c_file, int, creat, (const char* path, mode_t mode)) \
    HOOK(c_file, int, creat64, (const char* path, mode_t mode)) \
    HOOK(c_file, void, sync, ()) \
    HOOK(c_file, int, syncfs, (int fd)) \
    HOOK(c_file, int, msync, (void* data, size_t size, int flags)) \
    HOOK(c_file, ssize_t, copy_file_range, (int from, off64_t* from_offset, int to, off64_t* to_offset, size_t size, unsigned flags)) \
    HOOK(c_file, int, tcdrain, (int fd)) \
    HOOK(c_file, int, tcsendbreak, (int fd, int duration)) \
    HOOK(c_file, int, tcsetattr, (int fd, int when, const termios* settings)) \
    HOOK(c_file, int, flock, (int fd, int operation)) \
    HOOK(c_file, int, lockf, (int fd, int command, off_t size)) \
    HOOK(c_file, int, lockf64, (int fd, int command, off_t size)) \
    HOOK(c_file, int, fcntl, (int fd, int command, long argument)) \
    HOOK(c_file, int, __fcntl, (int fd, int command, long argument)) \
    HOOK(c_file, int, fcntl64, (int fd, int command, long argument)) \
    HOOK(c_always, int, close, (int fd)) \
    HOOK(c_always, int, __close, (int fd)) \
    HOOK(c_always, int, dup2, (int from, int to)) \
    HOOK(c_always, int, __dup2, (int from, int to)) \
    HOOK(c_always, int, dup3, (int from, int to, int flags))

#define WEFT_SELECT_HOOKS(HOOK) \
    HOOK(c_select, int, poll, (pollfd* fds, nfds_t count, int timeout_ms)) \
    HOOK(c_select, int, __poll, (pollfd* fds, nfds_t count, int timeout_ms)) \
    HOOK(c_select, int, __poll_chk, (pollfd* fds, nfds_t count, int timeout_ms, size_t room)) \
    HOOK(c_select, int, ppoll, (pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask)) \
    HOOK(c_select, int, __ppoll_chk, (pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask, size_t room)) \
    HOOK(c_select, int, select, (int count, fd_set* readable, fd_set* writable, fd_set* exceptional, timeval* timeout)) \
    HOOK(c_select, int, __select, (int count, fd_set* readable, fd_set* writable, fd_set* exceptional, timeval* timeout)) \
    HOOK(c_select, int, pselect, (int count, fd_set* readable, fd_set* writable, fd_set* exceptional, const timespec* timeout, const sigset_t* mask)) \
    HOOK(c_select, int, epoll_wait, (int fd, epoll_event* events, int count, int timeout_ms)) \
    HOOK(c_select, int, epoll_pwait, (int fd, epoll_event* events, int count, int timeout_ms, const sigset_t* mask)) \
    HOOK(c_select, int, epoll_pwait2, (int fd, epoll_event* events, int count, const timespec* timeout, const sigset_t* mask))

#define WEFT_TIME_HOOKS(HOOK) \
    HOOK(c_time, unsigned, sleep, (unsigned seconds)) \
    HOOK(c_time, int, usleep, (useconds_t microseconds)) \
    HOOK(c_time, int, nanosleep, (const timespec* time, timespec* left)) \
    HOOK(c_time, int, __nanosleep, (const timespec* time, timespec* left)) \
    HOOK(c_time, int, clock_nanosleep, (clockid_t clock, int flags, const timespec* time, timespec* left)) \
    HOOK(c_time, int, thrd_sleep, (const timespec* time, timespec* left))

#define WEFT_DNS_HOOKS(HOOK) \
    HOOK(c_dns, int, getaddrinfo, (const char* host, const char* service, const addrinfo* hints, addrinfo** found)) \
    HOOK(c_dns, int, getnameinfo, (const sockaddr* address, socklen_t length, char* host, socklen_t host_room, char* service, socklen_t service_room, int flags)) \
    HOOK(c_dns, hostent*, gethostbyname, (const char* name)) \
    HOOK(c_dns, hostent*, gethostbyname2, (const char* name, int family)) \
    HOOK(c_dns, hostent*, gethostbyaddr, (const void* address, socklen_t length, int family)) \
    HOOK(c_dns, int, gethostbyname_r, (const char* name, hostent* entry, char* room, size_t size, hostent** found, int* error)) \
    HOOK(c_dns, int, gethostbyname2_r, (const char* name, int family, hostent* entry, char* room, size_t size, hostent** found, int* error)) \
    HOOK(c_dns, int, gethostbyaddr_r, (const void* address, socklen_t length, int family, hostent* entry, char* room, size_t size, hostent** found, int* error)) \
    HOOK(c_dns, int, __res_nquery, (res_state state, const char* name, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, res_nquery, (res_state state, const char* name, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, __res_nquerydomain, (res_state state, const char* name, const char* domain, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, res_nquerydomain, (res_state state, const char* name, const char* domain, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, __res_querydomain, (const char* name, const char* domain, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, res_querydomain, (const char* name, const char* domain, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, gai_suspend, (const gaicb* const* list, int count, const timespec* timeout)) \
    HOOK(c_dns, int, __res_nsearch, (res_state state, const char* name, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, res_nsearch, (res_state state, const char* name, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, __res_nsend, (res_state state, const unsigned char* query, int size, unsigned char* answer, int room)) \
    HOOK(c_dns, int, res_nsend, (res_state state, const unsigned char* query, int size, unsigned char* answer, int room)) \
    HOOK(c_dns, int, __res_query, (const char* name, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, res_query, (const char* name, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, __res_search, (const char* name, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, res_search, (const char* name, int of_class, int type, unsigned char* answer, int room)) \
    HOOK(c_dns, int, __res_send, (const unsigned char* query, int size, unsigned char* answer, int room)) \
    HOOK(c_dns, int, res_send, (const unsigned char* query, int size, unsigned char* answer, int room)) \
    HOOK(c_dns, passwd*, getpwnam, (const char* wanted)) \
    HOOK(c_dns, passwd*, getpwuid, (uid_t wanted)) \
    HOOK(c_dns, group*, getgrnam, (const char* wanted)) \
    HOOK(c_dns, group*, getgrgid, (gid_t wanted)) \
    HOOK(c_dns, int, getpwnam_r, (const char* wanted, passwd* into, char* room, size_t size, passwd** found)) \
    HOOK(c_dns, int, getpwuid_r, (uid_t wanted, passwd* into, char* room, size_t size, passwd** found)) \
    HOOK(c_dns, int, getgrnam_r, (const char* wanted, group* into, char* room, size_t size, group** found)) \
    HOOK(c_dns, int, getgrgid_r, (gid_t wanted, group* into, char* room, size_t size, group** found)) \
    HOOK(c_dns, spwd*, getspnam, (const char* wanted)) \
    HOOK(c_dns, int, getspnam_r, (const char* wanted, spwd* into, char* room, size_t size, spwd** found)) \
    HOOK(c_dns, int, getgrouplist, (const char* user, gid_t also, gid_t* groups, int* count)) \
    HOOK(c_dns, int, initgroups, (const char* user, gid_t also))

#define WEFT_PROCESS_HOOKS(HOOK) \
    HOOK(c_process, pid_t, wait, (int* status)) \
    HOOK(c_process, pid_t, waitpid, (pid_t pid, int* status, int options)) \
    HOOK(c_process, pid_t, __wait, (int* status)) \
    HOOK(c_process, pid_t, __waitpid, (pid_t pid, int* status, int options)) \
    HOOK(c_process, pid_t, wait3, (int* status, int options, rusage* usage)) \
    HOOK(c_process, pid_t, wait4, (pid_t pid, int* status, int options, rusage* usage)) \
    HOOK(c_process, int, waitid, (int kind, id_t id, siginfo_t* info, int options)) \
    HOOK(c_process, int, system, (const char* command)) \
    HOOK(c_process, FILE*, popen, (const char* command, const char* mode)) \
    HOOK(c_process, FILE*, _IO_popen, (const char* command, const char* mode)) \
    HOOK(c_process, int, pclose, (FILE* stream)) \
    HOOK(c_process, int, pause, ()) \
    HOOK(c_process, int, sigsuspend, (const sigset_t* mask)) \
    HOOK(c_process, int, __sigsuspend, (const sigset_t* mask)) \
    HOOK(c_process, int, sigpause, (int mask)) \
    HOOK(c_process, int, __sigpause, (int signal_or_mask, int is_signal)) \
    HOOK(c_process, int, __xpg_sigpause, (int signal)) \
    HOOK(c_process, int, sigwait, (const sigset_t* set, int* signal)) \
    HOOK(c_process, int, sigwaitinfo, (const sigset_t* set, siginfo_t* info)) \
    HOOK(c_process, int, sigtimedwait, (const sigset_t* set, siginfo_t* info, const timespec* timeout))

// Of weft-run --threads: what names a thread, which may be a fiber.
#define WEFT_FIBER_THREAD_HOOKS(HOOK) \
    HOOK(c_runner, int, __libc_start_main, (int (*program)(int, char**, char**), int count, char** arguments, void (*begin)(), void (*end)(), void (*loader_end)(), void* stack)) \
    HOOK(c_runner, int, pthread_create, (pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument)) \
    HOOK(c_runner, int, pthread_tryjoin_np, (pthread_t thread, void** result)) \
    HOOK(c_runner, int, pthread_detach, (pthread_t thread)) \
    HOOK(c_runner, void, pthread_exit, (void* result)) \
    HOOK(c_runner, pthread_t, pthread_self, ()) \
    HOOK(c_runner, int, pthread_kill, (pthread_t thread, int signal)) \
    HOOK(c_runner, int, pthread_sigqueue, (pthread_t thread, int signal, sigval value)) \
    HOOK(c_runner, int, pthread_cancel, (pthread_t thread)) \
    HOOK(c_runner, void, pthread_testcancel, ()) \
    HOOK(c_runner, int, pthread_setcancelstate, (int state, int* before)) \
    HOOK(c_runner, int, pthread_setcanceltype, (int type, int* before)) \
    HOOK(c_runner, void, __pthread_register_cancel, (__pthread_unwind_buf_t* pushed)) \
    HOOK(c_runner, void, __pthread_unregister_cancel, (__pthread_unwind_buf_t* pushed)) \
    HOOK(c_runner, void, __pthread_register_cancel_defer, (__pthread_unwind_buf_t* pushed)) \
    HOOK(c_runner, void, __pthread_unregister_cancel_restore, (__pthread_unwind_buf_t* pushed)) \
    HOOK(c_runner, void, __pthread_unwind_next, (__pthread_unwind_buf_t* pushed)) \
    HOOK(c_runner, int, pthread_setname_np, (pthread_t thread, const char* name)) \
    HOOK(c_runner, int, pthread_getname_np, (pthread_t thread, char* name, size_t room)) \
    HOOK(c_runner, int, pthread_getattr_np, (pthread_t thread, pthread_attr_t* attributes)) \
    HOOK(c_runner, int, pthread_setaffinity_np, (pthread_t thread, size_t size, const cpu_set_t* cpus)) \
    HOOK(c_runner, int, pthread_getaffinity_np, (pthread_t thread, size_t size, cpu_set_t* cpus)) \
    HOOK(c_runner, int, pthread_setschedparam, (pthread_t thread, int policy, const sched_param* parameters)) \
    HOOK(c_runner, int, pthread_setschedprio, (pthread_t thread, int priority)) \
    HOOK(c_runner, int, pthread_getschedparam, (pthread_t thread, int* policy, sched_param* parameters)) \
    HOOK(c_runner, int, pthread_getcpuclockid, (pthread_t thread, clockid_t* clock)) \
    HOOK(c_runner, int, thrd_create, (thrd_t* thread, int (*body)(void*), void* argument)) \
    HOOK(c_runner, int, thrd_detach, (thrd_t thread)) \
    HOOK(c_runner, thrd_t, thrd_current, ()) \
    HOOK(c_runner, void, thrd_exit, (int result)) \
    HOOK(c_runner, int, raise, (int signal)) \
    HOOK(c_runner, int, gsignal, (int signal)) \
    HOOK(c_runner, int, kill, (pid_t pid, int signal)) \
    HOOK(c_runner, int, signalfd, (int fd, const sigset_t* set, int flags)) \
    HOOK(c_runner, int, sigpending, (sigset_t* set)) \
    HOOK(c_runner, int, sigblock, (int mask)) \
    HOOK(c_runner, int, sigsetmask, (int mask)) \
    HOOK(c_runner, int, siggetmask, ()) \
    HOOK(c_runner, int, sighold, (int signal)) \
    HOOK(c_runner, int, sigrelse, (int signal))

// Queues of messages and semaphores between processes, and POSIX's asynchronous I/O.
#define WEFT_MESSAGE_HOOKS(HOOK) \
    HOOK(c_process, int, mq_send, (mqd_t queue, const char* data, size_t size, unsigned priority)) \
    HOOK(c_process, int, mq_timedsend, (mqd_t queue, const char* data, size_t size, unsigned priority, const timespec* until)) \
    HOOK(c_process, ssize_t, mq_receive, (mqd_t queue, char* data, size_t size, unsigned* priority)) \
    HOOK(c_process, ssize_t, mq_timedreceive, (mqd_t queue, char* data, size_t size, unsigned* priority, const timespec* until)) \
    HOOK(c_process, int, msgsnd, (int queue, const void* message, size_t size, int flags)) \
    HOOK(c_process, ssize_t, msgrcv, (int queue, void* message, size_t size, long type, int flags)) \
    HOOK(c_process, int, semop, (int set, sembuf* operations, size_t count)) \
    HOOK(c_process, int, semtimedop, (int set, sembuf* operations, size_t count, const timespec* timeout)) \
    HOOK(c_file, int, aio_suspend, (const aiocb* const* list, int count, const timespec* timeout)) \
    HOOK(c_file, int, aio_suspend64, (const aiocb64* const* list, int count, const timespec* timeout)) \
    HOOK(c_file, int, lio_listio, (int mode, aiocb* const* list, int count, sigevent* event)) \
    HOOK(c_file, int, lio_listio64, (int mode, aiocb64* const* list, int count, sigevent* event))

#if defined(__x86_64__) || defined(__aarch64__)
#define WEFT_VFORK_HOOKS(HOOK) \
    HOOK(c_always, pid_t, vfork, ()) \
    HOOK(c_always, pid_t, __vfork, ())
#else
#define WEFT_VFORK_HOOKS(HOOK)
#endif

// None of these waits: they keep signals and children right.
#define WEFT_SIGNAL_HOOKS(HOOK) \
    HOOK(c_always, int, sigaction, (int signal, const struct sigaction* action, struct sigaction* before)) \
    HOOK(c_always, int, __sigaction, (int signal, const struct sigaction* action, struct sigaction* before)) \
    HOOK(c_always, sighandler_t, signal, (int signal, sighandler_t handler)) \
    HOOK(c_always, sighandler_t, bsd_signal, (int signal, sighandler_t handler)) \
    HOOK(c_always, sighandler_t, ssignal, (int signal, sighandler_t handler)) \
    HOOK(c_always, sighandler_t, sysv_signal, (int signal, sighandler_t handler)) \
    HOOK(c_always, sighandler_t, __sysv_signal, (int signal, sighandler_t handler)) \
    HOOK(c_always, sighandler_t, sigset, (int signal, sighandler_t handler)) \
    HOOK(c_always, int, pthread_sigmask, (int how, const sigset_t* set, sigset_t* before)) \
    HOOK(c_always, int, sigprocmask, (int how, const sigset_t* set, sigset_t* before)) \
    HOOK(c_always, int, posix_spawn, (pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* how, char* const* arguments, char* const* environment)) \
    HOOK(c_always, int, posix_spawnp, (pid_t* pid, const char* path, const posix_spawn_file_actions_t* actions, const posix_spawnattr_t* how, char* const* arguments, char* const* environment)) \
    HOOK(c_always, int, execl, (const char* path, const char* argument, ...)) \
    HOOK(c_always, int, execle, (const char* path, const char* argument, ...)) \
    HOOK(c_always, int, execlp, (const char* file, const char* argument, ...)) \
    HOOK(c_always, int, execv, (const char* path, char* const* arguments)) \
    HOOK(c_always, int, execve, (const char* path, char* const* arguments, char* const* environment)) \
    HOOK(c_always, int, execvp, (const char* file, char* const* arguments)) \
    HOOK(c_always, int, execvpe, (const char* file, char* const* arguments, char* const* environment)) \
    HOOK(c_always, int, fexecve, (int fd, char* const* arguments, char* const* environment)) \
    HOOK(c_always, int, execveat, (int directory, const char* path, char* const* arguments, char* const* environment, int flags)) \
    HOOK(c_always, pid_t, _Fork, ()) \
    WEFT_VFORK_HOOKS(HOOK)

#define WEFT_LOCK_HOOKS(HOOK) \
    HOOK(c_threads, int, pthread_mutex_lock, (pthread_mutex_t* mutex)) \
    HOOK(c_threads, int, __pthread_mutex_lock, (pthread_mutex_t* mutex)) \
    HOOK(c_threads, int, pthread_mutex_trylock, (pthread_mutex_t* mutex)) \
    HOOK(c_threads, int, __pthread_mutex_trylock, (pthread_mutex_t* mutex)) \
    HOOK(c_threads, int, pthread_mutex_timedlock, (pthread_mutex_t* mutex, const timespec* until)) \
    HOOK(c_threads, int, pthread_mutex_clocklock, (pthread_mutex_t* mutex, clockid_t clock, const timespec* until)) \
    HOOK(c_threads, int, pthread_mutex_unlock, (pthread_mutex_t* mutex)) \
    HOOK(c_threads, int, __pthread_mutex_unlock, (pthread_mutex_t* mutex)) \
    HOOK(c_threads, int, pthread_cond_wait, (pthread_cond_t* condition, pthread_mutex_t* mutex)) \
    HOOK(c_threads, int, pthread_cond_timedwait, (pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until)) \
    HOOK(c_threads, int, pthread_cond_clockwait, (pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* until)) \
    HOOK(c_threads, int, pthread_cond_signal, (pthread_cond_t* condition)) \
    HOOK(c_threads, int, pthread_cond_broadcast, (pthread_cond_t* condition)) \
    HOOK(c_threads, int, pthread_rwlock_rdlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, __pthread_rwlock_rdlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, pthread_rwlock_wrlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, __pthread_rwlock_wrlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, pthread_rwlock_tryrdlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, __pthread_rwlock_tryrdlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, pthread_rwlock_trywrlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, __pthread_rwlock_trywrlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, pthread_rwlock_timedrdlock, (pthread_rwlock_t* lock, const timespec* until)) \
    HOOK(c_threads, int, pthread_rwlock_timedwrlock, (pthread_rwlock_t* lock, const timespec* until)) \
    HOOK(c_threads, int, pthread_rwlock_clockrdlock, (pthread_rwlock_t* lock, clockid_t clock, const timespec* until)) \
    HOOK(c_threads, int, pthread_rwlock_clockwrlock, (pthread_rwlock_t* lock, clockid_t clock, const timespec* until)) \
    HOOK(c_threads, int, pthread_rwlock_unlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, __pthread_rwlock_unlock, (pthread_rwlock_t* lock)) \
    HOOK(c_threads, int, sem_wait, (sem_t* semaphore)) \
    HOOK(c_threads, int, sem_timedwait, (sem_t* semaphore, const timespec* until)) \
    HOOK(c_threads, int, sem_clockwait, (sem_t* semaphore, clockid_t clock, const timespec* until)) \
    HOOK(c_threads, int, sem_post, (sem_t* semaphore)) \
    HOOK(c_threads, int, pthread_barrier_init, (pthread_barrier_t* barrier, const pthread_barrierattr_t* attributes, unsigned parties)) \
    HOOK(c_threads, int, pthread_barrier_wait, (pthread_barrier_t* barrier)) \
    HOOK(c_threads, int, pthread_barrier_destroy, (pthread_barrier_t* barrier)) \
    HOOK(c_threads, int, pthread_spin_lock, (pthread_spinlock_t* lock)) \
    HOOK(c_threads, int, sched_yield, ()) \
    HOOK(c_threads, int, __sched_yield, ()) \
    HOOK(c_threads, int, pthread_join, (pthread_t thread, void** result)) \
    HOOK(c_threads, int, pthread_timedjoin_np, (pthread_t thread, void** result, const timespec* until)) \
    HOOK(c_threads, int, pthread_clockjoin_np, (pthread_t thread, void** result, clockid_t clock, const timespec* until)) \
    HOOK(c_threads, int, mtx_lock, (mtx_t* mutex)) \
    HOOK(c_threads, int, mtx_trylock, (mtx_t* mutex)) \
    HOOK(c_threads, int, mtx_timedlock, (mtx_t* mutex, const timespec* until)) \
    HOOK(c_threads, int, mtx_unlock, (mtx_t* mutex)) \
    HOOK(c_threads, int, cnd_wait, (cnd_t* condition, mtx_t* mutex)) \
    HOOK(c_threads, int, cnd_timedwait, (cnd_t* condition, mtx_t* mutex, const timespec* until)) \
    HOOK(c_threads, int, cnd_signal, (cnd_t* condition)) \
    HOOK(c_threads, int, cnd_broadcast, (cnd_t* condition)) \
    HOOK(c_threads, void, thrd_yield, ()) \
    HOOK(c_threads, int, thrd_join, (thrd_t thread, int* result))

#define WEFT_ONCE_HOOKS(HOOK) \
    HOOK(c_threads, int, pthread_once, (pthread_once_t* control, void (*routine)())) \
    HOOK(c_threads, int, __pthread_once, (pthread_once_t* control, void (*routine)())) \
    HOOK(c_threads, void, call_once, (once_flag* flag, void (*routine)())) \
    HOOK(c_threads, int, __cxa_guard_acquire, (int* guard)) \
    HOOK(c_threads, void, __cxa_guard_release, (int* guard)) \
    HOOK(c_threads, void, __cxa_guard_abort, (int* guard)) \
    HOOK(c_threads, int, pthread_key_create, (pthread_key_t* key, void (*destroy)(void*))) \
    HOOK(c_threads, int, __pthread_key_create, (pthread_key_t* key, void (*destroy)(void*))) \
    HOOK(c_threads, int, pthread_key_delete, (pthread_key_t key)) \
    HOOK(c_threads, void*, pthread_getspecific, (pthread_key_t key)) \
    HOOK(c_threads, void*, __pthread_getspecific, (pthread_key_t key)) \
    HOOK(c_threads, int, pthread_setspecific, (pthread_key_t key, const void* value)) \
    HOOK(c_threads, int, __pthread_setspecific, (pthread_key_t key, const void* value)) \
    HOOK(c_threads, int, tss_create, (tss_t* key, tss_dtor_t destroy)) \
    HOOK(c_threads, void, tss_delete, (tss_t key)) \
    HOOK(c_threads, void*, tss_get, (tss_t key)) \
    HOOK(c_threads, int, tss_set, (tss_t key, void* value))

#define WEFT_FUTEX_HOOKS(HOOK) \
    HOOK(c_threads, long, syscall, (long number, long a, long b, long c, long d, long e, long f))

#define WEFT_HOOKS(HOOK) \
    WEFT_SOCKET_HOOKS(HOOK) \
    WEFT_FILE_HOOKS(HOOK) \
    WEFT_SELECT_HOOKS(HOOK) \
    WEFT_TIME_HOOKS(HOOK) \
    WEFT_DNS_HOOKS(HOOK) \
    WEFT_PROCESS_HOOKS(HOOK) \
    WEFT_FIBER_THREAD_HOOKS(HOOK) \
    WEFT_MESSAGE_HOOKS(HOOK) \
    WEFT_SIGNAL_HOOKS(HOOK) \
    WEFT_LOCK_HOOKS(HOOK) \
    WEFT_ONCE_HOOKS(HOOK) \
    WEFT_FUTEX_HOOKS(HOOK)
// clang-format on
