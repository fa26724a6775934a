// Layer: io. Uses: epoll(7), eventfd(2).
#include "io/epoll.hpp"

#include "io/system_call.hpp"
#include "io/timespec.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace weft::detail {

namespace {

// EINTR is an answer here: whoever sleeps looks again whether it should.

[[gnu::noinline]] int wait_milliseconds(int epoll, Epoll::Events& events, long timeout) noexcept {
    const long count =
        ::syscall(SYS_epoll_pwait, epoll, events.data(), events.size(), timeout, nullptr, 0L);
    return count < 0 ? -errno : static_cast<int>(count);
}

[[gnu::noinline]] int wait_nanoseconds(int epoll, Epoll::Events& events,
                                       const timespec* timeout) noexcept {
    const long count =
        ::syscall(SYS_epoll_pwait2, epoll, events.data(), events.size(), timeout, nullptr, 0L);
    return count < 0 ? -errno : static_cast<int>(count);
}

std::size_t count_of(int result) noexcept {
    if (result >= 0) return static_cast<std::size_t>(result);
    if (result == -EINTR) return 0;
    unexpected_error("epoll_wait", result);
}

}  // namespace

void unexpected_error(const char* call, long result) noexcept {
    std::fprintf(stderr, "weft: %s: unexpected error %ld\n", call, -result);
    std::abort();
}

Epoll::Epoll() {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ < 0) throw std::system_error{errno, std::system_category(), "epoll_create1"};
    signal_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    const int result = signal_ < 0 ? -errno : control(EPOLL_CTL_ADD, signal_, EPOLLIN, signal_fd);
    if (result == 0) return;
    if (signal_ >= 0) ::close(signal_);
    ::close(epoll_);
    throw std::system_error{-result, std::system_category(), "the eventfd of an epoll"};
}

Epoll::~Epoll() {
    ::close(signal_);
    ::close(epoll_);
}

int Epoll::control(int how, int fd, std::uint32_t events, int name) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.fd = name;
    return static_cast<int>(system_call<::syscall>(SYS_epoll_ctl, epoll_, how, fd, &event));
}

int Epoll::add(int fd, std::uint32_t events) noexcept {
    return control(EPOLL_CTL_ADD, fd, events, fd);
}

int Epoll::modify(int fd, std::uint32_t events) noexcept {
    return control(EPOLL_CTL_MOD, fd, events, fd);
}

int Epoll::remove(int fd) noexcept { return control(EPOLL_CTL_DEL, fd, 0, fd); }

bool Epoll::has_events() const noexcept {
    pollfd entry{epoll_, POLLIN, 0};
    timespec at_once{};
    return system_call<::syscall>(SYS_ppoll, &entry, 1L, &at_once, nullptr, 0L) > 0;
}

std::size_t Epoll::look(Events& events) noexcept {
    return count_of(wait_milliseconds(epoll_, events, 0));
}

std::size_t Epoll::sleep(Events& events, Deadline deadline) noexcept {
    const std::chrono::nanoseconds left = time_left(deadline);
    if (nanosecond_waits_) {
        const auto timeout = to_timespec<timespec>(left);
        const int count =
            wait_nanoseconds(epoll_, events, deadline.is_never() ? nullptr : &timeout);
        // ENOSYS: before Linux 5.11; EPERM: a container's filter that does not know it.
        if (count != -ENOSYS && count != -EPERM) return count_of(count);
        nanosecond_waits_ = false;
    }
    const auto rounded_up = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    const long timeout = deadline.is_never() ? -1L : std::min<long>(rounded_up, INT_MAX);
    return count_of(wait_milliseconds(epoll_, events, timeout));
}

void Epoll::signal() noexcept {
    const std::uint64_t one = 1;
    const long result = system_call<::syscall>(SYS_write, signal_, &one, sizeof one);
    if (result < 0) unexpected_error("write to an eventfd", result);
}

void Epoll::drain() noexcept {
    std::uint64_t count = 0;
    const long result = system_call<::syscall>(SYS_read, signal_, &count, sizeof count);
    if (result < 0 && result != -EAGAIN) unexpected_error("read of an eventfd", result);
}

}  // namespace weft::detail
