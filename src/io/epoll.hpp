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

    /// The tag of the event that drain() is due. Descriptors must not use it.
    static constexpr std::uint64_t signal_tag = ~std::uint64_t{0};

    /// Throws std::system_error.
    Epoll();
    Epoll(const Epoll&) = delete;
    Epoll& operator=(const Epoll&) = delete;
    ~Epoll();

    // 0 or -errno.
    int add(int fd, std::uint32_t events, std::uint64_t tag) noexcept;
    int modify(int fd, std::uint32_t events, std::uint64_t tag) noexcept;
    int remove(int fd) noexcept;

    /// Whether there are events, signal_tag among them; takes none.
    bool has_events() const noexcept;
    /// Returns how many events there are now.
    std::size_t look(Events& events) noexcept;
    /// The same, after waiting for one until `deadline`. One thread at a time.
    /// Blocks: the OS thread. May return early.
    std::size_t sleep(Events& events, Deadline deadline) noexcept;

    /// Makes signal_tag an event until drain().
    void signal() noexcept;
    void drain() noexcept;

private:
    int control(int how, int fd, std::uint32_t events, std::uint64_t tag) noexcept;

    int epoll_ = -1;
    int signal_ = -1;
    bool nanosecond_waits_ = true;  // sleeping thread only; until the kernel refuses epoll_pwait2
};

}  // namespace weft::detail
