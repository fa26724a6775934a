// Requests carried out by system calls, through the epoll driver.
#include "io/attempt.hpp"

#include "io/epoll_rig.hpp"

#include <sys/uio.h>

#include <vector>

using namespace weft::test;

// --- sockets ---

TEST_CASE("what is there is received at once", "[io][epoll]") {
    Rig rig;
    const Pair pair = sockets();
    put(pair.b, "hello");
    Reader reader{pair.a};
    rig.driver.submit(reader.operation);
    CHECK(rig.driver.in_flight() == 0);
    CHECK(reader.await() == "hello");
}

TEST_CASE("a receive waits until something comes, and the end of the stream is 0", "[io][epoll]") {
    Rig rig;
    Pair pair = sockets();
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

TEST_CASE("MSG_WAITALL waits for all, and what came is not lost when it is cancelled",
          "[io][epoll]") {
    Rig rig;
    const Pair pair = sockets();
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
    const Pair pair = sockets();
    Reader reader{pair.a, Code::recv, MSG_DONTWAIT};
    rig.driver.submit(reader.operation);
    CHECK(reader.operation.await() == -EAGAIN);
}

TEST_CASE("a send to nobody says so and raises no signal", "[io][epoll]") {
    Rig rig;
    Pair pair = sockets();
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

// --- poll, pipes, terminals, files ---

TEST_CASE("poll tells the events that came", "[io][epoll]") {
    Rig rig;
    Pair pair = pipe_ends();
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
    const Pair pair = kind == 0 ? pipe_ends() : kind == 1 ? pipe_ends(O_NONBLOCK) : fifo_pair();
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
