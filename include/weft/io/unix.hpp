#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/listener_socket.hpp>
#include <weft/io/owned_fd.hpp>
#include <weft/io/stream_socket.hpp>
#include <weft/io/unix_address.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace weft::io {

/// Who a process is, as the kernel vouches for it.
struct Credentials {
    std::int32_t process;
    std::uint32_t user;
    std::uint32_t group;

    friend bool operator==(const Credentials&, const Credentials&) = default;
};

/// What receive_with_fds() got.
struct ReceivedWithFds {
    std::size_t size = 0;               ///< bytes; 0 at the end of the stream
    std::size_t fds = 0;                ///< descriptors
    std::optional<Credentials> sender;  ///< when pass_credentials() is on
};

/// One connection between two processes of this machine: a StreamSocket, where
/// reading and writing are described.
class WEFT_API UnixStream : public StreamSocket {
public:
    UnixStream() noexcept = default;
    /// Takes over a connected socket, blocking or not.
    explicit UnixStream(int fd) noexcept : StreamSocket{fd} {}
    UnixStream(UnixStream&&) noexcept = default;
    UnixStream& operator=(UnixStream&&) noexcept = default;

    /// Connects.
    ///
    /// Blocks: while the listener's queue is full, of which the system does not
    /// tell when it has room: it tries again after 1 ms, growing to 50 ms.
    /// Cancellation point. Throws std::system_error that names the address:
    /// no_such_file_or_directory, connection_refused, timed_out, ...; then nothing is open.
    static UnixStream connect(const UnixAddress& peer, Deadline deadline = Deadline::never());

    /// Two that are connected with each other. Never blocks. Throws std::system_error:
    /// too_many_files_open.
    static std::pair<UnixStream, UnixStream> pair();

    /// Writes some of `data`, at least one byte, and with the first byte copies of
    /// all `fds`, which stay the caller's. Returns how many bytes.
    ///
    /// Blocks: as write(). Cancellation point.
    /// Throws std::system_error as write(), bad_file_descriptor also for one of `fds`; then
    /// nothing was sent.
    /// too_many_references (ETOOMANYREFS): too many are under way.
    /// std::invalid_argument when `data` is empty or there are more than 253 `fds`.
    std::size_t send_with_fds(std::span<const std::byte> data, std::span<const int> fds,
                              Deadline deadline = Deadline::never());

    /// Reads as read() does, and takes the descriptors that came with what it reads
    /// into the beginning of `fds`, close-on-exec. What was there is closed. It gets
    /// those of one send_with_fds() at most: it ends where others begin.
    ///
    /// Blocks: as read(). Cancellation point, which loses neither bytes nor descriptors.
    /// Throws std::system_error as read(). message_size: more came than `fds` has
    /// room for, or than this process may open; then all of them are closed, and
    /// the bytes that came with them are gone. std::invalid_argument when `fds` has
    /// room for more than 253 or `buffer` is empty.
    ReceivedWithFds receive_with_fds(std::span<std::byte> buffer, std::span<OwnedFd> fds,
                                     Deadline deadline = Deadline::never());

    /// Whether receive_with_fds() tells who sent what it returns: each time anew,
    /// for a connection may be handed to another process. Off by default, and for what was
    /// sent before. Never blocks. Throws std::system_error.
    void pass_credentials(bool on);

    /// Who connected, or listened, or made the pair: at that time. Throws std::system_error.
    Credentials peer_credentials() const;

    UnixAddress local_address() const;
    UnixAddress peer_address() const;
};

/// What a UnixListener does when its path is there already.
enum class ExistingPath : std::uint8_t {
    refuse,  ///< address_in_use
    /// A socket on which nobody listens is removed; all else is refused. Not for two
    /// who begin to listen at the same time: the one may remove the other's.
    replace_stale,
};

/// How a UnixListener is made.
struct UnixListenOptions {
    int backlog = 4096;                ///< capped by the system (net.core.somaxconn)
    std::uint32_t permissions = 0777;  ///< of a path, less the process's umask
    ExistingPath existing = ExistingPath::refuse;
};

/// Accepts connections on a path or an abstract name.
class WEFT_API UnixListener : public ListenerSocket {
public:
    UnixListener() noexcept = default;
    /// Binds and listens. Never blocks. Throws std::system_error that names the
    /// address; address_in_use also tells whether somebody listens there.
    explicit UnixListener(const UnixAddress& local, const UnixListenOptions& options = {});
    /// Takes over a Unix stream socket that listens already, as TcpListener(int) does. Its
    /// path stays when it is closed.
    explicit UnixListener(int fd);
    UnixListener(UnixListener&& other) noexcept;
    UnixListener& operator=(UnixListener&& other) noexcept;
    ~UnixListener() { remove_path(); }

    /// Takes the next connection, as ListenerSocket says.
    UnixStream accept(Deadline deadline = Deadline::never()) {
        return UnixStream{take(deadline, "accept a Unix connection")};
    }

    /// Removes its path, if that is still the one it made, then closes as Socket. (One that does
    /// not begin with a slash is looked up where the process is by then.) In a child of fork() the
    /// path stays, here and in the destructor: it is the parent's.
    void close() noexcept {
        remove_path();
        ListenerSocket::close();
    }
    /// Gives the descriptor up, and with it the path, which stays.
    int release() noexcept {
        path_owner_.store(0, std::memory_order_relaxed);
        return ListenerSocket::release();
    }

    UnixAddress local_address() const;

private:
    /// Of our own making: not looked at.
    struct Own {
        int fd;
    };
    explicit UnixListener(Own socket) noexcept : ListenerSocket{socket.fd} {}
    void remember_path(const UnixAddress& local);
    void remove_path() noexcept;

    // --- fixed once the listener is shared ---
    UnixAddress path_;
    std::uint64_t device_ = 0;  // which file the path was when it was made
    std::uint64_t inode_ = 0;
    // --- any thread ---
    // The process that is to remove the path; 0: none. Whoever takes it does so.
    std::atomic<std::int32_t> path_owner_{0};
};

}  // namespace weft::io
