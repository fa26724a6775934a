// Loopback TCP sockets for the hand-written programs. Layer: benchmarks, net.
//
// A benchmark that cannot get a socket has nothing to measure: it says why and
// ends the process.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace bench {

enum class Blocking : bool { no, yes };

[[noreturn]] inline void fail(const char* what) {
    std::perror(what);
    std::exit(1);
}

/// Owns a descriptor.
class Descriptor {
public:
    explicit Descriptor(int fd) noexcept : fd_{fd} {}
    Descriptor(Descriptor&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    Descriptor& operator=(Descriptor&&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) close(fd_);
    }

    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }

private:
    int fd_;
};

inline sockaddr_in loopback(int port) noexcept {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/// Sends small messages at once instead of waiting to fill a packet.
inline void set_no_delay(int fd) noexcept {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// Listens on 127.0.0.1. Accepted sockets inherit no-delay.
inline Descriptor listen_on_loopback(int port, Blocking blocking) {
    const int extra = blocking == Blocking::no ? SOCK_NONBLOCK : 0;
    Descriptor listener{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | extra, 0)};
    const int on = 1;
    setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    set_no_delay(listener.get());
    const sockaddr_in address = loopback(port);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    if (bind(listener.get(), generic, sizeof address) != 0) fail("bind");
    if (listen(listener.get(), 4096) != 0) fail("listen");
    return listener;
}

/// Connects to 127.0.0.1, with patience for a server that is still starting.
inline Descriptor connect_to_loopback(int port) {
    Descriptor connection{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const sockaddr_in address = loopback(port);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    for (int attempt = 0; attempt < 200; ++attempt) {
        if (connect(connection.get(), generic, sizeof address) == 0) {
            set_no_delay(connection.get());
            return connection;
        }
        usleep(20'000);
    }
    fail("connect");
}

/// Allows as many descriptors as the system lets this process have.
inline void raise_descriptor_limit() noexcept {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace bench
