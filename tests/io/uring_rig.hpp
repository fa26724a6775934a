// A uring driver driven by hand: the test's thread is the worker and, as a plain
// thread, the party that waits for the operations.
#pragma once

#include "io/operation.hpp"
#include "io/probe.hpp"
#include "io/uring_driver.hpp"
#include "support/catch.hpp"

#include <weft/deadline.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <vector>

namespace weft::test {

using detail::Operation;
using detail::Request;
using detail::uring_support;
using detail::UringDriver;
using detail::UringSupport;

/// This kernel's support, and less of it, as older ones have.
inline std::vector<UringSupport> supports() {
    if (!uring_support()) return {};
    UringSupport bare;
    bare.message_ring = false;
    return {uring_support(), bare};
}

struct Pair {
    int ends[2];
    Pair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0); }
    ~Pair() {
        ::close(ends[0]);
        ::close(ends[1]);
    }
    void send(const char* text = "x") { REQUIRE(::write(ends[1], text, 1) == 1); }
};

/// One byte received through a driver.
struct Receive {
    char byte = 0;
    Operation operation;
    explicit Receive(int fd)
        : operation{Request{.code = Request::Code::recv, .fd = fd, .buffer = &byte, .length = 1}} {}
};

inline void drain(UringDriver& driver) {
    while (driver.in_flight() > 0) driver.wait(Deadline::never());
}

}  // namespace weft::test
