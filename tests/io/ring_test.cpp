#include "support/catch.hpp"

#include "io/probe.hpp"
#include "io/ring.hpp"

#include <linux/time_types.h>

#include <cerrno>

using weft::detail::Ring;
using weft::detail::uring_support;

namespace {

void push_nop(Ring& ring, std::uint64_t tag) {
    io_uring_sqe* entry = ring.push();
    REQUIRE(entry != nullptr);
    entry->opcode = IORING_OP_NOP;
    entry->user_data = tag;
    ring.publish();
}

}  // namespace

TEST_CASE("a ring takes entries until it is full, and gives all back", "[io][ring]") {
    if (!uring_support()) SKIP("no io_uring here");
    Ring ring{8, 16};
    REQUIRE(ring.enable() == 0);
    for (std::uint64_t i = 0; i < 8; ++i) push_nop(ring, i);
    REQUIRE(ring.push() == nullptr);
    REQUIRE(ring.unsubmitted() == 8);
    REQUIRE_FALSE(ring.has_completions());
    REQUIRE(ring.enter(8, 0, IORING_ENTER_GETEVENTS) == 8);
    REQUIRE(ring.unsubmitted() == 0);
    for (std::uint64_t i = 0; i < 8; ++i) {
        REQUIRE(ring.front() != nullptr);
        REQUIRE(ring.front()->user_data == i);
        ring.pop();
    }
    REQUIRE(ring.front() == nullptr);
}

TEST_CASE("completions beyond the queue are kept by the kernel", "[io][ring]") {
    if (!uring_support()) SKIP("no io_uring here");
    Ring ring{8, 8};
    REQUIRE(ring.enable() == 0);
    constexpr unsigned rounds = 50;
    for (unsigned i = 0; i < rounds; ++i) {
        for (unsigned j = 0; j < 8; ++j) push_nop(ring, 1);
        while (ring.unsubmitted() > 0) ring.enter(ring.unsubmitted(), 0, 0);
    }
    REQUIRE(ring.must_enter());
    unsigned count = 0;
    while (count < rounds * 8) {
        while (ring.front() != nullptr) {
            ring.pop();
            ++count;
        }
        if (ring.must_enter()) ring.enter(0, 0, IORING_ENTER_GETEVENTS);
    }
    REQUIRE_FALSE(ring.must_enter());
    REQUIRE(ring.front() == nullptr);
}

TEST_CASE("more entries than the kernel gives are cut down", "[io][ring]") {
    if (!uring_support()) SKIP("no io_uring here");
    const Ring ring{1u << 20, 1u << 21};
    REQUIRE(ring.sq_entries() >= 8);
    REQUIRE(ring.sq_entries() < (1u << 20));
}

TEST_CASE("a time-out ends a wait for nothing", "[io][ring]") {
    if (!uring_support()) SKIP("no io_uring here");
    Ring ring{8, 16};
    REQUIRE(ring.enable() == 0);
    const __kernel_timespec soon{0, 1000};
    REQUIRE(ring.enter(0, 1, IORING_ENTER_GETEVENTS, soon) == -ETIME);
}
