// Dump: every live fiber, for people. Layer: diag. Uses: all rooms above.
//
// A parked fiber is frozen in its wait (WaitWord::freeze), so that nobody
// resumes it while it is looked at, and committed again, which queues it if
// somebody did in between. Running fibers are named with their worker; those in
// a queue show no stack.
#include <weft/diag.hpp>

#include "base/sanitizer.hpp"
#include "park/describe.hpp"
#include "runtime/registry.hpp"
#include "sched/scheduler.hpp"

#include <unistd.h>

#include <string>
#include <string_view>

namespace weft {

namespace detail {

namespace {

void write_text(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::write(fd, text.data(), text.size());
        if (n <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

int worker_running(Scheduler& scheduler, const FiberCore& fiber) {
    for (std::uint32_t i = 0; i < scheduler.workers(); ++i) {
        if (scheduler.worker(i).fiber() == &fiber) return static_cast<int>(i);
    }
    return -1;
}

void append_parked(std::string& text, FiberCore& frozen) {
    const FrozenWait wait{frozen};
    if (frozen.word().commit()) frozen.scheduler->make_ready(frozen, Turn::in_order);
    text += "parked\n";
    append(text, wait);
}

void append_state(std::string& text, FiberCore& fiber) {
    if (fiber.done.load(std::memory_order_acquire)) {
        text += "done, handle held\n";
    } else if (const int worker = worker_running(*fiber.scheduler, fiber); worker >= 0) {
        text += "running on worker " + std::to_string(worker) + "\n";
    } else if (fiber.word().freeze_patiently()) {
        append_parked(text, fiber);
    } else {
        text += fiber.context == nullptr ? "new\n" : "runnable\n";
    }
}

// Written when nothing is frozen: it may be this fiber that reads the other end.
void dump_fiber(int fd, FiberCore& fiber) {
    std::string text;
    append(text, fiber);
    text += ": ";
    append_state(text, fiber);
    write_text(fd, text);
}

}  // namespace
}  // namespace detail

void dump_fibers(int fd) noexcept {
    // Held by a reference, a fiber's fixed words do not change; frozen, nor do the others.
    const detail::Unobserved quiet;
    detail::for_each_scheduler([fd](detail::Scheduler& scheduler) {
        detail::write_text(fd,
                           "runtime with " + std::to_string(scheduler.workers()) + " workers:\n");
        scheduler.table().for_each(
            [fd](detail::FiberCore& fiber) { detail::dump_fiber(fd, fiber); });
    });
}

}  // namespace weft
