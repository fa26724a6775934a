// The epoll driver: who waits for what, cancelling, closing, waking.
#include "io/epoll_driver.hpp"

#include "io/epoll_rig.hpp"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

using namespace weft;
using namespace weft::test;

namespace {

/// ready() asks the kernel only now and then.
bool finds_events(EpollDriver& driver) {
    bool found = false;
    for (int i = 0; i < 16; ++i) found = driver.ready() || found;
    return found;
}

}  // namespace

// --- waiting ---

TEST_CASE("a reader and a writer wait on one descriptor", "[io][epoll]") {
    Rig rig;
    const Pair pair = sockets();
    const std::vector<char> filler(1 << 20, 'x');
    while (::send(pair.a, filler.data(), filler.size(), MSG_DONTWAIT) > 0) {
    }
    Reader reader{pair.a};
    Operation writer{request_of(Code::send, pair.a, "end", 3)};
    rig.driver.submit(reader.operation);
    rig.driver.submit(writer);
    CHECK(rig.driver.in_flight() == 2);

    put(pair.b, "in");
    rig.driver.wait(5s);
    CHECK(rig.driver.in_flight() == 1);
    CHECK(reader.await() == "in");

    std::vector<char> sink(1 << 20);
    while (::recv(pair.b, sink.data(), sink.size(), MSG_DONTWAIT) > 0) {
    }
    rig.drive();
    CHECK(writer.await() == 3);
}

TEST_CASE("readers of one descriptor are served in order of arrival", "[io][epoll]") {
    Rig rig;
    const Pair pair = sockets(SOCK_DGRAM);
    Reader first{pair.a};
    Reader second{pair.a};
    Reader third{pair.a};
    for (Reader* reader : {&first, &second, &third}) rig.driver.submit(reader->operation);
    put(pair.b, "1");
    put(pair.b, "2");
    rig.driver.wait(5s);
    CHECK(rig.driver.in_flight() == 1);
    put(pair.b, "3");
    rig.drive();
    CHECK(first.await() == "1");
    CHECK(second.await() == "2");
    CHECK(third.await() == "3");
}

TEST_CASE("more waiters on one descriptor than one event serves are all served", "[io][epoll]") {
    Rig rig;
    const Pair pair = sockets();
    std::vector<std::unique_ptr<Operation>> polls;
    for (int i = 0; i < 200; ++i) {
        polls.push_back(std::make_unique<Operation>(poll_of(pair.a, POLLIN)));
        rig.driver.submit(*polls.back());
    }
    put(pair.b, "x");
    rig.drive();
    for (const auto& each : polls) CHECK((each->await() & POLLIN) != 0);
}

TEST_CASE("an error that nobody collects is reported a few times, not for ever", "[io][epoll]") {
    Rig rig;
    Listener nobody;  // only for a port that is free for UDP, where nobody answers
    const Fd socket{::socket(AF_INET, SOCK_DGRAM, 0)};
    const int on = 1;
    REQUIRE(::setsockopt(socket, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0);
    REQUIRE(::connect(socket, nobody.as_address(), sizeof nobody.address) == 0);
    put(socket, "x");
    Reader refused{socket};
    rig.driver.submit(refused.operation);
    rig.drive();
    CHECK(refused.operation.await() == -ECONNREFUSED);

    Reader reader{socket};  // the error queue stays full meanwhile
    rig.driver.submit(reader.operation);
    for (int i = 0; i < 4; ++i) rig.driver.wait(0ms);
    CHECK_FALSE(finds_events(rig.driver));
    rig.cancel(reader.operation);
}

// --- cancelling and closing ---

TEST_CASE("what came before the cancellation wins, and no byte is lost", "[io][epoll][cancel]") {
    Rig rig;
    const Pair pair = sockets();
    int received = 0;
    int cancelled = 0;
    constexpr int rounds = 3000;
    for (int i = 0; i < rounds; ++i) {
        Reader reader{pair.a};
        rig.driver.submit(reader.operation);
        std::atomic<bool> go{false};
        std::thread canceller;
        if (i % 10 == 0) {
            canceller = std::thread{[&] {
                while (!go.load()) {
                }
                rig.driver.cancel(reader.operation);
            }};
        }
        put(pair.b, "x");
        go.store(true);
        rig.driver.poll();
        rig.driver.cancel(reader.operation);
        if (canceller.joinable()) canceller.join();
        const int result = reader.operation.await();
        REQUIRE((result > 0 || result == -ECANCELED));
        (result > 0 ? received : cancelled) += result > 0 ? result : 1;
    }
    char rest[rounds];
    const auto left = ::recv(pair.a, rest, sizeof rest, MSG_DONTWAIT);
    CHECK(received + std::max<ssize_t>(left, 0) == rounds);
    CHECK(rig.driver.in_flight() == 0);
}

TEST_CASE("cancelling ends what it is asked to, and nothing else on the number",
          "[io][epoll][cancel]") {
    Rig rig;
    Pair pair = sockets();
    const Pair others = sockets();
    Reader one{pair.a};
    Reader two{pair.a};
    Reader elsewhere{others.a};
    Operation poll{poll_of(pair.a, POLLPRI)};
    rig.driver.submit(one.operation);
    rig.driver.submit(two.operation);
    rig.driver.submit(poll);
    rig.driver.submit(elsewhere.operation);
    std::thread{[&] {
        for (auto* each : {&one.operation, &two.operation, &poll}) rig.driver.cancel(*each);
    }}.join();
    CHECK(one.operation.await() == -ECANCELED);
    CHECK(two.operation.await() == -ECANCELED);
    CHECK(poll.await() == -ECANCELED);
    CHECK(rig.driver.in_flight() == 1);
    rig.cancel(elsewhere.operation);
}

TEST_CASE("an event of a closed descriptor does not complete who waits on its successor",
          "[io][epoll][cancel]") {
    Rig rig;
    Pair old = sockets();
    const int number = old.a;
    const Fd copy{::dup(old.a)};  // keeps the old socket, and its registration, alive
    Reader early{number};
    rig.driver.submit(early.operation);
    rig.cancel(early.operation);
    const Pair fresh = sockets();
    REQUIRE(::dup2(fresh.a, number) == number);
    Reader reader{number};
    rig.driver.submit(reader.operation);
    put(old.b, "for the old");
    rig.driver.wait(0ms);
    rig.driver.wait(0ms);
    CHECK(rig.driver.in_flight() == 1);
    put(fresh.b, "for the new");
    rig.drive();
    CHECK(reader.await() == "for the new");
}

TEST_CASE("who waits on a number that was given out again gets EBADF", "[io][epoll][cancel]") {
    Rig rig;
    Pair old = sockets();
    const int number = old.a;
    Reader stale{number};
    rig.driver.submit(stale.operation);

    SECTION("to another socket") {
        const Pair fresh = sockets();
        REQUIRE(::dup2(fresh.a, number) == number);
        Reader reader{number};
        rig.driver.submit(reader.operation);
        CHECK(rig.driver.in_flight() == 1);
        CHECK(stale.operation.await() == -EBADF);
        put(fresh.b, "new");
        rig.drive();
        CHECK(reader.await() == "new");
    }
    SECTION("to nobody yet") {
        rig.driver.cancel(stale.operation);
        CHECK(stale.operation.await() == -ECANCELED);
    }
}

TEST_CASE("one descriptor in two drivers wakes both, and one gets the datum", "[io][epoll]") {
    Offload offload;
    EpollDriver one{offload};
    EpollDriver other{offload};
    const Pair pair = sockets();
    Reader first{pair.a};
    Reader second{pair.a};
    one.submit(first.operation);
    other.submit(second.operation);
    put(pair.b, "1");
    one.wait(5s);
    other.wait(0ms);
    CHECK(one.in_flight() == 0);
    CHECK(other.in_flight() == 1);
    put(pair.b, "2");
    other.wait(5s);
    CHECK(first.await() == "1");
    CHECK(second.await() == "2");
}

// --- the worker's side ---

TEST_CASE("a wake ends the next wait, once; poll does not spend it", "[io][epoll][wake]") {
    Rig rig;
    const Pair pair = sockets();
    Reader reader{pair.a};
    rig.driver.submit(reader.operation);
    for (int i = 0; i < 1000; ++i) rig.driver.wake();
    rig.driver.poll();
    CHECK_FALSE(rig.driver.rescue(0));
    rig.driver.wait(Deadline::never());  // hangs if the wake was lost

    const Deadline deadline{20ms};
    rig.driver.wait(deadline);
    CHECK(deadline.passed());
    rig.cancel(reader.operation);
}

TEST_CASE("no wake is lost between two threads", "[io][epoll][wake]") {
    Rig rig;
    std::atomic<int> work{0};
    std::atomic<int> done{0};
    constexpr int rounds = 20'000;
    std::thread waker{[&] {
        for (int i = 1; i <= rounds; ++i) {
            work.store(i);
            rig.driver.wake();
            while (i % 3 == 0 && done.load() < i) std::this_thread::yield();
        }
    }};
    while (done.load() < rounds) {
        if (work.load() == done.load()) rig.driver.wait(Deadline::never());
        done.store(work.load());
    }
    waker.join();
    CHECK(done.load() == rounds);
}

TEST_CASE("a wait ends at its deadline, not before", "[io][epoll]") {
    Rig rig;
    for (const auto pause : {0us, 1us, 300us, 2100us}) {
        const Deadline deadline{pause};
        rig.driver.wait(deadline);
        CHECK(deadline.passed());
    }
    rig.driver.wait(Deadline{Deadline::Clock::time_point::min()});
}

TEST_CASE("another thread delivers what a stuck owner should", "[io][epoll][rescue]") {
    Rig rig;
    const Pair pair = sockets();
    Reader reader{pair.a};
    rig.driver.submit(reader.operation);
    CHECK_FALSE(rig.driver.rescue(0));
    put(pair.b, "x");
    bool delivered = false;
    std::thread{[&] { delivered = rig.driver.rescue(0); }}.join();
    CHECK(delivered);
    CHECK(reader.await() == "x");
}

TEST_CASE("ready() finds what came within a few calls and never what is not there", "[io][epoll]") {
    Rig rig;
    const Pair pair = sockets();
    CHECK_FALSE(finds_events(rig.driver));
    Reader reader{pair.a};
    rig.driver.submit(reader.operation);
    CHECK_FALSE(finds_events(rig.driver));
    rig.driver.wake();
    CHECK_FALSE(finds_events(rig.driver));
    rig.driver.wait(Deadline::never());
    put(pair.b, "x");
    CHECK(finds_events(rig.driver));
    rig.drive();
    CHECK(reader.await() == "x");
}
