// An Offload without a free thread.
#pragma once

#include "io/offload.hpp"
#include "support/tcp.hpp"

#include <weft/fiber.hpp>

#include <vector>

namespace weft::test {

/// While it lives, no thread is free for what this runtime has threads for: all close
/// streams that linger, until their peers read.
class BusyThreads {
public:
    BusyThreads() {
        constexpr std::size_t threads = detail::Offload::max_threads;
        for (std::size_t i = 0; i < threads; ++i) streams_.push_back(connection());
        for (auto& each : streams_) {
            fill(each.client);
            each.client.linger(3600);
            closers_.push_back(weft::spawn([&each] { each.client.close(); }));
        }
        until_in_flight(threads);
    }
    BusyThreads(const BusyThreads&) = delete;
    BusyThreads& operator=(const BusyThreads&) = delete;
    ~BusyThreads() {
        for (auto& each : streams_) read_to_end(each.server);
        join_all(closers_);
    }

private:
    std::vector<Connection> streams_;
    std::vector<Fiber<>> closers_;
};

}  // namespace weft::test
