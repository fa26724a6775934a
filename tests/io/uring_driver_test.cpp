#include "support/catch.hpp"
#include "support/hand_clock.hpp"

#include "io/lending.hpp"
#include "io/uring_rig.hpp"

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;

namespace {

UringDriver* signalled = nullptr;
void on_urgent(int) {
    const int saved_errno = errno;
    signalled->on_signal();
    errno = saved_errno;
}

/// A UDP socket that has nothing to receive, but an error in its queue: polls find it ready.
Fd always_ready() {
    Fd fd{::socket(AF_INET, SOCK_DGRAM, 0)};
    sockaddr_in self{};
    self.sin_family = AF_INET;
    self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof self;
    auto* const address = reinterpret_cast<sockaddr*>(&self);
    REQUIRE(::bind(fd, address, size) == 0);
    REQUIRE(::getsockname(fd, address, &size) == 0);
    const int stamps = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps) == 0);
    REQUIRE(::sendto(fd, "x", 1, 0, address, size) == 1);
    char byte = 0;
    REQUIRE(::recv(fd, &byte, 1, 0) == 1);
    pollfd poll{.fd = fd, .events = 0, .revents = 0};
    REQUIRE(::poll(&poll, 1, 0) == 1);
    REQUIRE(poll.revents == POLLERR);
    return fd;
}

/// SIGURG goes to `driver` while it lives.
class Handler {
public:
    explicit Handler(UringDriver& driver) {
        signalled = &driver;
        struct sigaction action {};
        action.sa_handler = on_urgent;
        action.sa_flags = SA_RESTART;
        sigaction(SIGURG, &action, &before_);
    }
    ~Handler() { sigaction(SIGURG, &before_, nullptr); }

private:
    struct sigaction before_ {};
};

}  // namespace

TEST_CASE("5000 operations at once pass through a ring of 8", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload(), 8};
        driver.attach();
        const auto operations = submit_nops(driver, 5000);
        drain(driver);
        int sum = 0;
        for (auto& operation : operations) sum += operation->await();
        REQUIRE(sum == 0);
    }
}

TEST_CASE("5000 operations that wait pass through a ring of 8", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload(), 8};
        driver.attach();
        const Pair pair = sockets();
        std::vector<std::unique_ptr<Receive>> receives;
        for (int i = 0; i < 5000; ++i) {
            receives.push_back(std::make_unique<Receive>(pair.a));
            driver.submit(receives.back()->operation);
        }
        driver.poll();
        REQUIRE(driver.in_flight() == 5000);
        for (std::size_t i = 0; i < receives.size(); i += 2) driver.cancel(receives[i]->operation);
        while (driver.in_flight() > 2500) driver.wait(Deadline::never());
        ::shutdown(pair.b, SHUT_WR);
        drain(driver);
        for (std::size_t i = 0; i < receives.size(); ++i) {
            REQUIRE(receives[i]->operation.await() == (i % 2 == 0 ? -ECANCELED : 0));
        }
    }
}

TEST_CASE("a poll delivers a bounded number of completions", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        const auto operations = submit_nops(driver, 100);
        REQUIRE(driver.ready());
        driver.poll();
        REQUIRE(driver.in_flight() >= 68);
        REQUIRE(driver.ready());
        drain(driver);
        driver.poll();
        REQUIRE_FALSE(driver.ready());
    }
}

TEST_CASE("while completions are there, what is begun is put off, but not for long",
          "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        for (const auto passed : {0ms, 1ms}) {
            HandClock clock;
            const auto crowd = submit_nops(driver, 40);
            driver.poll();
            const auto waiting = driver.in_flight();
            REQUIRE(waiting > 0);  // more than one poll delivers
            const auto late = submit_nops(driver, 1);
            clock.pass(passed);
            driver.poll();
            CHECK(driver.in_flight() == (passed == 0ms ? 1 : 0));
            driver.poll();
            CHECK(driver.in_flight() == 0);
            for (auto& operation : crowd) CHECK(operation->await() == 0);
            CHECK(late[0]->await() == 0);
        }
    }
}

TEST_CASE("after large receives nothing is put off", "[io][uring]") {
    constexpr std::uint32_t large = 16'384;
    constexpr std::size_t count = 40;  // more than one poll delivers
    for (const std::uint32_t size : {std::uint32_t{1}, large}) {
        for (const auto& support : supports()) {
            UringDriver driver{support, offload()};
            driver.attach();
            const HandClock clock;
            std::vector<Pair> pairs;
            std::vector<char> memory(count * large);
            Operations receives;
            for (std::size_t i = 0; i < count; ++i) {
                pairs.push_back(sockets());
                put(pairs.back().b, std::string(size, 'x'));
                receives.push_back(std::make_unique<Operation>(Request{.code = Request::Code::recv,
                                                                       .fd = pairs.back().a,
                                                                       .buffer = &memory[i * large],
                                                                       .length = size}));
                driver.submit(*receives.back());
            }
            driver.poll();
            REQUIRE(driver.in_flight() > 0);
            const auto late = submit_nops(driver, 1);
            driver.poll();
            CHECK(driver.in_flight() == (size == large ? 0 : 1));
            drain(driver);
            for (auto& each : receives) CHECK(each->await() == static_cast<int>(size));
            CHECK(late[0]->await() == 0);
        }
    }
}

TEST_CASE("a wait ends at its deadline", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        const auto begin = Deadline::Clock::now();
        while (Deadline::Clock::now() < begin + 5ms) driver.wait(begin + 5ms);
        driver.wait(Deadline::Clock::time_point::min());
        driver.wait(begin);
    }
}

TEST_CASE("a wake that came before the wait ends it", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.wake();  // even before the ring is enabled
        driver.attach();
        driver.wait(Deadline::never());
        for (int i = 0; i < 1000; ++i) driver.wake();
        driver.wait(Deadline::never());
    }
}

TEST_CASE("no wake is lost", "[io][uring]") {
    for (const auto& support : supports()) {
        hand_over_by_wakes(support, 20'000, true);
        hand_over_by_wakes(support, 20'000, false);
    }
}

TEST_CASE("a completion that has come makes its cancel a no-op", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        const Pair pair = sockets();
        Receive receive{pair.a};
        put(pair.b);
        driver.submit(receive.operation);
        driver.cancel(receive.operation);
        driver.cancel(receive.operation);
        drain(driver);
        REQUIRE(receive.operation.await() == 1);
        driver.cancel(receive.operation);
        driver.poll();
        REQUIRE_FALSE(driver.ready());
    }
}

TEST_CASE("a late cancel does not hit the next operation at the same address", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        const Pair pair = sockets();
        alignas(Receive) std::byte room[sizeof(Receive)];
        for (int round = 0; round < 2000; ++round) {
            auto* first = new (room) Receive{pair.a};
            driver.submit(first->operation);
            driver.poll();
            put(pair.b);
            // Its completion may be in the queue when the cancel is asked for.
            if (round % 2 == 0) driver.poll();
            driver.cancel(first->operation);
            drain(driver);
            REQUIRE(first->operation.await() == 1);
            first->~Receive();

            auto* second = new (room) Receive{pair.a};
            driver.submit(second->operation);
            driver.poll();
            put(pair.b);
            drain(driver);
            REQUIRE(second->operation.await() == 1);
            second->~Receive();
        }
    }
}

// The kernel tries such a receive again and again, then has a thread wait for it. Between two
// tries it does not find what it is to cancel.
TEST_CASE("a cancel ends an operation that is just being tried again", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        const Fd fd = always_ready();
        for (int tries = 0; tries < 150; ++tries) {
            Receive receive{fd};
            driver.submit(receive.operation);
            for (int i = 0; i < tries; ++i) driver.poll();
            driver.cancel(receive.operation);
            drain(driver);
            const int result = receive.operation.await();
            REQUIRE((result == -ECANCELED || result == -EINTR));
        }
    }
}

// Goal: a receive that took memory and brought nothing is over before its cancel is answered.
// Method: so many completions lie between the two that they are delivered in two turns.
TEST_CASE("a receive of nothing that is held for its cancel names no memory", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        const Fd fd = always_ready();
        Operation receive{
            {.code = Request::Code::recv_lent, .fd = fd, .length = weft::detail::lent_size}};
        driver.submit(receive);
        for (int tries = 0; tries < 200; ++tries) driver.poll();  // a kernel thread has it now
        sockaddr_in self{};
        socklen_t size = sizeof self;
        auto* const address = reinterpret_cast<sockaddr*>(&self);
        REQUIRE(::getsockname(fd, address, &size) == 0);
        REQUIRE(::sendto(fd, "", 0, 0, address, size) == 0);
        while (!driver.ready()) std::this_thread::yield();
        const auto nops = submit_nops(driver, 31);
        driver.cancel(receive);
        drain(driver);
        for (const auto& nop : nops) REQUIRE(nop->await() == 0);
        REQUIRE(receive.await() == 0);
        REQUIRE(receive.lent == nullptr);
    }
}

TEST_CASE("another thread's cancel reaches a sleeping owner", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        const Pair pair = sockets();
        Receive receive{pair.a};
        std::atomic<bool> submitted{false};
        std::thread owner{[&] {
            driver.attach();
            driver.submit(receive.operation);
            submitted = true;
            drain(driver);
        }};
        while (!submitted) {
        }
        driver.cancel(receive.operation);
        REQUIRE(receive.operation.await() == -ECANCELED);
        owner.join();
    }
}

TEST_CASE("signals during a wait lose nothing", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        const Handler handler{driver};
        std::atomic<bool> over{false};
        const pthread_t self = ::pthread_self();
        std::thread pest{[&] {
            while (!over) ::pthread_kill(self, SIGURG);
        }};
        driver.attach();
        const Pair pair = sockets();
        for (int round = 0; round < 3000; ++round) {
            Receive receive{pair.a};
            driver.submit(receive.operation);
            put(pair.b);
            drain(driver);
            REQUIRE(receive.operation.await() == 1);
        }
        over = true;
        pest.join();
    }
}

// Goal: a stuck owner's completions are delivered by others. Method: the owner
// computes, entering the kernel never, until the rescuer has got everything.
TEST_CASE("a stuck owner is rescued", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        const Handler handler{driver};
        const Pair pair = sockets();
        Receive submitted{pair.a};
        Receive prepared{pair.a};
        Receive cancelled{pair.a};
        std::atomic<pid_t> tid{0};
        std::atomic<bool> rescued{false};
        std::thread owner{[&] {
            driver.attach();
            driver.submit(cancelled.operation);
            driver.submit(submitted.operation);
            driver.poll();
            driver.submit(prepared.operation);
            tid = static_cast<pid_t>(::syscall(SYS_gettid));
            while (!rescued) {
            }
        }};
        while (tid == 0) {
        }
        driver.cancel(cancelled.operation);
        while (driver.in_flight() > 2) driver.rescue(tid);
        REQUIRE(cancelled.operation.await() == -ECANCELED);
        put(pair.b);
        put(pair.b);
        while (driver.in_flight() > 0) driver.rescue(tid);
        REQUIRE(submitted.operation.await() == 1);
        REQUIRE(prepared.operation.await() == 1);
        REQUIRE_FALSE(driver.rescue(tid));
        rescued = true;
        owner.join();
    }
}

TEST_CASE("a rescued receive brings the memory that it was lent", "[io][uring]") {
    if (!uring_support()) SKIP("no io_uring here");
    UringDriver driver{uring_support(), offload()};
    const Handler handler{driver};
    const Pair pair = sockets();
    Operation receive{
        Request{.code = Request::Code::recv_lent, .fd = pair.a, .length = weft::detail::lent_size}};
    std::atomic<pid_t> tid{0};
    std::atomic<bool> rescued{false};
    std::thread owner{[&] {
        driver.attach();
        driver.submit(receive);
        driver.poll();
        tid = static_cast<pid_t>(::syscall(SYS_gettid));
        while (!rescued) {
        }
    }};
    while (tid == 0) {
    }
    put(pair.b, "r");
    while (driver.in_flight() > 0) driver.rescue(tid);
    REQUIRE(receive.await() == 1);
    REQUIRE(receive.lent != nullptr);
    REQUIRE(receive.lent[0] == std::byte{'r'});
    weft::detail::free_lent(receive.lent);
    rescued = true;
    owner.join();
}

// Goal: rescuing at any moment takes nothing from the owner, wakes least of all.
TEST_CASE("a rescue that was not needed does no harm", "[io][uring]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        const Handler handler{driver};
        constexpr int rounds = 3000;
        std::atomic<pid_t> tid{0};
        std::atomic<int> asked{0};
        std::atomic<int> seen{0};
        std::atomic<bool> over{false};
        const Pair pair = sockets();
        std::thread owner{[&] {
            driver.attach();
            tid = static_cast<pid_t>(::syscall(SYS_gettid));
            while (seen < rounds) {
                Receive receive{pair.a};
                driver.submit(receive.operation);
                put(pair.b);
                drain(driver);
                receive.operation.await();
                if (asked == seen) driver.wait(Deadline::never());
                seen = asked.load();
            }
            while (!over) {
            }
        }};
        while (tid == 0) {
        }
        std::thread rescuer{[&] {
            while (!over) {
                if (driver.rescue(tid)) driver.wake();  // as who resumes a fiber does
                std::this_thread::yield();
            }
        }};
        for (int i = 1; i <= rounds; ++i) {
            asked = i;
            driver.wake();
            while (seen < i) std::this_thread::yield();
        }
        over = true;
        owner.join();
        rescuer.join();
    }
}
