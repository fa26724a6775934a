// Edge-triggered epoll, as the reference servers use it. Layer: benchmarks, net.
#pragma once

#include "net/sockets.hpp"

#include <sys/epoll.h>

#include <cerrno>
#include <cstdint>
#include <span>

namespace bench {

class Epoll {
public:
    void add(int fd, std::uint32_t events, void* tag) {
        epoll_event event{};
        event.events = events;
        event.data.ptr = tag;
        if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
    }

    void add_connection(int fd, void* tag) {
        add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, tag);
    }

    /// Sleeps until something happened.
    std::span<const epoll_event> wait() { return wait(-1); }
    /// What has happened by now.
    std::span<const epoll_event> look() { return wait(0); }

private:
    std::span<const epoll_event> wait(int timeout_ms) {
        const int count = epoll_wait(epoll_.get(), events_, capacity, timeout_ms);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        return {events_, count < 0 ? 0u : static_cast<std::size_t>(count)};
    }

    static constexpr int capacity = 512;

    Descriptor epoll_{epoll_create1(EPOLL_CLOEXEC)};
    epoll_event events_[capacity];
};

/// Calls `take(fd)` for every connection that waits at the listener.
template <class Take>
void accept_all(int listener, Take take) {
    for (;;) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        take(fd);
    }
}

}  // namespace bench
