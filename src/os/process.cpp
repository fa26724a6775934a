// Processes. Layer: os. Uses: io, park, sched.
//
// A process is waited for by a poll of its pidfd, through the driver, and then reaped. Any
// number of parties polls; the first to come after its end reaps it, under the lock, and
// keeps the status for all.
//
// fork() copies a handle, and its child may destroy the copy with all else that it unwinds. So
// whose child the process is was written down at the start, and nobody else ends it.
//
// communicate() is one loop over what is ready of up to three pipes: their descriptors are
// in an epoll instance, which is polled itself. So it needs no fibers, works on plain
// threads, and can be left at any moment. What it has read is in the State, not in the call.
#include "os/call.hpp"
#include "os/launch.hpp"
#include "os/process_state.hpp"
#include "os/quiet_pipe.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace weft::io {

using detail::perform_on;
using detail::QuietPipe;
using detail::value_or_throw;

Process::Process(std::unique_ptr<State> state) noexcept : state_{std::move(state)} {}
Process::Process(Process&&) noexcept = default;

Process& Process::operator=(Process&& other) noexcept {
    if (this == &other) return *this;
    if (state_ != nullptr) state_->end();
    state_ = std::move(other.state_);
    return *this;
}

Process::~Process() {
    if (state_ != nullptr) state_->end();
}

int Process::pid() const noexcept { return state_->pid; }
PipeWriter& Process::input() noexcept { return state_->input; }
PipeReader& Process::output() noexcept { return state_->output; }
PipeReader& Process::errors() noexcept { return state_->errors; }

int Process::release() noexcept { return std::exchange(state_, nullptr)->pid; }

std::optional<ExitStatus> Process::State::poll() {
    const std::lock_guard hold{lock};
    if (!status && !lost) {
        ExitStatus how = ExitStatus::exited(0);
        const int result = detail::reap(pidfd.get(), how);
        if (result == 0) status = how;
        lost = result < 0 && result != -EAGAIN;
    }
    if (lost) value_or_throw(-ECHILD, "wait for a process");
    return status;
}

std::optional<ExitStatus> Process::poll() { return state_->poll(); }

std::optional<ExitStatus> Process::wait(Deadline deadline) {
    const char* what = "wait for a process";
    weft::detail::check_interrupt();
    Use use{state_->pidfd};
    for (;;) {
        if (auto status = state_->poll()) return status;
        const Request ended{.code = Request::Code::poll, .flags = POLLIN};
        const std::int64_t result = perform_on(use, ended, deadline, what);
        if (result == -ETIMEDOUT) return state_->poll();
        value_or_throw(result, what);
    }
}

/// Requires: the lock, and that it was not reaped: else the numbers may be another's.
long Process::State::send(int number, bool group) const noexcept {
    return group ? system_call<::syscall>(SYS_kill, long{-pid}, long{number})
                 : system_call<::syscall>(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0L);
}

bool Process::State::signal(int number, bool group) {
    const std::lock_guard hold{lock};
    if (status || lost) return false;
    const long result = send(number, group);
    if (result == -ESRCH) return false;
    value_or_throw(result, "send a signal to a process");
    return true;
}

bool Process::send_signal(int signal) { return state_->signal(signal, false); }

bool Process::signal_group(int signal) {
    if (!state_->leads_group) throw std::logic_error("weft: the process has no group of its own");
    return state_->signal(signal, true);
}

/// 0, or -EPERM: it is another user's by now, and goes on. To the group that says nothing of
/// one alone.
long Process::State::kill() noexcept {
    const std::lock_guard hold{lock};
    if (status || lost || !is_ours()) return 0;
    if (leads_group) send(SIGKILL, true);
    const long result = send(SIGKILL, false);
    return result == -ESRCH ? 0 : result;
}

void Process::State::end() noexcept {
    if (pid < 0 || status || lost || !is_ours()) return;
    const bool refused = kill() != 0;
    ExitStatus how = ExitStatus::exited(0);
    while (detail::reap(pidfd.get(), how) == -EAGAIN) {
        if (refused) return;
        Operation ended{Request{.code = Request::Code::poll, .fd = pidfd.get(), .flags = POLLIN}};
        perform(ended, Deadline::never(), Cancellable::no, "the end of a killed process");
    }
}

// --- communicate() ---

namespace {

constexpr const char* talking = "talk to a process";
constexpr std::size_t pipe_size = 64 << 10;  // unless somebody changes it

/// Which pipes are ready, in one descriptor that can be polled.
class ReadySet {
public:
    ReadySet()
        : set_{static_cast<int>(value_or_throw(
              system_call<::syscall>(SYS_epoll_create1, long{EPOLL_CLOEXEC}), talking))} {}
    int fd() const noexcept { return set_.get(); }
    template <class End>
    void add(const End& end, std::uint32_t events) {
        if (!end.is_open()) return;
        epoll_event event{.events = events, .data = {}};
        value_or_throw(
            system_call<::syscall>(SYS_epoll_ctl, fd(), long{EPOLL_CTL_ADD}, end.fd(), &event),
            talking);
    }

private:
    Descriptor set_;
};

}  // namespace

int Process::State::open_ends() const noexcept {
    return int{input.is_open()} + int{output.is_open()} + int{errors.is_open()};
}

/// Whether everything was said on both sides. What was closed is forgotten with the whole
/// set: by itself it would report on, as long as a child just being started has a copy of it.
bool Process::State::exchange(Deadline deadline) {
    std::optional<ReadySet> set;
    int watched = 0;
    move_what_goes();
    while (const int open = open_ends()) {
        if (deadline.passed()) return false;
        if (open != watched) {
            set.emplace();
            set->add(input, EPOLLOUT);
            set->add(output, EPOLLIN);
            set->add(errors, EPOLLIN);
            watched = open;
        }
        Operation ready{Request{.code = Request::Code::poll, .fd = set->fd(), .flags = POLLIN}};
        const int result = perform(ready, deadline, Cancellable::yes, talking);
        if (result == -ETIMEDOUT) return false;
        value_or_throw(result, talking);
        move_what_goes();
    }
    return true;
}

void Process::State::move_what_goes() {
    feed();
    collect(output, from_output);
    collect(errors, from_errors);
}

void Process::State::feed() {
    if (!input.is_open()) return;
    if (const std::size_t left = to_write.size() - written; left > 0) {
        const QuietPipe quiet;
        const char* from = to_write.data() + written;
        const long result = system_call<::syscall>(SYS_write, input.fd(), from, left);
        if (result == -EAGAIN) return;
        const bool unwanted = result == -EPIPE;  // it need not read what it is given
        if (!unwanted) written += value_or_throw(result, "write to a process");
        if (!unwanted && written < to_write.size()) return;
    }
    input.close();
}

/// Once. Returns how much was there.
std::size_t Process::State::collect(PipeReader& from, Collected& into) {
    if (!from.is_open()) return 0;
    if (buffer.empty()) buffer.resize(pipe_size);
    const long result = system_call<::syscall>(SYS_read, from.fd(), buffer.data(), buffer.size());
    if (result == -EAGAIN) return 0;
    const std::size_t count = value_or_throw(result, "read from a process");
    if (count == 0) from.close();
    const std::size_t kept = std::min(count, most - into.text.size());
    into.text.append(buffer, 0, kept);
    into.truncated |= kept < count;
    return count;
}

/// What is there now: others may go on writing.
void Process::State::collect_rest(PipeReader& from, Collected& into) {
    int left = 0;
    if (!from.is_open() || system_call<::ioctl>(from.fd(), FIONREAD, &left) < 0) return;
    while (left > 0) {
        const std::size_t count = collect(from, into);
        if (count == 0) return;
        left -= static_cast<int>(count);
    }
}

Completed Process::State::completed(ExitStatus how) {
    return {.status = how,
            .output = std::move(from_output.text),
            .errors = std::move(from_errors.text),
            .truncated = from_output.truncated || from_errors.truncated};
}

std::optional<Completed> Process::communicate(std::string_view input, Deadline deadline) {
    weft::detail::check_interrupt();
    State& state = *state_;
    if (!std::exchange(state.communicating, true)) state.to_write = input;
    if (!state.exchange(deadline)) return std::nullopt;
    const auto how = wait(deadline);
    if (!how) return std::nullopt;
    return state.completed(*how);
}

std::optional<Completed> Process::kill_and_collect(Deadline deadline) {
    State& state = *state_;
    const long refused = state.kill();
    const auto how = refused != 0 ? state.poll() : wait(deadline);
    if (!how && refused != 0) value_or_throw(refused, "kill a process");
    if (!how) return std::nullopt;
    state.collect_rest(state.output, state.from_output);
    state.collect_rest(state.errors, state.from_errors);
    return state.completed(*how);
}

}  // namespace weft::io
