// poll, select and epoll_wait in fibers, as libc's, also with arguments that make no sense.
#include "hooks/conform.hpp"
#include "support/fd.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>

#include <algorithm>
#include <climits>
#include <memory>
#include <random>
#include <string>
#include <vector>

using namespace weft::test;

TEST_CASE("select: to wait for many needs no descriptor that is not to be had", "[hooks][select]") {
    conforms([](Seen& seen) {
        std::vector<Pair> pairs;
        std::vector<pollfd> fds;
        for (int i = 0; i < 12; ++i) fds.push_back({pairs.emplace_back(pipe_ends()).a, POLLIN, 0});
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
        const rlimit few{128, before.rlim_max};
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
        std::vector<Fd> taken;
        while (taken.empty() || taken.back() >= 0) taken.emplace_back(::dup(pairs[0].a));

        const auto poll = [&](int time) { return ::poll(fds.data(), fds.size(), time); };
        seen.of("in vain", [&] { return poll(2); });
        {
            Beside writer{[&] { put(pairs[9].b, "x"); }};
            seen.of("poll", [&] { return poll(-1); });
        }
        seen.note("of", fds[9].revents);
        taken.clear();
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    });
}

namespace {

TEST_CASE("select: what is wrong with the arguments", "[hooks][select]") {
    if (!may_be_bad) return;
    conforms([](Seen& seen) {
        const HalfMapped memory;
        const Pair pair = sockets();
        pollfd one{pair.a, POLLIN, 0};
        timespec short_time{0, 1000};
        timespec wrong{0, 1'000'000'000};
        timespec negative{-1, 0};
        epoll_event event{};
        const Fd epoll{::epoll_create1(0)};
        seen.of("poll", [&] { return ::poll(memory.bad<pollfd>(), 1, 1); });
        seen.of("poll none", [&] { return ::poll(nullptr, 0, 1); });
        seen.of("poll too many", [&] { return ::poll(&one, 1UL << 40, 1); });
        seen.of("ppoll", [&] { return ::ppoll(&one, 1, &wrong, nullptr); });
        seen.of("ppoll negative", [&] { return ::ppoll(&one, 1, &negative, nullptr); });
        seen.of("ppoll time", [&] { return ::ppoll(&one, 1, &short_time, nullptr); });
        seen.note("time", short_time.tv_nsec);
        for (int set = 0; set < 3; ++set) {
            timeval time{0, 1000};
            fd_set* sets[3] = {nullptr, nullptr, nullptr};
            sets[set] = memory.bad<fd_set>();
            seen.of("select", [&] { return ::select(1, sets[0], sets[1], sets[2], &time); });
            seen.of("select for ever",
                    [&] { return ::select(1, sets[0], sets[1], sets[2], nullptr); });
        }
        timeval time{0, 1000};
        fd_set set;
        FD_ZERO(&set);
        seen.of("select -1", [&] { return ::select(-1, &set, nullptr, nullptr, &time); });
        seen.of("select huge", [&] {
            auto large = std::make_unique<char[]>(1 << 20);
            time = {0, 1000};
            return ::select(INT_MAX, reinterpret_cast<fd_set*>(large.get()), nullptr, nullptr,
                            &time);
        });
        time = {0, -1};
        seen.of("select negative", [&] { return ::select(1, &set, nullptr, nullptr, &time); });
        time = {0, 1'500};
        FD_SET(1000, &set);
        seen.of("select closed", [&] { return ::select(1001, &set, nullptr, nullptr, &time); });
        seen.note("kept", FD_ISSET(1000, &set));
        seen.of("pselect", [&] { return ::pselect(1, &set, nullptr, nullptr, &wrong, nullptr); });
        seen.of("epoll_wait 0", [&] { return ::epoll_wait(epoll, &event, 0, 1); });
        seen.of("epoll_wait -1", [&] { return ::epoll_wait(epoll, &event, -1, 1); });
        seen.of("epoll_wait huge", [&] { return ::epoll_wait(epoll, &event, INT_MAX, 1); });
        seen.of("epoll_wait fd", [&] { return ::epoll_wait(-1, &event, 1, 1); });
        seen.of("epoll_wait socket", [&] { return ::epoll_wait(pair.a, &event, 1, 1); });
        seen.of("epoll_pwait2", [&] { return ::epoll_pwait2(epoll, &event, 1, &wrong, nullptr); });
        seen.of("epoll_pwait2 time",
                [&] { return ::epoll_pwait2(epoll, &event, 1, memory.bad<timespec>(), nullptr); });
        epoll_event wanted{EPOLLOUT, {}};
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, pair.a, &wanted);
        seen.of("events", [&] { return ::epoll_wait(epoll, memory.bad<epoll_event>(), 1, 1); });
    });
}

TEST_CASE("select: one of few, of many, twice the same, and none", "[hooks][select]") {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 8192);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        const Fd epoll{::epoll_create1(0)};
        epoll_event wanted{EPOLLIN, {}};
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, pair.a, &wanted);
        for (const std::size_t count : {3UL, 8UL, 9UL, 40UL, 1500UL}) {
            std::vector<Fd> many;
            std::vector<pollfd> fds;
            for (std::size_t i = 0; i + 3 < count; ++i) {
                many.emplace_back(::eventfd(0, 0));
                fds.push_back({many.back(), POLLIN, 0});
            }
            fds.push_back({-7, POLLIN, 0});
            fds.push_back({pair.a, POLLIN, 0});
            fds.push_back({pair.a, POLLIN | POLLPRI, 0});
            fds.push_back({epoll, POLLIN, 0});
            {
                Beside other{[&] { put(pair.b, "x"); }};
                seen.of("poll", [&] { return ::poll(fds.data(), fds.size(), -1) > 0 ? 1 : 0; });
            }
            // All of them, now that it has come: before, one poll may see it in part.
            seen.of("now", [&] { return ::poll(fds.data(), fds.size(), -1); });
            for (const pollfd& each : fds) {
                if (each.revents != 0) seen.note("ready", each.revents);
            }
            char byte = 0;
            seen.of("read", [&] { return ::read(pair.a, &byte, 1); });
            seen.of("in vain", [&] { return ::poll(fds.data(), fds.size(), 2); });
            fds.push_back({987'654, POLLIN, 0});
            seen.of("closed one", [&] { return ::poll(fds.data(), fds.size(), -1); });
            seen.note("is", fds.back().revents);
        }
        seen.of("only negative ones", [&] {
            pollfd none[2] = {{-1, POLLIN, 0}, {-2, POLLOUT, 0}};
            return ::poll(none, 2, 2);
        });
    });
}

TEST_CASE("select: sets, time that is left, and epoll", "[hooks][select]") {
    conforms([](Seen& seen) {
        const Pair pair = sockets();
        fd_set readable;
        fd_set writable;
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        FD_SET(pair.a, &readable);
        timeval time{100, 0};
        {
            Beside other{[&] { put(pair.b, "x"); }};
            seen.of("select",
                    [&] { return ::select(pair.b + 1, &readable, &writable, nullptr, &time); });
        }
        seen.note("set", FD_ISSET(pair.a, &readable) + 2 * FD_ISSET(pair.b, &writable));
        seen.note("time is left", time.tv_sec < 100 && time.tv_sec > 50);
        char byte = 0;
        ::recv(pair.a, &byte, 1, 0);
        time = {0, 2000};
        FD_SET(pair.a, &readable);
        seen.of("in vain",
                [&] { return ::select(pair.b + 1, &readable, nullptr, nullptr, &time); });
        seen.note("none", FD_ISSET(pair.a, &readable));
        seen.note("no time is left", time.tv_sec + time.tv_usec);
        time = {0, 1'000};
        seen.of("only time", [&] { return ::select(0, nullptr, nullptr, nullptr, &time); });

        const Fd epoll{::epoll_create1(0)};
        epoll_event wanted{EPOLLIN | EPOLLONESHOT, {.u32 = 7}};
        ::epoll_ctl(epoll, EPOLL_CTL_ADD, pair.a, &wanted);
        epoll_event events[3] = {};
        seen.of("epoll in vain", [&] { return ::epoll_wait(epoll, events, 3, 2); });
        {
            Beside other{[&] { put(pair.b, "x"); }};
            seen.of("epoll", [&] { return ::epoll_wait(epoll, events, 3, -1); });
        }
        seen.note("data", events[0].data.u32);
        seen.of("once", [&] { return ::epoll_wait(epoll, events, 3, 2); });
        const timespec huge{LONG_MAX, 999'999'999};
        const Pair ready = sockets();
        put(ready.b, "x");
        pollfd one{ready.a, POLLIN, 0};
        seen.of("time without end", [&] { return ::ppoll(&one, 1, &huge, nullptr); });
    });
}

TEST_CASE("select: what hangs up without being ready in the sets is waited beside",
          "[hooks][select]") {
    conforms([](Seen& seen) {
        const Pair live = sockets();
        Pair hung = sockets();
        hung.b.reset();
        Pair pipe = pipe_ends();
        pipe.b.reset();
        const auto select = [&](fd_set& readable, fd_set& writable, fd_set& exceptional,
                                timeval* time) {
            FD_ZERO(&readable);
            FD_ZERO(&writable);
            FD_ZERO(&exceptional);
            FD_SET(live.a, &readable);
            FD_SET(pipe.a, &writable);
            FD_SET(hung.a, &exceptional);
            const int count = std::max({+live.a, +pipe.a, +hung.a}) + 1;
            return ::select(count, &readable, &writable, &exceptional, time);
        };
        fd_set sets[3];
        timeval time{0, 2000};
        seen.of("in vain", [&] { return select(sets[0], sets[1], sets[2], &time); });
        seen.note("none", FD_ISSET(live.a, &sets[0]) + FD_ISSET(hung.a, &sets[2]));
        {
            Beside other{[&] { put(live.b, "x"); }};
            seen.of("readable", [&] { return select(sets[0], sets[1], sets[2], nullptr); });
        }
        seen.note("it", FD_ISSET(live.a, &sets[0]));
    });
}

TEST_CASE("select: what hangs up without being ready in the sets keeps no worker busy",
          "[hooks][select]") {
    weft::hooks::patch_all();
    for (const auto io : available_io()) {
        weft::run(
            [] {
                Pair hung = sockets();
                hung.b.reset();
                fd_set exceptional;
                FD_ZERO(&exceptional);
                FD_SET(hung.a, &exceptional);
                timeval time{0, 20'000};
                const auto before = weft::Runtime::current().counters().switches;
                CHECK(::select(hung.a + 1, nullptr, nullptr, &exceptional, &time) == 0);
                CHECK(weft::Runtime::current().counters().switches - before < 20);
            },
            {.workers = 1, .io = io});
    }
}

/// Arguments by chance: what is there, what is not, and what is asked of it.
void fuzz(Seen& seen, std::uint64_t seed) {
    std::mt19937_64 random{seed};
    const auto below = [&](std::uint64_t n) { return random() % n; };
    const Pair first = sockets();
    const Pair pipe = pipe_ends();
    Pair hung = sockets();
    put(first.a, "x");
    hung.b.reset();
    const Fd null{::open("/dev/null", O_RDWR)};
    const Fd path{::open("/", O_PATH)};
    const Fd directory{::open("/", O_RDONLY)};
    // By numbers of their own: those given may be others each time, as threads begin.
    constexpr int first_number = 300;
    std::vector<Fd> numbered;
    std::vector<int> fds;
    for (const int fd : {+first.a, +first.b, +pipe.a, +pipe.b, +hung.a, +null, +path, +directory}) {
        fds.push_back(first_number + static_cast<int>(fds.size()));
        numbered.emplace_back(::dup2(fd, fds.back()));
    }
    fds.insert(fds.end(), {-1, -5, 987});
    std::vector<pollfd> polled;
    for (std::size_t i = below(20); i > 0; --i) {
        polled.push_back({fds[below(fds.size())], static_cast<short>(below(1 << 16)),
                          static_cast<short>(below(1 << 16))});
    }
    // Brief, or none; of those that take a timespec also one that is wrong.
    const timespec times[] = {{0, 0}, {0, 900'000}, {0, -1}, {-1, 5}, {0, 1'000'000'000}};
    const timespec time = times[below(std::size(times))];
    const int milliseconds = static_cast<int>(below(2));
    const auto poll_copy = [&](const std::string& what, auto&& poll) {
        auto copy = polled;
        seen.of(what + std::to_string(seed), [&] { return poll(copy.data(), copy.size()); });
        for (const pollfd& each : copy) seen.note("is", each.revents);
    };
    poll_copy("poll ", [&](auto... copy) { return ::poll(copy..., milliseconds); });
    poll_copy("ppoll ", [&](auto... copy) { return ::ppoll(copy..., &time, nullptr); });

    fd_set sets[3];
    fd_set* given[3] = {};
    constexpr int most = first_number + 20;
    for (int i = 0; i < 3; ++i) {
        FD_ZERO(&sets[i]);
        for (std::size_t n = below(6); n > 0; --n) {
            const int fd = fds[below(fds.size() - (below(4) == 0 ? 0 : 3))];
            if (fd >= 0 && fd < FD_SETSIZE) FD_SET(fd, &sets[i]);
        }
        if (below(3) != 0) given[i] = &sets[i];
    }
    const int count = below(8) == 0 ? -1 : first_number + static_cast<int>(below(20));
    timeval limit{0, static_cast<long>(below(1500))};
    const auto select_copy = [&](const std::string& what, auto&& select) {
        fd_set copies[3] = {sets[0], sets[1], sets[2]};
        fd_set* given_copies[3];
        for (int i = 0; i < 3; ++i) given_copies[i] = given[i] != nullptr ? &copies[i] : nullptr;
        seen.of(what,
                [&] { return select(count, given_copies[0], given_copies[1], given_copies[2]); });
        for (const fd_set& set : copies) {
            long bits = 0;
            for (int fd = first_number; fd < most; ++fd) {
                bits = bits * 3 + (FD_ISSET(fd, &set) ? 1 : 0);
            }
            seen.note("set", bits);
        }
    };
    select_copy("select", [&](auto... sets_of) { return ::select(sets_of..., &limit); });
    select_copy("pselect", [&](auto... sets_of) { return ::pselect(sets_of..., &time, nullptr); });
}

TEST_CASE("select: arguments by chance", "[hooks][select]") {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        INFO("seed: " << seed);
        weft::hooks::patch_all();
        std::string seen_by[2];
        weft::run(
            [&] {
                {
                    weft::hooks::Bypass libc;
                    Seen seen;
                    for (std::uint64_t i = 0; i < 20; ++i) fuzz(seen, seed * 20 + i);
                    seen_by[0] = seen.text();
                }
                Seen seen;
                for (std::uint64_t i = 0; i < 20; ++i) fuzz(seen, seed * 20 + i);
                seen_by[1] = seen.text();
            },
            {.workers = 1, .io = available_io()[seed % available_io().size()]});
        CHECK(seen_by[0] == seen_by[1]);
    }
}

}  // namespace
