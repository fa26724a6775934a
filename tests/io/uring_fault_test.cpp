// What the kernel may do to a ring on a bad day, and others at a bad moment.
//
// This program is linked with --wrap: the library's calls of io_uring_enter2(),
// io_uring_setup() and io_uring_register() come here first. They answer with errors that the system
// calls may give, do half of what was asked, or let somebody in just before the
// owner of a ring falls asleep.
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include "io/uring_rig.hpp"

#include <weft/cancelled.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include <liburing.h>

using namespace weft::test;
using weft::Deadline;
using weft::Io;
using weft::detail::Ring;

// --- the system calls ---

namespace {

/// In what ways a call of io_uring_enter() may go wrong.
enum class Fault : unsigned {
    busy,
    no_request,
    no_memory,
    interrupted,
    interrupted_late,
    half,
    count
};

constexpr auto kinds = static_cast<unsigned>(Fault::count);

// Read in a signal handler, too.
std::atomic<bool> faulty{false};
std::atomic<std::uint32_t> calls{0};
std::atomic<int> met[kinds]{};
std::atomic<unsigned> most_entries{0};  // of a ring, for lack of memory; 0: any
std::atomic<bool> without_buffer_rings{false};
std::atomic<unsigned> unknown_setup{0};  // flags

/// Called once, by who is about to sleep, with its ring and what it submits.
using Visit = std::function<void(unsigned ring, unsigned submit)>;
std::atomic<const Visit*> visit{nullptr};

/// While it lives, calls of io_uring_enter() fail at random and in a row.
class Faults {
public:
    Faults() {
        for (auto& each : met) each = 0;
        faulty = true;
    }
    Faults(const Faults&) = delete;
    Faults& operator=(const Faults&) = delete;
    ~Faults() { faulty = false; }

    static bool met_all() {
        for (const auto& each : met) {
            if (each == 0) return false;
        }
        return true;
    }
};

std::uint32_t mixed(std::uint32_t value) {
    value = (value ^ value >> 16) * 0x45d9f3b;
    value = (value ^ value >> 16) * 0x45d9f3b;
    return value ^ value >> 16;
}

/// The fault that this call is to have; `count` for none.
Fault next_fault() {
    if (!faulty) return Fault::count;
    const std::uint32_t call = calls.fetch_add(1);
    const bool bad_days = mixed(call / 16) % 2 == 0;
    const std::uint32_t chance = mixed(call + 77);
    if (chance % 8 >= (bad_days ? 7 : 1)) return Fault::count;
    return static_cast<Fault>(chance / 8 % kinds);
}

extern "C" {

int __real_io_uring_enter2(unsigned ring, unsigned submit, unsigned wait_for, unsigned flags,
                           sigset_t* argument, std::size_t size);
int __real_io_uring_setup(unsigned entries, io_uring_params* params);
int __real_io_uring_register(unsigned ring, unsigned what, const void* argument, unsigned count);

int enter_now(unsigned ring, unsigned submit) {
    return __real_io_uring_enter2(ring, submit, 0, IORING_ENTER_GETEVENTS, nullptr, 0);
}

int fail(Fault fault, unsigned ring, unsigned submit) {
    ++met[static_cast<unsigned>(fault)];
    switch (fault) {
        case Fault::busy: return -EBUSY;
        case Fault::no_request: return -EAGAIN;
        case Fault::no_memory: return -ENOMEM;
        case Fault::interrupted: return -EINTR;
        case Fault::interrupted_late: {
            const int result = enter_now(ring, submit);
            return submit > 0 ? result : -EINTR;
        }
        case Fault::half:
            // Fewer than asked for: then the kernel does not wait either.
            return __real_io_uring_enter2(ring, submit / 2, 0, 0, nullptr, 0);
        case Fault::count: break;
    }
    return -EINVAL;
}

int __wrap_io_uring_enter2(unsigned ring, unsigned submit, unsigned wait_for, unsigned flags,
                           sigset_t* argument, std::size_t size) {
    if (wait_for > 0) {
        if (const Visit* call = visit.exchange(nullptr)) {
            (*call)(ring, submit);
            submit = 0;
        }
    }
    const Fault fault = next_fault();
    if (fault != Fault::count) return fail(fault, ring, submit);
    return __real_io_uring_enter2(ring, submit, wait_for, flags, argument, size);
}

int __wrap_io_uring_setup(unsigned entries, io_uring_params* params) {
    const unsigned most = most_entries;
    if (most != 0 && entries > most) return -ENOMEM;
    if ((params->flags & unknown_setup) != 0) return -EINVAL;
    return __real_io_uring_setup(entries, params);
}

int __wrap_io_uring_register(unsigned ring, unsigned what, const void* argument, unsigned count) {
    if (without_buffer_rings && what == IORING_REGISTER_PBUF_RING) return -EINVAL;
    return __real_io_uring_register(ring, what, argument, count);
}

}  // extern "C"

/// The wake_tag'ed completion of a driver.wake() is in the ring after this, if
/// the driver was about to sleep.
void wake_visibly(UringDriver& driver, unsigned ring, unsigned submit) {
    enter_now(ring, submit);  // where a poll has to be armed for it
    driver.wake();
    enter_now(ring, 0);
}

}  // namespace

// --- io_uring_enter() fails ---

TEST_CASE("an enter that fails loses no operation and no byte", "[io][uring][fault]") {
    for (const auto& support : supports()) {
        const Faults faults;
        UringDriver driver{support, offload(), 8};
        driver.attach();
        const Pair pair = sockets();
        int sent = 0;
        int received = 0;
        for (int round = 0; round < 300; ++round) {
            std::vector<std::unique_ptr<Receive>> receives;
            for (int i = 0; i < 20; ++i) {
                receives.push_back(std::make_unique<Receive>(pair.a));
                driver.submit(receives.back()->operation);
            }
            for (int i = 0; i < round % 20; ++i, ++sent) put(pair.b);
            driver.poll();
            for (auto& each : receives) driver.cancel(each->operation);
            drain(driver);
            for (auto& each : receives) {
                const int result = each->operation.await();
                REQUIRE((result == 1 || result == -ECANCELED));
                received += result == 1;
            }
        }
        char rest[8192];
        const ssize_t left = ::recv(pair.a, rest, sizeof rest, MSG_DONTWAIT);
        REQUIRE(received + std::max<ssize_t>(left, 0) == sent);
        REQUIRE(Faults::met_all());
    }
}

TEST_CASE("5000 operations at once pass through a ring of 8 that fails", "[io][uring][fault]") {
    for (const auto& support : supports()) {
        const Faults faults;
        UringDriver driver{support, offload(), 8};
        driver.attach();
        const auto operations = submit_nops(driver, 5000);
        drain(driver);
        for (auto& operation : operations) REQUIRE(operation->await() == 0);
        REQUIRE(Faults::met_all());
    }
}

TEST_CASE("no wake is lost when enters fail", "[io][uring][fault]") {
    const Faults faults;
    for (const auto& support : supports()) {
        hand_over_by_wakes(support, 3000, true);
        hand_over_by_wakes(support, 3000, false);
    }
}

// Goal: a runtime whose every enter may fail serves, times out, cancels and
// closes. Method: echoes that are read with deadlines of all lengths.
TEST_CASE("a runtime goes on while enters fail", "[io][uring][fault]") {
    if (!uring_support()) SKIP("no io_uring here");
    const Faults faults;
    on_workers(
        [] {
            std::vector<weft::Fiber<bool>> clients;
            for (std::uint32_t seed = 1; seed <= 8; ++seed) {
                clients.push_back(weft::spawn([seed] {
                    auto [client, server] = connection();
                    auto echo = weft::spawn([&server = server] {
                        for (std::string text; !(text = read_text(server)).empty();) {
                            server.write_all(text);
                        }
                    });
                    const auto sent = pattern(2000, seed);
                    std::vector<std::byte> got;
                    for (std::size_t at = 0; at < sent.size(); at += 50) {
                        client.write_all(std::span{sent}.subspan(at, 50));
                        while (got.size() < at + 50) {
                            std::array<std::byte, 64> buffer;
                            const std::chrono::microseconds patience{mixed(seed + got.size()) % 64};
                            std::size_t some = 0;
                            const auto error =
                                error_of([&] { some = client.read(buffer, patience); });
                            if (error && !is(error, std::errc::timed_out)) return false;
                            got.insert(got.end(), buffer.begin(),
                                       buffer.begin() + static_cast<long>(some));
                        }
                    }
                    echo.cancel();
                    bool cancelled = false;
                    try {
                        echo.get();
                    } catch (const weft::Cancelled&) {
                        cancelled = true;
                    }
                    auto reader = weft::spawn(
                        [&client = client] { return error_of([&] { read_text(client); }); });
                    weft::this_fiber::yield();
                    client.close();
                    return cancelled && got == sent &&
                           is(reader.get(), std::errc::bad_file_descriptor);
                }));
            }
            for (auto& each : clients) REQUIRE(each.get());
        },
        Io::uring);
    REQUIRE(Faults::met_all());
}

// --- just before an owner sleeps ---

// The owner is about to sleep; it is woken; a rescuer takes the message first.
TEST_CASE("a rescuer that takes a wake sends it again", "[io][uring][fault]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        bool was_there = false;
        const Visit rescue = [&](unsigned ring, unsigned submit) {
            wake_visibly(driver, ring, submit);
            std::thread{[&] {
                was_there = driver.ready();
                driver.rescue(0);
            }}.join();
        };
        const InRing something{driver};
        visit = &rescue;
        driver.wait(Deadline::never());  // hangs if the wake was lost
        REQUIRE(was_there);
    }
}

TEST_CASE("wakes get through when completions have overflowed", "[io][uring][fault]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload(), 8};
        driver.attach();
        Operations operations;
        const Visit overflow = [&](unsigned ring, unsigned submit) {
            enter_now(ring, submit);
            // More than the completion queue of 32 has room for.
            operations = submit_nops(driver, 100);
            wake_visibly(driver, ring, 8);
        };
        {
            const InRing something{driver};
            visit = &overflow;
            driver.wait(Deadline::never());
        }
        for (auto& operation : operations) REQUIRE(operation->await() == 0);
        // Any that were on their way end a wait early; then one must sleep.
        for (bool slept = false; !slept;) {
            const Visit wake = [&](unsigned ring, unsigned submit) {
                enter_now(ring, submit);
                slept = !driver.ready();
                wake_visibly(driver, ring, 0);
            };
            const InRing something{driver};
            visit = &wake;
            driver.wait(Deadline::never());  // hangs if nothing is armed for it
            visit = nullptr;
        }
    }
}

// --- memory is short ---

TEST_CASE("a ring makes do with the memory there is", "[io][uring][fault]") {
    if (!uring_support()) SKIP("no io_uring here");
    most_entries = 16;
    CHECK(Ring{256, 1024}.sq_entries() == 16);
    on_workers(
        [] {
            std::vector<weft::Fiber<std::string>> readers;
            std::vector<Connection> connections;
            for (int i = 0; i < 100; ++i) connections.push_back(connection());
            for (auto& each : connections) {
                readers.push_back(weft::spawn([&each] { return read_text(each.server); }));
            }
            until_in_flight(100);
            for (auto& each : connections) each.client.write_all("x");
            for (auto& each : readers) REQUIRE(each.get() == "x");
        },
        Io::uring);
    most_entries = 1;
    CHECK_THROWS_AS((Ring{256, 1024}), std::system_error);
    most_entries = 0;
}

// --- memory that is lent ---

namespace {

void receive_from_many(std::size_t count) {
    std::vector<Connection> connections;
    for (std::size_t i = 0; i < count; ++i) connections.push_back(socket_pair());
    std::vector<weft::Fiber<std::string>> readers;
    for (auto& each : connections) {
        readers.push_back(weft::spawn([&each] {
            std::string all;
            for (int round = 0; round < 3; ++round) {
                all += each.server.receive().text();
                each.server.write_all("next");
            }
            return all;
        }));
    }
    for (const char* text : {"a", "b", "c"}) {
        for (auto& each : connections) each.client.write_all(text);
        for (auto& each : connections) REQUIRE(read_text(each.client) == "next");
    }
    for (auto& each : readers) REQUIRE(each.get() == "abc");
}

}  // namespace

TEST_CASE("receives go on where the kernel has no rings of buffers", "[io][uring][fault]") {
    if (!uring_support()) SKIP("no io_uring here");
    without_buffer_rings = true;
    on_workers([] { receive_from_many(50); }, Io::uring);
    without_buffer_rings = false;
}

TEST_CASE("receives lose nothing while enters fail", "[io][uring][fault]") {
    if (!uring_support()) SKIP("no io_uring here");
    const Faults faults;
    on_workers([] { receive_from_many(200); }, Io::uring);
    REQUIRE(Faults::met_all());
}

namespace {

/// 0 if a runtime of many workers works, through epoll.
int goes_by_epoll(Io io) {
    ::unsetenv("WEFT_IO");
    const std::size_t before = open_fds();
    bool works = false;
    weft::run(
        [&works] {
            auto [client, server] = connection();
            client.write_all("x");
            works = weft::Runtime::current().io() == Io::epoll && read_text(server) == "x";
        },
        {.workers = 3, .io = io});
    return works && open_fds() == before ? 0 : 3;
}

/// In a process that has memory for a small ring, but for none of the workers'.
int without_memory_for_rings(Io io) {
    if (!uring_support()) return 0;
    most_entries = 1;
    return goes_by_epoll(io);
}

const Child poor{"no memory for rings", [] { return without_memory_for_rings(Io::automatic); }};
const Child insisting{"no memory for rings, which it insists on", [] {
                          try {
                              return without_memory_for_rings(Io::uring);
                          } catch (const std::system_error& error) {
                              return is(error.code(), std::errc::not_enough_memory) ? 0 : 4;
                          }
                      }};

/// As before Linux 6.1.
const Child old{"no deferred work in rings", [] {
                    unknown_setup = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
                    return goes_by_epoll(Io::automatic);
                }};

/// Whether it went by epoll and said once why.
void check_said_once(const Child& child, const std::string& why) {
    const Outcome outcome = child.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
    CHECK(outcome.says(why));
    CHECK(std::count(outcome.errors.begin(), outcome.errors.end(), '\n') == 1);
}

}  // namespace

TEST_CASE("a runtime without memory for its rings goes by epoll, and says so once",
          "[io][uring][fault]") {
    if (!uring_support()) SKIP("no io_uring here");
    check_said_once(poor, "io_uring_setup: Cannot allocate memory");
    CHECK(insisting.run().exited_with(0));
}

TEST_CASE("a kernel whose rings are older than weft's goes by epoll, and that is said once",
          "[io][uring][fault]") {
    check_said_once(old, "io_uring_setup: ");
}
