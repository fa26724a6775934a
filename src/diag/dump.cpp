// Dump: every live fiber, for people. Layer: diag. Uses: all rooms above.
//
// A parked fiber's stack is read by its owner's own means: it is frozen in its
// wait (WaitWord::freeze), so that nobody resumes it meanwhile, a visitor is
// run on top of its stack, which collects the return addresses and comes back,
// and the wait is committed again, which queues the fiber if somebody resumed
// it in between. Running fibers are named with their worker; those in a queue
// show no stack.
#include <weft/diag.hpp>

#include "base/sanitizer.hpp"
#include "context/switch.hpp"
#include "runtime/registry.hpp"
#include "sched/scheduler.hpp"

#include <weft/detail/routine.hpp>

#include <execinfo.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace weft {

namespace detail {

namespace {

constexpr int most_frames = 48;
constexpr int own_frames = 2;  // of the visitor, on top of the fiber's

// A sanitizer would take the visitor's frames for the dumper's.
#if defined(WEFT_ASAN) || defined(WEFT_TSAN)
constexpr bool can_visit = false;
#else
constexpr bool can_visit = true;
#endif

struct Visit {
    void* frames[most_frames];
    int count = 0;
};

// Runs on the parked fiber's stack.
Arrival collect(Arrival from) {
    auto* const visit = static_cast<Visit*>(from.data);
    visit->count = backtrace(visit->frames, most_frames);
    // Back to the dumper; when the fiber is resumed for good, this returns to it.
    return switch_to(from.fctx, nullptr);
}

void write_text(int fd, const char* text, std::size_t size) {
    while (size > 0) {
        const ssize_t n = ::write(fd, text, size);
        if (n <= 0) return;
        text += n;
        size -= static_cast<std::size_t>(n);
    }
}

template <class... Args>
void print(int fd, const char* format, Args... args) {
    char line[512];
    const int n = std::snprintf(line, sizeof line, format, args...);
    if (n > 0) write_text(fd, line, std::min(static_cast<std::size_t>(n), sizeof line - 1));
}

int worker_running(Scheduler& scheduler, const FiberCore& fiber) {
    for (std::uint32_t i = 0; i < scheduler.workers(); ++i) {
        if (scheduler.worker(i).fiber() == &fiber) return static_cast<int>(i);
    }
    return -1;
}

void dump_parked(int fd, FiberCore& fiber) {
    Visit visit;
    if (can_visit && fiber.context != nullptr)
        fiber.context = visit_on(fiber.context, &visit, &collect);
    const Purpose purpose = *fiber.purpose;
    // Before anything is written: it may be this fiber that reads the other end.
    if (fiber.word().commit()) fiber.scheduler->make_ready(fiber, Turn::in_order);
    print(fd, "  waits: %s %p%s\n", purpose.reason, purpose.object,
          fiber.interrupt_pending() ? "  (cancelled)" : "");
    if (visit.count > own_frames) {
        backtrace_symbols_fd(visit.frames + own_frames, visit.count - own_frames, fd);
    }
}

void dump_fiber(int fd, FiberCore& fiber) {
    Scheduler& scheduler = *fiber.scheduler;
    print(fd, "fiber %llu \"%s\"%s: ",
          static_cast<unsigned long long>(fiber.id.load(std::memory_order_relaxed)),
          fiber.name() == nullptr ? "" : fiber.name(), fiber.is_daemon ? " daemon" : "");
    if (fiber.done.load(std::memory_order_acquire)) return print(fd, "done, handle held\n");
    if (const int worker = worker_running(scheduler, fiber); worker >= 0) {
        return print(fd, "running on worker %d\n", worker);
    }
    if (fiber.word().freeze()) {
        print(fd, "parked\n");
        return dump_parked(fd, fiber);
    }
    print(fd, fiber.context == nullptr ? "new\n" : "runnable\n");
}

}  // namespace
}  // namespace detail

void dump_fibers(int fd) noexcept {
    // Held by a reference, a fiber's fixed words do not change; frozen, nor do the others.
    const detail::Unobserved quiet;
    detail::for_each_scheduler([fd](detail::Scheduler& scheduler) {
        detail::print(fd, "runtime with %u workers:\n", scheduler.workers());
        scheduler.table().for_each(
            [fd](detail::FiberCore& fiber) { detail::dump_fiber(fd, fiber); });
    });
}

}  // namespace weft
