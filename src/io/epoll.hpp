// Epoll: one epoll instance and the eventfd that ends its waits; no policy.
// Layer: io. Uses: base.
//
// Raw system calls, as in attempt.cpp: what is called from fibers must not meet
// weft's hooks. Locking: none; any thread may call anything but sleep().
#pragma once

#include <weft/deadline.hpp>

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace weft::detail {

/// Ends the program: an error that the call is not documented to give.
[[noreturn]] void unexpected_error(const char* call, long result) noexcept;

class Epoll {
public:
    static constexpr std::size_t batch_size = 48;
    using Events = std::array<epoll_event, batch_size>;

    /// In place of a descriptor in the event that a signal() causes.
    static constexpr int signal_fd = -1;

    /// Throws std::system_error.
    Epoll();
    Epoll(const Epoll&) = delete;
    Epoll& operator=(const Epoll&) = delete;
    ~Epoll();

    // 0 or -errno. Events name their descriptor in data.fd.
    int add(int fd, std::uint32_t events) noexcept;
    int modify(int fd, std::uint32_t events) noexcept;
    int remove(int fd) noexcept;

    /// Whether there are events, that of a signal() among them; takes none.
    bool has_events() const noexcept;
    /// Returns how many events there are now.
    std::size_t look(Events& events) noexcept;
    /// The same, after waiting for one until `deadline`. One thread at a time.
    /// Blocks: the OS thread. May return early.
    std::size_t sleep(Events& events, Deadline deadline) noexcept;

    /// Is an event, of signal_fd, until drain().
    void signal() noexcept;
    void drain() noexcept;

private:
    int control(int how, int fd, std::uint32_t events, int name) noexcept;

    int epoll_ = -1;
    int signal_ = -1;
    bool nanosecond_waits_ = true;  // sleeping thread only; until the kernel refuses epoll_pwait2
};

}  // namespace weft::detail
