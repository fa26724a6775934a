// A uring driver driven by hand: the test's thread is the worker and, as a plain
// thread, the party that waits for the operations.
#pragma once

#include "io/offload.hpp"
#include "io/operation.hpp"
#include "io/probe.hpp"
#include "io/uring_driver.hpp"
#include "support/fd.hpp"

#include <weft/deadline.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace weft::test {

using detail::Offload;
using detail::Operation;
using detail::Request;
using detail::uring_support;
using detail::UringDriver;
using detail::UringSupport;

/// Where drivers send what their ring does not know.
inline Offload& offload() {
    static Offload all;
    return all;
}

/// This kernel's support, and less of it, as older ones have.
inline std::vector<UringSupport> supports() {
    if (!uring_support()) return {};
    UringSupport bare;
    bare.message_ring = false;
    return {uring_support(), bare};
}

/// One byte received through a driver.
struct Receive {
    char byte = 0;
    Operation operation;
    explicit Receive(int fd)
        : operation{Request{.code = Request::Code::recv, .fd = fd, .buffer = &byte, .length = 1}} {}
};

using Operations = std::vector<std::unique_ptr<Operation>>;

/// Submits as many that do nothing.
inline Operations submit_nops(UringDriver& driver, int count) {
    Operations nops;
    for (int i = 0; i < count; ++i) {
        nops.push_back(std::make_unique<Operation>(Request{}));
        driver.submit(*nops.back());
    }
    return nops;
}

inline void drain(UringDriver& driver) {
    while (driver.in_flight() > 0) driver.wait(Deadline::never());
}

/// An operation that waits, so that the driver sleeps in its ring and not beside it.
class InRing {
public:
    explicit InRing(UringDriver& driver) : driver_{driver} { driver.submit(receive_.operation); }
    InRing(const InRing&) = delete;
    InRing& operator=(const InRing&) = delete;
    ~InRing() {
        put(pair_.b);
        drain(driver_);
        receive_.operation.await();
    }

private:
    UringDriver& driver_;
    const Pair pair_ = sockets();
    Receive receive_{pair_.a};
};

/// Wakes an owner that sleeps for ever otherwise, as soon as it has seen the last; in
/// its ring, if something is `in_flight`, or beside it.
inline void hand_over_by_wakes(const UringSupport& support, int rounds, bool in_flight) {
    std::atomic<int> asked{0};
    std::atomic<int> seen{0};
    UringDriver driver{support, offload()};
    std::thread owner{[&] {
        driver.attach();
        std::optional<InRing> something;
        if (in_flight) something.emplace(driver);
        while (seen < rounds) {
            if (asked == seen) driver.wait(Deadline::never());
            seen = asked.load();
        }
    }};
    for (int i = 1; i <= rounds; ++i) {
        asked = i;
        driver.wake();
        while (seen < i) std::this_thread::yield();
    }
    owner.join();
}

}  // namespace weft::test
