// Simulate: a real scheduler on one thread, replayed by its seed.
// Layer: diag. Uses: all rooms above.
//
// The seams: the clock (base/clock.hpp), the driver (SimDriver), the choice of
// the worker and the victim (Random), and the step (Worker::step) instead of a
// thread. All else is the code that runs in production.
#include <weft/testing.hpp>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "diag/sim_driver.hpp"
#include "os/quiet_pipe.hpp"
#include "park/deadlock.hpp"
#include "sched/scheduler.hpp"
#include "task/fiber_end.hpp"

#include <weft/deadlock.hpp>
#include <weft/fiber.hpp>
#include <weft/runtime.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

namespace weft {

namespace detail {

namespace {

// I/O that does not complete although nothing else can run is asked this often
// before the run counts as stalled.
constexpr int most_idle_rounds = 1000;

void report_nothing(std::uint64_t, std::string_view, std::exception_ptr) {}

Scheduler::Setup setup_of(std::uint64_t seed, const SimulationOptions& options) {
    Scheduler::Setup setup;
    setup.workers = options.workers;
    setup.stack_shift = 18;
    setup.seed = seed;
    setup.simulated = true;
    setup.unhandled = &report_nothing;
    setup.at_end = &end_fiber;
    setup.throw_interrupt = &throw_interrupt;
    return setup;
}

class Simulation {
public:
    Simulation(std::uint64_t seed, const SimulationOptions& options)
        : random_{seed}, scheduler_{setup_of(seed, options), [&](std::uint32_t index) {
                                        return std::make_unique<SimDriver>(options,
                                                                           seed * 31 + index);
                                    }} {
        use_virtual_clock(&clock_);
        for (std::uint32_t i = scheduler_.workers(); i-- > 0;) scheduler_.worker(i).attach();
    }
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;
    ~Simulation() {
        scheduler_.worker(0).detach();
        use_virtual_clock(nullptr);
    }

    /// Runs until no fiber is left, or none can run: then false.
    bool run() {
        while (!scheduler_.quiet(true)) {
            if (step_one() || step_any() || advance_clock() || wait_for_io()) continue;
            return false;
        }
        return true;
    }

    /// After a run() that was false. False: there is no way to go on.
    bool end_waits() { return end_some_waits(scheduler_, describe()) != 0; }

    std::string describe() {
        std::string text = "weft: deadlock: no fiber can run, and nothing is left to wake one\n";
        append_waits(text, scheduler_);
        return text;
    }

    SimulationTrace trace() const { return trace_; }

private:
    // A worker drawn by lot; most of the time it has something to do.
    bool step_one() { return step(random_.below(scheduler_.workers())); }

    bool step_any() {
        for (std::uint32_t i = 0; i < scheduler_.workers(); ++i) {
            if (step(i)) return true;
        }
        return false;
    }

    bool step(std::uint32_t index) {
        Worker& worker = scheduler_.worker(index);
        worker.take_thread();
        std::uint64_t id = 0;
        if (!worker.step(id)) return false;
        if (first_id_ == 0) first_id_ = id;
        ++trace_.steps;
        trace_.hash = (trace_.hash ^ (id - first_id_) * 1024 ^ index) * 0x100000001B3u;
        idle_rounds_ = 0;
        return true;
    }

    bool advance_clock() {
        TimePoint next = TimePoint::max();
        for (std::uint32_t i = 0; i < scheduler_.workers(); ++i) {
            next = std::min(next, scheduler_.worker(i).timers().next());
        }
        if (next == TimePoint::max()) return false;
        clock_.advance_to(next);
        return true;
    }

    bool wait_for_io() {
        std::size_t in_flight = 0;
        for (std::uint32_t i = 0; i < scheduler_.workers(); ++i) {
            in_flight += scheduler_.worker(i).driver().in_flight();
        }
        return in_flight > 0 && ++idle_rounds_ < most_idle_rounds;
    }

    const io::detail::QuietPipe quiet_;  // as a worker's thread is
    VirtualClock clock_;
    Random random_;
    Scheduler scheduler_;
    SimulationTrace trace_;
    std::uint64_t first_id_ = 0;
    int idle_rounds_ = 0;
};

}  // namespace

SimulationTrace simulate(std::uint64_t seed, const SimulationOptions& options, void (*main)(void*),
                         void* context) {
    if (options.workers == 0 || options.workers > 1024) {
        throw std::invalid_argument{"weft: a simulation has from 1 to 1024 workers, not " +
                                    std::to_string(options.workers)};
    }
    if (Worker::current() != nullptr) throw std::logic_error{"weft: simulate() inside a runtime"};
    Simulation simulation{seed, options};
    Fiber<> first = spawn(SpawnOptions{.name = "main", .stack_size = 1 << 20}, [main, context] {
        become_main();
        main(context);
    });
    if (!simulation.run()) {
        const std::string report = simulation.describe();
        do {
            if (simulation.end_waits()) continue;
            std::fprintf(stderr, "%s  and none of these waits can be ended\n", report.c_str());
            std::abort();
        } while (!simulation.run());
        throw Deadlock{report};
    }
    first.get();
    return simulation.trace();
}

}  // namespace detail
}  // namespace weft
