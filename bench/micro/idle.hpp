// Lines about fibers that only wait: what they hold, what they cost. Layer: benchmarks, micro.
#pragma once

#include "common/json.hpp"
#include "common/measure.hpp"
#include "micro/peer.hpp"

#include <unistd.h>

#include <atomic>
#include <thread>

namespace bench {

/// Fibers that all wait for one semaphore, until they are let go.
template <class Peer>
class ParkedFibers {
public:
    /// Spawns them; the handles' memory is touched here, so that it does not
    /// count as the fibers'.
    explicit ParkedFibers(long fibers)
        : fibers_{fibers}, tasks_(static_cast<std::size_t>(fibers)) {}

    void park_all() {
        for (auto& task : tasks_) {
            task = Peer::spawn([this] {
                arrived_.fetch_add(1, std::memory_order_relaxed);
                gate_.acquire();
            });
        }
        while (arrived_.load() < fibers_) Peer::pause();
    }

    void release_all() {
        for (long i = 0; i < fibers_; ++i) gate_.release();
        join_tasks<Peer>(tasks_);
    }

private:
    long fibers_;
    Tasks<Peer> tasks_;
    std::atomic<long> arrived_{0};
    typename Peer::Semaphore gate_{0};
};

/// What one parked fiber holds: pages, page tables, mappings.
template <class Peer>
void idle_memory_line(JsonLine& result, long fibers) {
    ParkedFibers<Peer> parked{fibers};
    const auto each = [fibers](double amount) { return amount / static_cast<double>(fibers); };

    const Memory before = Memory::now();
    const std::uint64_t start = now_ns();
    parked.park_all();
    const auto parking = static_cast<double>(now_ns() - start);
    const Memory after = Memory::now();
    const std::uint64_t release_start = now_ns();
    parked.release_all();
    const auto releasing = static_cast<double>(now_ns() - release_start);

    const auto kb_each = [&each](long now, long then) {
        return each(static_cast<double>(now - then));
    };
    result.value("rss_b_per_fiber", 1024 * kb_each(after.resident_kb, before.resident_kb))
        .number("page_tables_b_per_fiber",
                1024 * kb_each(after.page_tables_kb, before.page_tables_kb))
        .number("virtual_kb_per_fiber", kb_each(after.virtual_kb, before.virtual_kb))
        .number("maps_per_fiber", each(static_cast<double>(after.maps - before.maps)))
        .number("maps", static_cast<double>(after.maps))
        .number("park_ns", each(parking))
        .number("release_ns", each(releasing))
        .number("peak_rss_mb", peak_resident_mb());
}

/// What a runtime costs that has `fibers` parked fibers and nothing to do: CPU
/// time, and how often its threads were woken, over two seconds. Measured from
/// a plain thread, whose own sleeps do not count.
template <class Peer>
void idle_cpu_line(JsonLine& result, long fibers) {
    constexpr double seconds = 2;
    ParkedFibers<Peer> parked{fibers};
    parked.park_all();
    typename Peer::Semaphore finished{0};
    double cpu_ns = 0;
    long wakeups = 0;
    std::thread watcher{[&finished, &cpu_ns, &wakeups] {
        usleep(200'000);  // what parking left to do comes to rest
        const int self = gettid();
        const long sleeps_before = thread_sleeps(self);
        const std::uint64_t cpu_before = process_cpu_ns();
        usleep(static_cast<useconds_t>(seconds * 1e6));
        cpu_ns = static_cast<double>(process_cpu_ns() - cpu_before);
        wakeups = thread_sleeps(self) - sleeps_before;
        finished.release();
    }};
    finished.acquire();
    watcher.join();
    result.value("cpu_ms_per_s", cpu_ns / 1e6 / seconds)
        .number("wakeups_per_s", static_cast<double>(wakeups) / seconds)
        .number("fibers", static_cast<double>(fibers));
    parked.release_all();
}

}  // namespace bench
