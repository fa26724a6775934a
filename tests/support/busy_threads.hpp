// Threads of the Offload kept by calls that last: all, unless a runtime is told otherwise.
#pragma once

#include "io/offload.hpp"
#include "io/operation.hpp"

#include <weft/fiber.hpp>
#include <weft/this_fiber.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <stdexcept>
#include <vector>

namespace weft::test {

/// While it lives. Method: as many calls as there are threads read from a pipe.
class BusyThreads {
public:
    explicit BusyThreads(std::size_t threads = detail::Offload::default_threads) {
        if (::pipe2(pipe_.data(), O_CLOEXEC) != 0) throw std::runtime_error{"no pipe"};
        for (std::size_t i = 0; i < threads; ++i) {
            readers_.push_back(weft::spawn([this] {
                detail::Operation operation{{.code = detail::Request::Code::call, .extra = &read_}};
                perform(operation, Deadline::never(), detail::Cancellable::no, "read");
            }));
        }
        while (reading_ < threads) weft::this_fiber::yield();
    }
    BusyThreads(const BusyThreads&) = delete;
    BusyThreads& operator=(const BusyThreads&) = delete;
    ~BusyThreads() {
        ::close(pipe_[1]);
        join_all(readers_);
        ::close(pipe_[0]);
    }

private:
    std::array<int, 2> pipe_{};
    std::atomic<std::size_t> reading_{0};
    detail::BlockingCall read_{[](void* busy) noexcept {
                                   auto& self = *static_cast<BusyThreads*>(busy);
                                   ++self.reading_;
                                   char byte = 0;
                                   return static_cast<int>(::read(self.pipe_[0], &byte, 1));
                               },
                               this};
    std::vector<Fiber<>> readers_;
};

}  // namespace weft::test
