// Running a test body as the main fiber of real runtimes.
#pragma once

#include "support/catch.hpp"
#include "support/process.hpp"

#include <weft/runtime.hpp>
#include <weft/testing.hpp>

#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace weft::test {

/// What the tests run on: WEFT_IO if set, else io_uring and epoll both where
/// the kernel allows io_uring, else epoll alone.
inline std::vector<Io> available_io() {
    if (const char* io = std::getenv("WEFT_IO")) {
        return {std::string_view{io} == "epoll" ? Io::epoll : Io::uring};
    }
    static const bool uring = [] {
        try {
            Runtime{{.workers = 1, .io = Io::uring}};
            return true;
        } catch (const std::system_error&) {
            return false;
        }
    }();
    return uring ? std::vector{Io::uring, Io::epoll} : std::vector{Io::epoll};
}

inline const char* name_of(Io io) { return io == Io::uring ? "uring" : "epoll"; }

/// Runs `body` as the main fiber on 1, 2 and 8 workers. After it nothing may be
/// left: the runtime asserts that no fiber, stack, timer or operation survived.
template <class Body>
void on_workers(Body&& body, Io io = Io::automatic) {
    for (const unsigned workers : {1u, 2u, 8u}) {
        INFO("workers: " << workers);
        weft::run([&] { body(); }, {.workers = workers, .io = io});
    }
}

/// The same, and again with every fiber sent to another worker when it is woken.
template <class Body>
void also_migrating(Body&& body) {
    on_workers(body);
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    on_workers(body);
}

/// Runs `body(seed)` as the main fiber of as many simulated runtimes, each with a
/// seed of its own.
template <class Body>
void on_seeds(std::uint64_t count, Body&& body, const SimulationOptions& options = {}) {
    for (std::uint64_t seed = 0; seed < count; ++seed) {
        INFO("seed: " << seed);
        weft::simulate(
            seed, [&] { body(seed); }, options);
    }
}

/// on_workers(), through io_uring and through epoll.
template <class Body>
void on_workers_and_io(Body&& body) {
    for (const Io io : available_io()) {
        INFO("io: " << name_of(io));
        on_workers(body, io);
    }
}

/// The same, and in a few simulations, which cut I/O short and put it off.
template <class Body>
void on_all_io(Body&& body) {
    on_workers_and_io(body);
    const SimulationOptions trouble{.short_percent = 50, .delay_percent = 30};
    on_seeds(
        20, [&](std::uint64_t) { body(); }, trouble);
}

}  // namespace weft::test
