#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/socket.hpp>

namespace weft::io {

/// What takes connections: what TcpListener and UnixListener have in common.
///
/// accept() returns the next connection.
///   Blocks: until there is one. Cancellation point. When the process or the
///   system is out of descriptors or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM) it
///   waits, 5 ms growing to 1 s, and goes on: connections queue up in the kernel
///   meanwhile. Those that were reset while queued are skipped.
///   Throws std::system_error: timed_out, bad_file_descriptor after close().
///
/// Thread safety: accept() from many fibers at once; else as Socket.
class WEFT_API ListenerSocket : public Socket {
protected:
    ListenerSocket() noexcept = default;
    explicit ListenerSocket(int fd) noexcept : Socket{fd} {}
    ListenerSocket(ListenerSocket&&) noexcept = default;
    ListenerSocket& operator=(ListenerSocket&&) noexcept = default;
    ~ListenerSocket() = default;

    /// accept(), whose caller owns the descriptor that it returns.
    int take(Deadline deadline, const char* what);
};

}  // namespace weft::io
