// FiberRef: the fibers there are, seen from aside. Layer: task. Uses: base, sched.
#include <weft/fiber_ref.hpp>

#include "task/fiber_list.hpp"

#include "base/sanitizer.hpp"

#include <weft/runtime.hpp>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace weft {

namespace detail {

namespace {

Worker& worker_or_throw(const char* complaint) {
    Worker* const worker = Worker::current();
    if (worker == nullptr) throw std::logic_error{complaint};
    return *worker;
}

}  // namespace

FiberList list_fibers(Scheduler& scheduler) {
    std::vector<FiberRef> found;
    scheduler.table().for_each([&](FiberCore& fiber) {
        if (!is_done(&fiber)) found.emplace_back(&fiber);
    });
    if (found.empty()) return {};
    auto* const list = new FiberRef[found.size()];
    std::move(found.begin(), found.end(), list);
    return {list, found.size()};
}

// What a parked fiber waits for lies on its stack: it is held in its wait as for
// a dump (diag/dump.cpp).
std::string_view doing(FiberCore* fiber) noexcept {
    if (is_done(fiber)) return "ended";
    const Unobserved quiet;
    if (!fiber->word().freeze_patiently()) return "runs";
    const char* const reason = fiber->purpose->reason;
    if (fiber->word().commit()) fiber->scheduler->make_ready(*fiber, Turn::in_order);
    return reason;
}

void become_main() noexcept {
    Worker& worker = *Worker::current();
    worker.scheduler().set_main(*worker.fiber());
}

}  // namespace detail

FiberRef current() {
    FiberRef self{detail::worker_or_throw("weft: current() outside a fiber").fiber()};
    if (!self) throw std::logic_error{"weft: current() outside a fiber"};
    return self;
}

FiberRef main_fiber() {
    return FiberRef{
        detail::worker_or_throw("weft: main_fiber() outside a runtime").scheduler().main()};
}

FiberList all_fibers() {
    return detail::list_fibers(
        detail::worker_or_throw("weft: all_fibers() outside a runtime; use Runtime::fibers()")
            .scheduler());
}

std::size_t active_count() {
    std::size_t count = 0;
    detail::worker_or_throw("weft: active_count() outside a runtime; use Runtime::fibers()")
        .scheduler()
        .table()
        .for_each([&](const detail::FiberCore& fiber) { count += is_done(&fiber) ? 0 : 1; });
    return count;
}

}  // namespace weft
