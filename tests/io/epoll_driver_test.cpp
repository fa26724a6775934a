// The epoll driver, driven by hand: the test's thread is the worker and, as a
// plain thread, the party that waits for the operations.
#include "io/epoll_driver.hpp"

#include "io/offload.hpp"
#include "support/catch.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace weft;
using namespace weft::detail;
using Code = Request::Code;

namespace {

class Fd {
public:
    explicit Fd(int fd = -1) noexcept : fd_{fd} {}
    Fd(Fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd() { reset(); }
    void reset() noexcept {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }
    operator int() const noexcept { return fd_; }

private:
    int fd_;
};

struct Pair {
    Fd a;
    Fd b;
};

Pair socket_pair(int type = SOCK_STREAM) {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, type, 0, fds) == 0);
    return {Fd{fds[0]}, Fd{fds[1]}};
}

Pair pipe_pair(int flags = 0) {
    int fds[2];
    REQUIRE(::pipe2(fds, flags) == 0);
    return {Fd{fds[0]}, Fd{fds[1]}};
}

/// Named ones know no RWF_NOWAIT.
Pair fifo_pair() {
    const std::string path = "/tmp/weft-epoll-fifo-" + std::to_string(::getpid());
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    Fd reading{::open(path.c_str(), O_RDONLY | O_NONBLOCK)};
    Fd writing{::open(path.c_str(), O_WRONLY)};
    REQUIRE(::fcntl(reading, F_SETFL, 0) == 0);
    ::unlink(path.c_str());
    return {std::move(reading), std::move(writing)};
}

void put(int fd, std::string_view text) {
    REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

Request request_of(Code code, int fd, const void* buffer, std::size_t length,
                   std::uint32_t flags = 0, std::int64_t offset = -1) {
    Request request;
    request.code = code;
    request.fd = fd;
    request.buffer = buffer;
    request.length = static_cast<std::uint32_t>(length);
    request.flags = flags;
    request.offset = offset;
    return request;
}

Request poll_of(int fd, std::uint32_t events) {
    return request_of(Code::poll, fd, nullptr, 0, events);
}

/// A receive with its buffer.
struct Reader {
    explicit Reader(int fd, Code code = Code::recv, std::uint32_t flags = 0)
        : operation{request_of(code, fd, buffer.data(), buffer.size(), flags)} {}
    std::string_view text(int result) const {
        return {buffer.data(), static_cast<std::size_t>(std::max(result, 0))};
    }
    std::string_view await() { return text(operation.await()); }

    std::array<char, 16> buffer{};
    Operation operation;
};

struct Rig {
    Offload offload;
    EpollDriver driver{offload};

    /// Submits `request`, drives until it is over and returns its result.
    int perform(const Request& request) {
        Operation operation{request};
        driver.submit(operation);
        drive();
        return operation.await();
    }
    /// Until nothing is in flight.
    void drive() {
        for (int i = 0; driver.in_flight() > 0 && i < 500; ++i) driver.wait(1ms);
        REQUIRE(driver.in_flight() == 0);
    }
    void cancel(Operation& operation, int expected = -ECANCELED) {
        driver.cancel(operation);
        CHECK(operation.await() == expected);
    }
};

struct Listener {
    explicit Listener(int flags = 0) {
        fd = Fd{::socket(AF_INET, SOCK_STREAM | flags, 0)};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        REQUIRE(::bind(fd, as_address(), size) == 0);
        REQUIRE(::listen(fd, 16) == 0);
        REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    }
    const sockaddr* as_address() const { return reinterpret_cast<const sockaddr*>(&address); }
    Fd connect() const {
        Fd client{::socket(AF_INET, SOCK_STREAM, 0)};
        REQUIRE(::connect(client, as_address(), sizeof address) == 0);
        return client;
    }
    Fd fd;
    sockaddr_in address{};
};

std::string temporary_file(std::string_view content) {
    std::string path = "/tmp/weft-epoll-XXXXXX";
    const Fd fd{::mkstemp(path.data())};
    REQUIRE(fd >= 0);
    put(fd, content);
    return path;
}

}  // namespace

// --- sockets ---

TEST_CASE("what is there is received at once", "[io][epoll]") {
    Rig rig;
    const Pair pair = socket_pair();
    put(pair.b, "hello");
    Reader reader{pair.a};
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 0);
    CHECK(reader.await() == "hello");
}

TEST_CASE("a receive waits until something comes, and the end of the stream is 0", "[io][epoll]") {
    Rig rig;
    Pair pair = socket_pair();
    {
        Reader reader{pair.a};
        rig.driver.submit(reader.operation);
        rig.driver.poll();
        CHECK(rig.driver.in_flight() == 1);
        put(pair.b, "late");
        rig.drive();
        CHECK(reader.await() == "late");
    }
    Reader reader{pair.a};
    rig.driver.submit(reader.operation);
    pair.b.reset();
    rig.drive();
    CHECK(reader.operation.await() == 0);
}

TEST_CASE("a reader and a writer wait on one descriptor", "[io][epoll]") {
    Rig rig;
    const Pair pair = socket_pair();
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
    const Pair pair = socket_pair(SOCK_DGRAM);
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
    const Pair pair = socket_pair();
    std::vector<std::unique_ptr<Operation>> polls;
    for (int i = 0; i < 200; ++i) {
        polls.push_back(std::make_unique<Operation>(poll_of(pair.a, POLLIN)));
        rig.driver.submit(*polls.back());
    }
    put(pair.b, "x");
    rig.drive();
    for (const auto& each : polls) CHECK((each->await() & POLLIN) != 0);
}

TEST_CASE("MSG_WAITALL waits for all, and what came is not lost when it is cancelled",
          "[io][epoll]") {
    Rig rig;
    const Pair pair = socket_pair();
    {
        Reader reader{pair.a, Code::recv, MSG_WAITALL};
        rig.driver.submit(reader.operation);
        put(pair.b, "01234567");
        rig.driver.wait(5s);
        CHECK(rig.driver.in_flight() == 1);
        put(pair.b, "89abcdef");
        rig.drive();
        CHECK(reader.await() == "0123456789abcdef");
    }
    Reader reader{pair.a, Code::recv, MSG_WAITALL};
    put(pair.b, "some");
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 1);
    rig.cancel(reader.operation, 4);
    CHECK(reader.text(4) == "some");
}

TEST_CASE("MSG_DONTWAIT does not wait", "[io][epoll]") {
    Rig rig;
    const Pair pair = socket_pair();
    Reader reader{pair.a, Code::recv, MSG_DONTWAIT};
    rig.driver.submit(reader.operation);
    CHECK(reader.operation.await() == -EAGAIN);
}

TEST_CASE("a send to nobody says so and raises no signal", "[io][epoll]") {
    Rig rig;
    Pair pair = socket_pair();
    pair.b.reset();
    CHECK(rig.perform(request_of(Code::send, pair.a, "x", 1)) == -EPIPE);
}

TEST_CASE("a listener that blocks does not block two drivers that accept from it", "[io][epoll]") {
    Offload offload;
    EpollDriver one{offload};
    EpollDriver other{offload};
    const Listener listener;
    const Request request = request_of(Code::accept, listener.fd, nullptr, 0, SOCK_CLOEXEC);
    Operation first{request};
    Operation second{request};
    one.submit(first);
    other.submit(second);

    const Fd client = listener.connect();
    one.wait(5s);
    other.poll();
    CHECK(one.in_flight() + other.in_flight() == 1);
    const Fd next_client = listener.connect();
    if (one.in_flight() > 0) one.wait(5s);
    if (other.in_flight() > 0) other.wait(5s);
    CHECK(one.in_flight() + other.in_flight() == 0);
    const Fd accepted{first.await()};
    const Fd next_accepted{second.await()};
    CHECK(accepted >= 0);
    CHECK(next_accepted >= 0);
    CHECK((::fcntl(accepted, F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("connect succeeds or brings the socket's error; O_NONBLOCK stays as it was",
          "[io][epoll]") {
    const int kind = GENERATE(0, SOCK_NONBLOCK);
    Rig rig;
    Listener listener;
    const auto request = [&listener](int fd) {
        return request_of(Code::connect, fd, &listener.address, sizeof listener.address);
    };
    const Fd client{::socket(AF_INET, SOCK_STREAM | kind, 0)};
    CHECK(rig.perform(request(client)) == 0);
    CHECK((::fcntl(client, F_GETFL) & O_NONBLOCK) == (kind == 0 ? 0 : O_NONBLOCK));

    listener.fd.reset();
    const Fd refused{::socket(AF_INET, SOCK_STREAM | kind, 0)};
    CHECK(rig.perform(request(refused)) == -ECONNREFUSED);
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
    const Deadline deadline{20ms};
    rig.driver.wait(deadline);
    CHECK(deadline.passed());
    rig.cancel(reader.operation);
}

// --- poll, pipes, terminals, files ---

TEST_CASE("poll tells the events that came", "[io][epoll]") {
    Rig rig;
    Pair pair = pipe_pair();
    Operation operation{poll_of(pair.a, POLLIN)};
    rig.driver.submit(operation);
    CHECK(rig.driver.in_flight() == 1);
    pair.b.reset();
    rig.drive();
    CHECK(operation.await() == POLLHUP);
    CHECK(rig.perform(poll_of(987'654, POLLIN)) == -EBADF);
}

TEST_CASE("a pipe is read and written without blocking", "[io][epoll]") {
    const int kind = GENERATE(0, 1, 2);
    Rig rig;
    const Pair pair = kind == 0 ? pipe_pair() : kind == 1 ? pipe_pair(O_NONBLOCK) : fifo_pair();
    Reader reader{pair.a, Code::read};
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 1);
    put(pair.b, "through");
    rig.drive();
    CHECK(reader.await() == "through");

    const std::vector<char> much(1 << 20, 'x');
    const Request request = request_of(Code::write, pair.b, much.data(), much.size());
    pollfd room{pair.b, POLLOUT, 0};
    while (::poll(&room, 1, 0) > 0) {
        const int written = rig.perform(request);
        CHECK(written > 0);
        CHECK(written < 1 << 20);
    }
    Operation blocked{request};
    rig.driver.submit(blocked);
    CHECK(rig.driver.in_flight() == 1);
    std::vector<char> sink(1 << 16);
    CHECK(::read(pair.a, sink.data(), sink.size()) > 0);
    rig.drive();
    CHECK(blocked.await() > 0);
}

TEST_CASE("a terminal, which knows no RWF_NOWAIT, is waited for", "[io][epoll]") {
    Rig rig;
    const Fd master{::posix_openpt(O_RDWR | O_NOCTTY)};
    REQUIRE(master >= 0);
    REQUIRE(::grantpt(master) == 0);
    REQUIRE(::unlockpt(master) == 0);
    const Fd terminal{::open(::ptsname(master), O_RDWR | O_NOCTTY)};
    REQUIRE(terminal >= 0);
    Reader reader{terminal, Code::read};
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 1);
    put(master, "line\n");
    rig.drive();
    CHECK(reader.await() == "line\n");
    iovec pieces[] = {{nullptr, 0}, {const_cast<char*>("out"), 3}};
    CHECK(rig.perform(request_of(Code::writev, terminal, pieces, 2)) == 3);
}

TEST_CASE("files are opened, read, written, asked and closed", "[io][epoll][file]") {
    Rig rig;
    const std::string path = temporary_file("content");
    const int fd = rig.perform(request_of(Code::openat, AT_FDCWD, path.c_str(), 0, O_RDWR));
    REQUIRE(fd >= 0);
    char text[32] = {};
    CHECK(rig.perform(request_of(Code::read, fd, text, sizeof text, 0, 3)) == 4);
    CHECK(std::string_view{text} == "tent");
    CHECK(rig.perform(request_of(Code::read, fd, text, sizeof text, 0, 7)) == 0);
    CHECK(rig.perform(request_of(Code::write, fd, "C", 1, 0, 0)) == 1);
    CHECK(rig.perform(request_of(Code::fsync, fd, nullptr, 0)) == 0);
    CHECK(rig.perform(request_of(Code::fsync, fd, nullptr, 0, 1)) == 0);
    CHECK(rig.perform(request_of(Code::read, fd, text, 2)) == 2);
    CHECK(rig.perform(request_of(Code::read, fd, text, sizeof text)) == 5);
    CHECK(std::string_view{text, 5} == "ntent");

    struct statx about {};
    Request ask = request_of(Code::statx, AT_FDCWD, path.c_str(), STATX_SIZE);
    ask.extra = &about;
    CHECK(rig.perform(ask) == 0);
    CHECK(about.stx_size == 7);
    CHECK((rig.perform(poll_of(fd, POLLIN)) & POLLIN) != 0);
    CHECK(rig.perform(request_of(Code::close, fd, nullptr, 0)) == 0);
    CHECK(rig.perform(request_of(Code::read, fd, text, 1)) == -EBADF);
    CHECK(rig.perform(request_of(Code::openat, AT_FDCWD, "/no/such", 0, O_RDONLY)) == -ENOENT);
    ::unlink(path.c_str());
}

TEST_CASE("a file that is not in memory is read whole, by a thread", "[io][epoll][file]") {
    Rig rig;
    const std::string path = temporary_file(std::string(1 << 20, 'z'));
    const Fd fd{::open(path.c_str(), O_RDONLY)};
    REQUIRE(::fsync(fd) == 0);
    // Only the beginning in memory: an attempt finds a part.
    REQUIRE(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    std::vector<char> buffer(1 << 20);
    REQUIRE(::pread(fd, buffer.data(), 10, 0) == 10);
    CHECK(rig.perform(request_of(Code::read, fd, buffer.data(), buffer.size(), 0, 0)) == 1 << 20);
    CHECK(std::count(buffer.begin(), buffer.end(), 'z') == 1 << 20);
    ::unlink(path.c_str());
}

// --- cancelling and closing ---

TEST_CASE("what came before the cancellation wins, and no byte is lost", "[io][epoll][cancel]") {
    Rig rig;
    const Pair pair = socket_pair();
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

TEST_CASE("closing by number ends every operation on it, and only those", "[io][epoll][cancel]") {
    Rig rig;
    Pair pair = socket_pair();
    const Pair others = socket_pair();
    Reader one{pair.a};
    Reader two{pair.a};
    Reader elsewhere{others.a};
    Operation poll{poll_of(pair.a, POLLPRI)};
    rig.driver.submit(one.operation);
    rig.driver.submit(two.operation);
    rig.driver.submit(poll);
    rig.driver.submit(elsewhere.operation);
    std::thread{[&] { rig.driver.cancel_fd(pair.a); }}.join();
    CHECK(one.operation.await() == -ECANCELED);
    CHECK(two.operation.await() == -ECANCELED);
    CHECK(poll.await() == -ECANCELED);
    CHECK(rig.driver.in_flight() == 1);
    rig.cancel(elsewhere.operation);
    rig.driver.cancel_fd(pair.a);
    rig.driver.cancel_fd(-1);
    rig.driver.cancel_fd(1'000'000);
}

TEST_CASE("an event of a closed descriptor does not complete who waits on its successor",
          "[io][epoll][cancel]") {
    Rig rig;
    Pair old = socket_pair();
    const int number = old.a;
    const Fd copy{::dup(old.a)};  // keeps the old socket, and its registration, alive
    SECTION("closed by weft") {
        Reader reader{number};
        rig.driver.submit(reader.operation);
        rig.driver.cancel_fd(number);
        CHECK(reader.operation.await() == -ECANCELED);
    }
    SECTION("closed behind its back, while nobody waited") {
        Reader reader{number};
        rig.driver.submit(reader.operation);
        rig.cancel(reader.operation);
    }
    const Pair fresh = socket_pair();
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
    Pair old = socket_pair();
    const int number = old.a;
    Reader stale{number};
    rig.driver.submit(stale.operation);

    SECTION("to another socket") {
        const Pair fresh = socket_pair();
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
        rig.driver.cancel_fd(::dup2(number, number));
        CHECK(stale.operation.await() == -ECANCELED);
    }
}

TEST_CASE("one descriptor in two drivers wakes both, and one gets the datum", "[io][epoll]") {
    Offload offload;
    EpollDriver one{offload};
    EpollDriver other{offload};
    const Pair pair = socket_pair();
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
    const Pair pair = socket_pair();
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
    const Pair pair = socket_pair();
    Reader reader{pair.a};
    rig.driver.submit(reader.operation);
    CHECK_FALSE(rig.driver.rescue(0));
    put(pair.b, "x");
    bool delivered = false;
    std::thread{[&] { delivered = rig.driver.rescue(0); }}.join();
    CHECK(delivered);
    CHECK(reader.await() == "x");
}

TEST_CASE("ready() finds what came within a few calls and never what is not there",
          "[io][epoll]") {
    Rig rig;
    const auto finds = [&rig] {
        bool found = false;
        for (int i = 0; i < 16; ++i) found = rig.driver.ready() || found;
        return found;
    };
    const Pair pair = socket_pair();
    CHECK_FALSE(finds());
    Reader reader{pair.a};
    rig.driver.submit(reader.operation);
    CHECK_FALSE(finds());
    rig.driver.wake();
    CHECK_FALSE(finds());
    rig.driver.wait(Deadline::never());
    put(pair.b, "x");
    CHECK(finds());
    rig.drive();
    CHECK(reader.await() == "x");
}
