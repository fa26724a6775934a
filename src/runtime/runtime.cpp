// Runtime: composition. Layer: runtime. Uses: all rooms above.
//
// Stop, in numbered steps (Scheduler has the inner ones):
//   1. wait for the fibers that count
//   2. cancel the daemons          3. wait for them
//   4. stop and join the workers   5. destroy: drivers, offload threads, stacks
//
// exit() comes in between at any moment, also from a fiber. Static objects that
// fibers use are destroyed by it, so a hook halts all workers first; a runtime
// that is destroyed after that, as a static object, is left as it lies.
#include <weft/runtime.hpp>

#include "base/own_thread.hpp"
#include "io/epoll_driver.hpp"
#include "io/offload.hpp"
#include "io/probe.hpp"
#include "io/uring_driver.hpp"
#include "park/deadlock.hpp"
#include "runtime/registry.hpp"
#include "runtime/settings.hpp"
#include "runtime/stall.hpp"
#include "sched/scheduler.hpp"
#include "sync/lock_order.hpp"
#include "task/fiber_end.hpp"
#include "task/fiber_list.hpp"

#include <weft/deadlock.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

namespace weft {

namespace detail {

// What a Runtime owns, in the order of construction.
namespace {

/// What the program blocks where it makes a runtime; a worker blocks more.
sigset_t mask_of_maker() noexcept {
    if (Worker* const worker = Worker::current(); worker != nullptr) {
        return worker->scheduler().setup().program_mask;
    }
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    return mask;
}

}  // namespace

struct RuntimeParts {
    explicit RuntimeParts(const Options& options)
        : settings{resolve(options)}, offload{settings.file_threads} {}

    Settings settings;
    const sigset_t program_mask = mask_of_maker();
    UringSupport uring;
    Offload offload;  // outlives the drivers
    std::unique_ptr<Scheduler> scheduler;
};

namespace {

void warn_once_about_epoll(const std::string& reason) {
    static constinit std::atomic<bool> warned{false};
    if (warned.exchange(true)) return;
    std::fprintf(stderr, "weft: warning: io_uring cannot be used (%s); using epoll\n",
                 reason.c_str());
}

// Decides between io_uring and epoll, and says so where it was not asked for.
void choose_io(RuntimeParts& parts) {
    if (parts.settings.io == Io::epoll) return;
    parts.uring = uring_support();
    if (parts.uring) {
        parts.settings.io = Io::uring;
        return;
    }
    if (parts.settings.io == Io::uring) {
        throw std::system_error{std::make_error_code(std::errc::operation_not_supported),
                                "weft: io_uring cannot be used: " + parts.uring.refusal};
    }
    parts.settings.io = Io::epoll;
    warn_once_about_epoll(parts.uring.refusal);
}

std::unique_ptr<Driver> make_driver(RuntimeParts& parts) {
    if (parts.settings.io == Io::uring) {
        return std::make_unique<UringDriver>(parts.uring, parts.offload);
    }
    return std::make_unique<EpollDriver>(parts.offload);
}

std::unique_ptr<Scheduler> make_scheduler(RuntimeParts& parts, Runtime* runtime) {
    const Settings& settings = parts.settings;
    const bool may_fall_back = settings.io == Io::automatic;
    choose_io(parts);
    Scheduler::Setup setup;
    setup.workers = settings.workers;
    setup.stack_shift = StackPool::shift_for(settings.stack_size);
    setup.seed =
        static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    setup.spin_limit_ns = settings.spin.count();
    setup.force_migrate = settings.force_migrate;
    setup.unhandled = settings.on_unhandled;
    setup.at_end = &end_fiber;
    setup.throw_interrupt = &throw_interrupt;
    setup.at_rest = &look_for_stall;
    setup.runtime = runtime;
    setup.program_mask = parts.program_mask;
    const auto make = [&parts](std::uint32_t) { return make_driver(parts); };
    try {
        return std::make_unique<Scheduler>(setup, make);
    } catch (const std::system_error& error) {
        // That there is io_uring does not mean that there is memory for as many rings as
        // workers: RLIMIT_MEMLOCK counts all rings of the user.
        if (!may_fall_back || settings.io == Io::epoll) throw;
        parts.settings.io = Io::epoll;
        warn_once_about_epoll(error.what());
    }
    return std::make_unique<Scheduler>(setup, make);
}

/// The same by a thread that ends with it, where rings may be made. The kernel ties a ring to the
/// thread that made it, too, and some 20 ms after it was closed interrupts that thread: EINTR for
/// a call of the program's, long after the runtime's end.
std::unique_ptr<Scheduler> make_scheduler_apart(RuntimeParts& parts, Runtime* runtime) {
    if (parts.settings.io == Io::epoll) return make_scheduler(parts, runtime);
    std::unique_ptr<Scheduler> made;
    std::exception_ptr error;
    start_own_thread([&] {
        try {
            made = make_scheduler(parts, runtime);
        } catch (...) {
            error = std::current_exception();
        }
    }).join();
    if (error != nullptr) std::rethrow_exception(error);
    return made;
}

}  // namespace
}  // namespace detail

Runtime::Runtime(const Options& options) : parts_{new detail::RuntimeParts{options}} {
    try {
        if (parts_->settings.detect_cycles) detail::watch_cycles();
        if (parts_->settings.watch_lock_order) detail::watch_lock_order();
        parts_->scheduler = detail::make_scheduler_apart(*parts_, this);
        parts_->scheduler->start();
    } catch (...) {
        delete parts_;
        throw;
    }
    detail::register_scheduler(*parts_->scheduler);
}

Runtime::~Runtime() {
    detail::Scheduler& scheduler = *parts_->scheduler;
    // In exit(): fibers lie where they stopped, so nothing of theirs can go.
    if (scheduler.halted()) return;
    scheduler.wait_until_quiet(false);
    scheduler.close_to_daemons();
    scheduler.table().for_each([](detail::FiberCore& fiber) {
        if (fiber.is_daemon) detail::cancel(&fiber);
    });
    scheduler.wait_until_quiet(true);
    detail::unregister_scheduler(scheduler);
    delete parts_;
}

void Runtime::wait() {
    parts_->scheduler->wait_until_quiet(false);
    const std::string verdict = detail::take_verdict_on(*parts_->scheduler);
    if (!verdict.empty()) throw Deadlock{verdict};
}

Runtime& Runtime::current() {
    detail::Worker* const worker = detail::Worker::current();
    if (worker == nullptr) throw std::logic_error{"weft: Runtime::current() outside a runtime"};
    return *worker->scheduler().setup().runtime;
}

FiberList Runtime::fibers() const { return detail::list_fibers(*parts_->scheduler); }

unsigned Runtime::workers() const noexcept { return parts_->settings.workers; }
Io Runtime::io() const noexcept { return parts_->settings.io; }
std::size_t Runtime::main_stack_size() const noexcept { return parts_->settings.main_stack_size; }
detail::Scheduler& Runtime::scheduler() noexcept { return *parts_->scheduler; }

Counters Runtime::counters() const noexcept {
    detail::Scheduler& scheduler = *parts_->scheduler;
    Counters counters;
    counters.spawned = scheduler.spawned();
    counters.finished = scheduler.finished();
    counters.rescues = scheduler.watchdog().rescues();
    counters.stacks = scheduler.stacks().in_use();
    for (std::uint32_t i = 0; i < scheduler.workers(); ++i) {
        detail::Worker& worker = scheduler.worker(i);
        counters.switches += worker.ticks();
        counters.stolen += worker.tallies.stolen.get();
        counters.sleeps += worker.tallies.sleeps.get();
        counters.operations += worker.driver().in_flight();
    }
    return counters;
}

}  // namespace weft
