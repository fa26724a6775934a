// ThreadState: what the kernel says of a thread, for another one to ask. Layer: base. Uses: std.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>

namespace weft::detail {

/// What `tid`, of this process, has used; empty if that is not to be had.
std::optional<std::chrono::nanoseconds> cpu_time_of_thread(pid_t tid) noexcept;

class ThreadState {
public:
    ThreadState() noexcept = default;
    ThreadState(const ThreadState&) = delete;
    ThreadState& operator=(const ThreadState&) = delete;
    ~ThreadState();

    /// Of the calling thread from now on. Once. Opens a file.
    void begin() noexcept;

    /// Any thread, after begin(). Whether it runs, or would if it had a CPU. False, too, where
    /// nothing says so: without /proc, or a descriptor to read it by.
    bool is_runnable() const noexcept;

private:
    int stat_ = -1;
};

}  // namespace weft::detail
