// QuietPipe: a scope in which a write to a pipe that nobody reads raises no SIGPIPE.
// Layer: os. Uses: sched.
//
// Workers block that signal (sched/fault.hpp), as do all threads of weft's own. A plain
// thread blocks it for as long as it writes, and takes back the one that its own write
// has raised. Rejected: ignoring SIGPIPE, which is the program's to decide and is handed
// down to children; RWF_NOSIGNAL, which Linux has since 6.18 only.
//
// In a fiber it does nothing, and so may be held across a suspension.
#pragma once

#include "sched/worker.hpp"

#include <signal.h>

namespace weft::io::detail {

class QuietPipe {
public:
    QuietPipe() noexcept;
    QuietPipe(const QuietPipe&) = delete;
    QuietPipe& operator=(const QuietPipe&) = delete;
    ~QuietPipe();

private:
    const bool on_thread_ = weft::detail::Worker::current() == nullptr;
    bool was_pending_ = false;
    sigset_t before_;
};

}  // namespace weft::io::detail
