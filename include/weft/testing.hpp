#pragma once

#include <weft/detail/export.hpp>
#include <weft/detail/invoke.hpp>

#include <cstdint>
#include <type_traits>
#include <utility>

namespace weft {

/// How weft::simulate() runs.
struct SimulationOptions {
    unsigned workers = 4;        ///< virtual ones: all on the calling thread
    unsigned short_percent = 0;  ///< of reads and writes moves less than it could
    unsigned delay_percent = 0;  ///< of I/O that could complete is put off
};

/// What a simulated run was: equal for equal seeds, options and programs.
struct SimulationTrace {
    std::uint64_t steps = 0;  ///< fibers resumed
    std::uint64_t hash = 0;   ///< of which fiber ran on which worker, in order
};

namespace detail {
WEFT_API SimulationTrace simulate(std::uint64_t seed, const SimulationOptions& options,
                                  void (*main)(void*), void* context);
}

/// Runs `main()` as the first fiber of a real scheduler whose workers, clock,
/// choices and I/O are simulated on the calling thread: one seed, one run.
///
/// Which worker goes next, what it steals and which I/O completes first is drawn
/// from `seed`; time stands still while anything can run, then jumps to the next
/// deadline, so a test with time-outs of hours takes none. Threads that the
/// program itself makes, and what happens outside of the process, are real, and
/// are not replayed.
///
/// Throws what main throws; Deadlock when no fiber could ever have run again: then
/// waits were ended, as Runtime::wait() says, until all fibers were over.
/// Thread safety: one simulation a thread, any number of threads. Not to be
/// called from a fiber. Runtime::current() throws inside.
template <class F>
SimulationTrace simulate(std::uint64_t seed, F&& main, const SimulationOptions& options = {}) {
    return detail::simulate(
        seed, options,
        [](void* f) {
            (*static_cast<std::remove_reference_t<F>*>(f))();
            detail::come_back_here();
        },
        const_cast<void*>(static_cast<const void*>(&main)));
}

}  // namespace weft
