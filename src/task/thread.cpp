// Layer: task. Uses: sched.
#include <weft/thread.hpp>

#include "sched/scheduler.hpp"

#include <cstdio>
#include <exception>
#include <stdexcept>

namespace weft {

Thread::Thread(const SpawnOptions& options) : options_{options} {
    auto* const name = new char[options.name.size() + 1]{};
    options.name.copy(name, options.name.size());
    options_.name = {name, options.name.size()};
}

Thread::~Thread() {
    // In exit() its fiber lies where it stopped.
    if (is_alive() && !detail::core_of(fiber_)->scheduler->halted()) {
        std::fprintf(stderr, "weft: Thread \"%s\" is destroyed while it runs\n",
                     options_.name.data());
        std::terminate();
    }
    delete[] options_.name.data();
}

void Thread::start_with(void (*body)(Thread&)) {
    if (fiber_) throw std::logic_error{"weft: a Thread is started once"};
    detail::FiberCore* const core =
        detail::make_fiber(nullptr, options_, [this, body] { body(*this); });
    fiber_ = FiberRef{core};
    detail::start_fiber(core);
    detail::drop_handle(core);
}

bool Thread::join(Deadline deadline) {
    if (!fiber_) throw std::logic_error{"weft: join() of a Thread that was not started"};
    return fiber_.join(deadline);
}

}  // namespace weft
