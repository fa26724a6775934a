// Batches of tasks on fibers, a thread each, and pools, measured. Layer: benchmarks.
//
// Everything here happens in a process that lives for one variant, so that what the kernel
// counts is that variant's alone.
#pragma once

#include "fibers_vs_pools/jobs.hpp"

#include <weft/fiber.hpp>
#include <weft/runtime.hpp>
#include <weft/thread_pool.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

namespace bench {

enum class Means : std::uint8_t { fibers, thread_each, pool };

struct Variant {
    std::string name;
    Means means;
    unsigned size;  // workers, 0 for as many as there are CPUs; threads of a pool
};

struct Work {
    Job job;
    std::size_t tasks;
    std::uint16_t port;  // of a server that echoes
};

/// What was measured. Goes through a pipe as it is.
struct Figures {
    double seconds;  // from the first submission until all were done
    double p50_us;   // of a task, from its own submission until it was done
    double p99_us;
    double user_ms;
    double system_ms;
    double switches;  // of threads, by the kernel
    double peak_mb;
    std::uint64_t checksum;
    char not_run[128];  // why there is none of the above; empty else
    bool failed;        // and that this is a mistake of ours, not a limit
};

struct Usage {
    double user_ms;
    double system_ms;
    double switches;

    static Usage now() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        const auto ms = [](const timeval& time) {
            return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
        };
        return {ms(usage.ru_utime), ms(usage.ru_stime),
                static_cast<double>(usage.ru_nvcsw + usage.ru_nivcsw)};
    }
};

template <class World>
class Batch {
public:
    explicit Batch(const Work& work)
        : work_{work},
          worker_{work.port},
          tasks_(work.tasks),
          left_{static_cast<std::ptrdiff_t>(work.tasks)} {}

    /// Has every task run by `submit(function)` and waits for all.
    template <class Submit>
    void run(Submit& submit) {
        for (std::size_t i = 0; i < work_.tasks; ++i) {
            tasks_[i].submitted_ns = now_ns();
            submit([this, i] { run_task(i); });
        }
        left_.wait();
    }

    Figures figures(const Usage& before, const Usage& after) const {
        Figures figures{};
        std::vector<float> latencies_us;
        std::uint64_t end_ns = 0;
        for (const Task& task : tasks_) {
            latencies_us.push_back(static_cast<float>(task.done_ns - task.submitted_ns) / 1e3f);
            end_ns = std::max(end_ns, task.done_ns);
            figures.checksum += task.value;
        }
        figures.seconds = static_cast<double>(end_ns - tasks_.front().submitted_ns) / 1e9;
        figures.p50_us = quantile(latencies_us, 0.5);
        figures.p99_us = quantile(latencies_us, 0.99);
        figures.user_ms = after.user_ms - before.user_ms;
        figures.system_ms = after.system_ms - before.system_ms;
        figures.switches = after.switches - before.switches;
        figures.peak_mb = peak_resident_mb();
        return figures;
    }

private:
    struct Task {
        std::uint64_t submitted_ns = 0;
        std::uint64_t done_ns = 0;
        std::uint64_t value = 0;
    };

    void run_task(std::size_t i) noexcept {
        tasks_[i].value = worker_.run(work_.job, i);
        tasks_[i].done_ns = now_ns();
        left_.count_down();
    }

    const Work work_;
    Worker<World> worker_;
    std::vector<Task> tasks_;
    typename World::Latch left_;
};

/// Runs the work after a small batch that starts a pool's threads and fills the caches. Of both
/// nothing is freed: a thread that counted down may still touch the latch, and the process ends.
template <class World, class Submit>
Figures measure(const Work& work, Submit submit) {
    auto* warm_up = new Batch<World>{{Job::nap, std::min<std::size_t>(work.tasks, 512), 0}};
    warm_up->run(submit);
    auto* batch = new Batch<World>{work};
    const Usage before = Usage::now();
    batch->run(submit);
    return batch->figures(before, Usage::now());
}

inline Figures measure_on(const Variant& variant, const Work& work) {
    switch (variant.means) {
        case Means::fibers: {
            weft::Options options;
            options.workers = variant.size;
            return weft::run(
                [&work] {
                    return measure<OnFiber>(work, [](auto task) { weft::spawn(task).detach(); });
                },
                options);
        }
        case Means::thread_each:
            return measure<OnThread>(work, [](auto task) { std::thread{task}.detach(); });
        case Means::pool: {
            weft::ThreadPool pool{variant.size, {.name = "bench", .waiting = 0}};
            return measure<OnThread>(work, [&pool](auto task) { pool.submit(task); });
        }
    }
    return {};
}

/// The same; what there is no memory or no thread for says so.
inline Figures measure_or_say_why(const Variant& variant, const Work& work) {
    try {
        return measure_on(variant, work);
    } catch (const std::system_error& error) {
        Figures figures{};
        std::snprintf(figures.not_run, sizeof figures.not_run, "%s",
                      error.code().message().c_str());
        return figures;
    }
}

}  // namespace bench
