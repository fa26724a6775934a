// What the kernel knows of another thread of the process. Layer: base. Uses: std.
#pragma once

#include <sys/types.h>

#include <chrono>

namespace weft::detail {

/// What `tid` has used; 0 if that is not to be had.
std::chrono::nanoseconds cpu_time_of_thread(pid_t tid) noexcept;

/// Whether `tid` runs, or would if it had a CPU. False, too, where there is no /proc to say so.
bool is_runnable(pid_t tid) noexcept;

}  // namespace weft::detail
