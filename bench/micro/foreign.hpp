// Lines about a plain thread that gives an idle runtime work. Layer: benchmarks, micro.
//
// The thread waits 2.5 ms before each request, so that the runtime's threads
// are asleep in the kernel: the value is the way from one thread's call to the
// first instruction of the fiber, through a wakeup.
#pragma once

#include "common/json.hpp"
#include "common/measure.hpp"
#include "micro/peer.hpp"

#include <unistd.h>

#include <atomic>
#include <thread>

namespace bench {

/// Latencies of requests that a plain thread makes and a fiber answers.
class Responses {
public:
    /// In the fiber: the request has arrived.
    void answer() noexcept { answered_ns_.store(now_ns()); }

    /// In the plain thread: `request()` once the runtime sleeps, `times` times.
    template <class Request>
    void collect(int times, Request request) {
        usleep(20'000);
        for (int i = 0; i < times; ++i) {
            usleep(2'500);
            answered_ns_.store(0);
            const std::uint64_t start = now_ns();
            request();
            await_answer(start);
        }
    }

    void report(JsonLine& result, std::uint64_t cpu_ns, std::uint64_t wall_ns) {
        const auto cpu = static_cast<double>(cpu_ns);
        const auto requests = static_cast<double>(latencies_us_.size());
        result.value("p50_us", quantile(latencies_us_, 0.5))
            .number("p90_us", quantile(latencies_us_, 0.9))
            .number("p99_us", quantile(latencies_us_, 0.99))
            .number("max_us", quantile(latencies_us_, 1.0))
            .number("cpu_us_per_request", cpu / 1e3 / requests)
            .number("cpu_fraction", cpu / static_cast<double>(wall_ns));
    }

private:
    void await_answer(std::uint64_t start) {
        constexpr int patience = 100'000;  // of 100 us: a lost wakeup becomes a figure, not a hang
        for (int i = 0; i < patience && answered_ns_.load() == 0; ++i) usleep(100);
        const std::uint64_t answered = answered_ns_.load();
        const double us = answered == 0 ? 1e9 : static_cast<double>(answered - start) / 1e3;
        latencies_us_.push_back(static_cast<float>(us));
    }

    std::atomic<std::uint64_t> answered_ns_{0};
    std::vector<float> latencies_us_;
};

/// A plain thread spawns a fiber into the idle runtime.
template <class Peer>
void foreign_spawn_line(JsonLine& result, int requests) {
    static Responses responses;  // a fiber may be in its last instructions when the line ends
    typename Peer::Semaphore finished(0);
    const std::uint64_t cpu_before = process_cpu_ns();
    const std::uint64_t start = now_ns();
    std::thread outsider{[&finished, requests] {
        responses.collect(requests, [] { Peer::foreign_spawn([] { responses.answer(); }); });
        Peer::foreign_spawn([&finished] { finished.release(); });
    }};
    finished.acquire();
    outsider.join();
    responses.report(result, process_cpu_ns() - cpu_before, now_ns() - start);
}

/// A plain thread releases a semaphore for which a fiber waits.
template <class Peer>
void foreign_wake_line(JsonLine& result, int requests) {
    static Responses responses;
    typename Peer::Semaphore requested(0);
    typename Peer::Semaphore finished(0);
    std::atomic<bool> last{false};
    const std::uint64_t cpu_before = process_cpu_ns();
    const std::uint64_t start = now_ns();
    auto waiting = Peer::spawn([&requested, &last] {
        for (;;) {
            requested.acquire();
            if (last.load()) return;
            responses.answer();
        }
    });
    std::thread outsider{[&requested, &finished, &last, requests] {
        responses.collect(requests, [&requested] { requested.release(); });
        last.store(true);
        requested.release();
        finished.release();
    }};
    finished.acquire();
    Peer::join(waiting);
    outsider.join();
    responses.report(result, process_cpu_ns() - cpu_before, now_ns() - start);
}

}  // namespace bench
