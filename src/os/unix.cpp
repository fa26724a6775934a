// Unix streams and their listeners. Layer: os. Uses: io, park, sched.
//
// connect(2) does not go through the driver: on a socket that does not block it
// never waits, and a full queue is EAGAIN, which no readiness follows.
//
// A listener's path is removed before the socket is closed: as long as that is
// open its inode cannot be given to another file, so device and inode tell whether
// the path is still the one it made, and not one of who came after it. In a child of
// fork() they fit, too: there it is the process that does not.
#include <weft/io/unix.hpp>

#include "os/socket_call.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace weft::io {

using detail::check;
using detail::get_option;
using detail::name_of;
using detail::set_option;
using detail::value_or_throw;

namespace {

constexpr std::chrono::milliseconds most_pause{50};

long try_connect(int fd, const UnixAddress& peer) noexcept {
    return system_call<::syscall>(SYS_connect, fd, peer.data(), peer.size());
}

/// 0 or -errno. Throws Cancelled.
long connect_once_there_is_room(Descriptor& descriptor, const UnixAddress& peer,
                                Deadline deadline) {
    using namespace std::chrono_literals;
    Use use{descriptor};
    for (std::chrono::milliseconds pause = 1ms;; pause = std::min(2 * pause, most_pause)) {
        const long result = detail::try_on(use, [&](int fd) { return try_connect(fd, peer); });
        if (result != -EAGAIN) return result;
        if (deadline.passed()) return -ETIMEDOUT;
        use.sleep(std::min(deadline, Deadline{pause}), "connect to a Unix listener that is full");
    }
}

}  // namespace

// --- UnixStream ---

UnixStream UnixStream::connect(const UnixAddress& peer, Deadline deadline) {
    UnixStream stream{detail::open_socket(SOCK_STREAM, "connect to", peer)};
    check(connect_once_there_is_room(stream.descriptor(), peer, deadline), "connect to", peer);
    return stream;
}

std::pair<UnixStream, UnixStream> UnixStream::pair() {
    int fds[2];
    value_or_throw(system_call<::socketpair>(AF_UNIX, SOCK_STREAM | detail::socket_flags, 0, fds),
                   "a pair of Unix streams");
    return {UnixStream{fds[0]}, UnixStream{fds[1]}};
}

void UnixStream::pass_credentials(bool on) {
    set_option(descriptor(), SOL_SOCKET, SO_PASSCRED, on ? 1 : 0, "SO_PASSCRED");
}

Credentials UnixStream::peer_credentials() const {
    const auto peer = get_option<ucred>(descriptor(), SOL_SOCKET, SO_PEERCRED, "SO_PEERCRED");
    return {.process = peer.pid, .user = peer.uid, .group = peer.gid};
}

UnixAddress UnixStream::local_address() const {
    return name_of<::getsockname, UnixAddress>(descriptor(), "local address of a Unix stream");
}

UnixAddress UnixStream::peer_address() const {
    return name_of<::getpeername, UnixAddress>(descriptor(), "peer address of a Unix stream");
}

// --- UnixListener ---

namespace {

/// Where it lies; a zero follows it.
const char* path_of(const UnixAddress& address) noexcept {
    return reinterpret_cast<const sockaddr_un*>(address.data())->sun_path;
}

/// Whether the path is a socket on which nobody listens. Asks by connecting: then a
/// listener gets a connection that ends at once. (Of what is no socket connect(2)
/// says the same.)
bool is_stale(const UnixAddress& address) noexcept {
    struct stat found {};
    if (system_call<::lstat>(path_of(address), &found) < 0 || !S_ISSOCK(found.st_mode))
        return false;
    const long fd = system_call<::socket>(AF_UNIX, SOCK_STREAM | detail::socket_flags, 0);
    if (fd < 0) return false;
    const OwnedFd probe{static_cast<int>(fd)};
    return try_connect(probe.fd(), address) == -ECONNREFUSED;
}

long bind_path(int fd, const UnixAddress& local) noexcept {
    return system_call<::bind>(fd, local.data(), static_cast<socklen_t>(local.size()));
}

void bind_listener(int fd, const UnixAddress& local, ExistingPath existing) {
    long result = bind_path(fd, local);
    const bool stale = result == -EADDRINUSE && local.is_path() && is_stale(local);
    if (stale && existing == ExistingPath::replace_stale) {
        system_call<::unlink>(path_of(local));  // its error shows in bind()
        result = bind_path(fd, local);
    }
    const bool left_over = stale && existing == ExistingPath::refuse;
    check(result, left_over ? "listen on (a stale socket is there, nobody listens)" : "listen on",
          local);
}

}  // namespace

UnixListener::UnixListener(const UnixAddress& local, const UnixListenOptions& options)
    : UnixListener{Own{detail::open_socket(SOCK_STREAM, "listen on", local)}} {
    // The mode that bind(2) gives the path, so that it never has another.
    value_or_throw(system_call<::fchmod>(fd(), mode_t{options.permissions}), "fchmod of a socket");
    bind_listener(fd(), local, options.existing);
    if (local.is_path()) remember_path(local);
    check(system_call<::listen>(fd(), options.backlog), "listen on", local);
}

UnixListener::UnixListener(int fd)
    : UnixListener{Own{detail::listening(fd, {AF_UNIX}, "a Unix listener")}} {}

void UnixListener::remember_path(const UnixAddress& local) {
    struct stat made {};
    check(system_call<::lstat>(path_of(local), &made), "listen on", local);
    path_ = local;
    device_ = made.st_dev;
    inode_ = made.st_ino;
    path_owner_.store(::getpid(), std::memory_order_relaxed);
}

void UnixListener::remove_path() noexcept {
    if (path_owner_.exchange(0, std::memory_order_relaxed) != ::getpid()) return;
    struct stat found {};
    if (system_call<::lstat>(path_of(path_), &found) < 0) return;
    if (found.st_dev == device_ && found.st_ino == inode_) system_call<::unlink>(path_of(path_));
}

UnixListener::UnixListener(UnixListener&& other) noexcept
    : ListenerSocket{std::move(other)},
      path_{other.path_},
      device_{other.device_},
      inode_{other.inode_},
      path_owner_{other.path_owner_.exchange(0, std::memory_order_relaxed)} {}

UnixListener& UnixListener::operator=(UnixListener&& other) noexcept {
    if (this == &other) return *this;
    close();
    ListenerSocket::operator=(std::move(other));
    path_ = other.path_;
    device_ = other.device_;
    inode_ = other.inode_;
    path_owner_.store(other.path_owner_.exchange(0, std::memory_order_relaxed),
                      std::memory_order_relaxed);
    return *this;
}

UnixAddress UnixListener::local_address() const {
    return name_of<::getsockname, UnixAddress>(descriptor(), "local address of a Unix listener");
}

}  // namespace weft::io
