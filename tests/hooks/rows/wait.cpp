// The rows of waiting for several descriptors, and for time.
#include "hooks/rows/rows.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <algorithm>
#include <array>
#include <climits>

namespace weft::test {

namespace {

const timespec at_once{};
const timespec wrong_times[] = {{0, -1}, {0, 1'000'000'000}, {-1, 0}};

/// As `call(fds, count)`, which waits for a millisecond at most.
template <class Call>
void polls(Seen& seen, Call&& call) {
    const HalfMapped memory;
    Pair pair = sockets();
    std::array<pollfd, 3> fds{{{pair.a, POLLIN | POLLOUT, 0}, {-3, POLLIN, 7}, {987, POLLIN, 0}}};
    seen.of("nothing", [&] { return call(nullptr, 0); });
    seen.of("all", [&] { return call(fds.data(), 3); });
    for (const pollfd& each : fds) seen.note("is", each.revents);
    fds[0].events = POLLIN;
    seen.of("in vain", [&] { return call(fds.data(), 2); });
    put(pair.b);
    pair.b.reset();
    seen.of("closed peer", [&] { return call(fds.data(), 1); });
    seen.note("is", fds[0].revents);
    if (!may_be_bad) return;
    seen.of("too many", [&] { return call(fds.data(), nfds_t{1} << 40); });
    seen.of("EFAULT", [&] { return call(memory.bad<pollfd>(), 1); });
}

/// As `call(count, readable, writable, exceptional)`, which waits for a millisecond at most.
template <class Call>
void selects(Seen& seen, Call&& call) {
    const HalfMapped memory;
    Pair pair = sockets();
    const int count = std::max<int>(pair.a, pair.b) + 1;
    fd_set readable;
    fd_set writable;
    const auto fill = [&] {
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        FD_SET(pair.a, &readable);
        FD_SET(pair.b, &writable);
    };
    const auto note = [&] {
        seen.note("set", FD_ISSET(pair.a, &readable) * 10 + FD_ISSET(pair.b, &writable));
    };
    fill();
    seen.of("nothing", [&] { return call(0, nullptr, nullptr, nullptr); });
    seen.of("one of two", [&] { return call(count, &readable, &writable, nullptr); });
    note();
    fill();
    seen.of("in vain", [&] { return call(count, &readable, nullptr, nullptr); });
    note();
    fill();
    seen.of("-1", [&] { return call(-1, &readable, nullptr, nullptr); });
    note();
    FD_SET(987, &readable);
    seen.of("closed", [&] { return call(988, &readable, nullptr, nullptr); });
    fill();
    put(pair.b);
    seen.of("exceptional", [&] { return call(count, &readable, nullptr, &writable); });
    note();
    if (may_be_bad)
        seen.of("EFAULT", [&] { return call(1, nullptr, nullptr, memory.bad<fd_set>()); });
}

/// As `call(fd, events, count)`, which waits for a millisecond at most.
template <class Call>
void waits_for_events(Seen& seen, Call&& call) {
    const HalfMapped memory;
    std::array<epoll_event, 2> events{};
    with_bad_fds(seen, [&](int fd) { return call(fd, events.data(), 2); });
    const Pair pair = sockets();
    seen.of("socket", [&] { return call(pair.a, events.data(), 2); });
    const Fd epoll{::epoll_create1(0)};
    epoll_event wanted{EPOLLIN | EPOLLONESHOT, {.u32 = 5}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, pair.a, &wanted);
    seen.of("in vain", [&] { return call(epoll, events.data(), 2); });
    put(pair.b);
    for (const int count : {0, -1, INT_MIN, INT_MAX}) {
        seen.of(std::to_string(count), [&] { return call(epoll, events.data(), count); });
    }
    seen.note("is", events[0].events * 10 + events[0].data.u32);
    ::epoll_ctl(epoll, EPOLL_CTL_MOD, pair.a, &wanted);
    if (may_be_bad) seen.of("EFAULT", [&] { return call(epoll, memory.bad<epoll_event>(), 1); });
}

/// As `call(time, left)`.
template <class Call>
void sleeps(Seen& seen, Call&& call) {
    const HalfMapped memory;
    timespec left{7, 7};
    const timespec brief{0, 100'000};
    seen.of("brief", [&] { return call(&brief, &left); });
    seen.of("no time", [&] { return call(&at_once, nullptr); });
    for (const timespec& each : wrong_times) seen.of("wrong", [&] { return call(&each, &left); });
    seen.note("left", left.tv_sec * 10 + left.tv_nsec);
    if (may_be_bad) seen.of("EFAULT", [&] { return call(memory.bad<timespec>(), &left); });
}

}  // namespace

WEFT_ROW(poll) {
    polls(seen, [](pollfd* fds, nfds_t count) { return row_poll(fds, count, 1); });
}
WEFT_ROW(__poll) {
    polls(seen, [](pollfd* fds, nfds_t count) { return row___poll(fds, count, 1); });
}
WEFT_ROW(__poll_chk) {
    polls(seen, [](pollfd* fds, nfds_t count) {
        return row___poll_chk(fds, count, 1, count * sizeof(pollfd));
    });
}
WEFT_ROW(ppoll) {
    const timespec brief{0, 1'000'000};
    polls(seen, [&](pollfd* fds, nfds_t count) { return row_ppoll(fds, count, &brief, nullptr); });
    for (const timespec& each : wrong_times) {
        seen.of("wrong", [&] { return row_ppoll(nullptr, 0, &each, nullptr); });
    }
}
WEFT_ROW(__ppoll_chk) {
    const timespec brief{0, 1'000'000};
    polls(seen, [&](pollfd* fds, nfds_t count) {
        return row___ppoll_chk(fds, count, &brief, nullptr, count * sizeof(pollfd));
    });
}
WEFT_ROW(select) {
    selects(seen, [](auto&&... arguments) {
        timeval brief{0, 1000};
        return row_select(arguments..., &brief);
    });
    timeval negative{0, -1};
    seen.of("wrong", [&] { return row_select(0, nullptr, nullptr, nullptr, &negative); });
}
WEFT_ROW(__select) {
    selects(seen, [](auto&&... arguments) {
        timeval brief{0, 1000};
        return row___select(arguments..., &brief);
    });
}
WEFT_ROW(pselect) {
    selects(seen, [](auto&&... arguments) {
        const timespec brief{0, 1'000'000};
        return row_pselect(arguments..., &brief, nullptr);
    });
    for (const timespec& each : wrong_times) {
        seen.of("wrong", [&] { return row_pselect(0, nullptr, nullptr, nullptr, &each, nullptr); });
    }
}
WEFT_ROW(epoll_wait) {
    waits_for_events(seen, [](auto&&... arguments) { return row_epoll_wait(arguments..., 1); });
}
WEFT_ROW(epoll_pwait) {
    waits_for_events(seen,
                     [](auto&&... arguments) { return row_epoll_pwait(arguments..., 1, nullptr); });
}
WEFT_ROW(epoll_pwait2) {
    waits_for_events(seen, [](auto&&... arguments) {
        const timespec brief{0, 1'000'000};
        return row_epoll_pwait2(arguments..., &brief, nullptr);
    });
}

WEFT_ROW(sleep) {
    seen.of("0", [] { return row_sleep(0); });
}
WEFT_ROW(usleep) {
    for (const useconds_t time : {0U, 100U}) {
        seen.of("brief", [=] { return row_usleep(time); });
    }
}
WEFT_ROW(nanosleep) {
    sleeps(seen, [](auto&&... arguments) { return row_nanosleep(arguments...); });
}
WEFT_ROW(__nanosleep) {
    sleeps(seen, [](auto&&... arguments) { return row___nanosleep(arguments...); });
}
WEFT_ROW(clock_nanosleep) {
    for (const clockid_t clock :
         {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, 77, CLOCK_THREAD_CPUTIME_ID}) {
        seen.note("clock", clock);
        sleeps(seen,
               [=](auto&&... arguments) { return row_clock_nanosleep(clock, 0, arguments...); });
        const timespec past{1, 0};
        seen.of("past", [&] { return row_clock_nanosleep(clock, TIMER_ABSTIME, &past, nullptr); });
    }
}
WEFT_ROW(thrd_sleep) {
    sleeps(seen, [](auto&&... arguments) { return row_thrd_sleep(arguments...); });
}

}  // namespace weft::test
