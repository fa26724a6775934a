// An epoll driver driven by hand: the test's thread is the worker and, as a
// plain thread, the party that waits for the operations.
#pragma once

#include "io/epoll_driver.hpp"
#include "io/offload.hpp"
#include "support/catch.hpp"
#include "support/fd.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>

namespace weft::test {

using namespace std::chrono_literals;
using namespace weft::detail;
using Code = Request::Code;

/// Named ones know no RWF_NOWAIT.
inline Pair fifo_pair() {
    const std::string path = "/tmp/weft-epoll-fifo-" + std::to_string(::getpid());
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    Fd reading{::open(path.c_str(), O_RDONLY | O_NONBLOCK)};
    Fd writing{::open(path.c_str(), O_WRONLY)};
    REQUIRE(::fcntl(reading, F_SETFL, 0) == 0);
    ::unlink(path.c_str());
    return {std::move(reading), std::move(writing)};
}

inline Request request_of(Code code, int fd, const void* buffer, std::size_t length,
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

inline Request poll_of(int fd, std::uint32_t events) {
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
        while (driver.in_flight() > 0) {
            driver.wait(0ms);
            std::this_thread::yield();  // to a thread of the offload
        }
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

inline std::string temporary_file(std::string_view content) {
    std::string path = "/tmp/weft-epoll-XXXXXX";
    const Fd fd{::mkstemp(path.data())};
    REQUIRE(fd >= 0);
    put(fd, content);
    return path;
}

}  // namespace weft::test
