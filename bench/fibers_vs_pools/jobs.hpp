// What one task of fibers_vs_pools does, on a fiber and on a thread. Layer: benchmarks.
//
// The jobs are written once, in the blocking style, over a World that says how one waits:
// OnFiber by weft's calls, OnThread by the system's. A task's value depends on its number
// alone, so the sum over a batch shows that all of the work was done.
#pragma once

#include "common/measure.hpp"
#include "net/sockets.hpp"

#include <weft/io/address.hpp>
#include <weft/io/tcp.hpp>
#include <weft/latch.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <semaphore.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <latch>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

namespace bench {

enum class Job : std::uint8_t {
    sleep,   ///< 5 to 15 ms
    socket,  ///< connect, a request of 64 bytes, its answer
    cpu,     ///< a fixed amount of arithmetic: some 20 us
    mixed,   ///< all three
    nap,     ///< 1 ms; what a variant is warmed up with
};

using Message = std::array<std::byte, 64>;

/// Open connections, of all tasks together: a listener's queue and a process's descriptors are
/// limited, and a dropped SYN costs a second.
inline constexpr unsigned most_connections = 1024;

struct OnFiber {
    using Latch = weft::Latch;
    using Semaphore = weft::Semaphore;

    static void sleep(std::chrono::microseconds time) { weft::this_fiber::sleep_for(time); }

    /// Sends the message and receives the answer in its place. The connection is reset at the
    /// end, so that no port is kept for a minute.
    static void exchange(std::uint16_t port, Message& message) {
        auto stream = weft::io::TcpStream::connect(weft::io::Address::loopback_v4(port));
        stream.no_delay(true);
        stream.linger(0);
        stream.write_all(message);
        stream.read_exactly(message);
    }
};

/// The C library's.
class ThreadSemaphore {
public:
    explicit ThreadSemaphore(unsigned units) { sem_init(&semaphore_, 0, units); }
    ThreadSemaphore(const ThreadSemaphore&) = delete;
    ThreadSemaphore& operator=(const ThreadSemaphore&) = delete;
    ~ThreadSemaphore() { sem_destroy(&semaphore_); }

    void acquire() {
        while (sem_wait(&semaphore_) != 0) {  // interrupted by a signal
        }
    }
    void release() { sem_post(&semaphore_); }

private:
    sem_t semaphore_;
};

struct OnThread {
    using Latch = std::latch;
    using Semaphore = ThreadSemaphore;

    static void sleep(std::chrono::microseconds time) { std::this_thread::sleep_for(time); }

    static void exchange(std::uint16_t port, Message& message) {
        const Descriptor connection = connect_to_loopback(port);
        const linger reset{.l_onoff = 1, .l_linger = 0};
        setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        const ssize_t sent = send(connection.get(), message.data(), message.size(), MSG_NOSIGNAL);
        if (std::cmp_not_equal(sent, message.size())) fail("send");
        const ssize_t received =
            recv(connection.get(), message.data(), message.size(), MSG_WAITALL);
        if (std::cmp_not_equal(received, message.size())) fail("recv");
    }
};

/// Each step needs the one before, so that nothing of it can be saved.
inline std::uint64_t compute(std::uint64_t seed) noexcept {
    for (int step = 0; step < 5'000; ++step) seed = next_random(seed);
    return seed;
}

template <class World>
class Worker {
public:
    explicit Worker(std::uint16_t port) : port_{port} {}

    /// The value of task `number`. Never throws: a task that fails ends the process.
    std::uint64_t run(Job job, std::uint64_t number) noexcept {
        switch (job) {
            case Job::sleep: return sleep(number);
            case Job::socket: return ask(number);
            case Job::cpu: return compute(number);
            case Job::mixed: return compute(number) + ask(number) + sleep(number);
            case Job::nap: World::sleep(std::chrono::milliseconds{1}); return number;
        }
        return 0;
    }

private:
    std::uint64_t sleep(std::uint64_t number) {
        const std::uint64_t mixed = next_random(number);
        World::sleep(std::chrono::microseconds{5'000 + mixed % 10'000});
        return mixed;
    }

    std::uint64_t ask(std::uint64_t number) {
        Message message{};
        std::memcpy(message.data(), &number, sizeof number);
        connections_.acquire();
        World::exchange(port_, message);
        connections_.release();
        std::uint64_t answer = 0;
        std::memcpy(&answer, message.data(), sizeof answer);
        return next_random(answer);
    }

    const std::uint16_t port_;
    typename World::Semaphore connections_{most_connections};
};

}  // namespace bench
