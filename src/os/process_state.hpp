// Process::State: a process and its pipes, for as long as there is a handle.
// Layer: os. Uses: io.
#pragma once

#include <weft/detail/descriptor.hpp>
#include <weft/detail/wait_queue.hpp>
#include <weft/io/pipe.hpp>
#include <weft/io/process.hpp>

#include <unistd.h>

#include <cstddef>
#include <optional>
#include <string>

namespace weft::io {

struct Process::State {
    /// What has been read of a stream.
    struct Collected {
        std::string text;
        bool truncated = false;
    };

    State(std::size_t most_output, bool leads) : most{most_output}, leads_group{leads} {}

    std::optional<ExitStatus> poll();
    bool signal(int number, bool group);
    long send(int number, bool group) const noexcept;
    long kill() noexcept;
    void end() noexcept;
    bool exchange(Deadline deadline);
    void feed();
    void move_what_goes();
    std::size_t collect(PipeReader& from, Collected& into);
    void collect_rest(PipeReader& from, Collected& into);
    int open_ends() const noexcept;
    /// Not in a child of fork(), which has a copy of *this.
    bool is_ours() const noexcept { return parent == ::getpid(); }
    Completed completed(ExitStatus how);

    // --- fixed once it is started ---
    const std::size_t most;
    const bool leads_group;
    const int parent = ::getpid();
    int pid = -1;
    weft::detail::Descriptor pidfd;
    // --- any thread ---
    weft::detail::SpinLock lock;
    // --- guarded by lock ---
    std::optional<ExitStatus> status;  // once it was reaped
    bool lost = false;                 // by somebody else
    // --- whoever uses the pipes ---
    PipeWriter input;
    PipeReader output;
    PipeReader errors;
    bool communicating = false;
    std::string to_write;
    std::size_t written = 0;
    Collected from_output;
    Collected from_errors;
    std::string buffer;
};

}  // namespace weft::io
