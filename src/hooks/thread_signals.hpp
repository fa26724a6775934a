// Signals of a program whose threads are fibers (weft-run --threads). Layer: hooks. Uses: io.
//
// The kernel knows workers, and those block signals. So the masks of such threads, and what is
// pending for one of them alone, are kept here, and the process's first thread, which runs
// nothing else, hands out what comes to the process:
//
//  - A signal is open while there is a thread that does not block it. A signalfd of the open
//    ones wakes the first thread. What all threads block stays pending in the kernel, where
//    sigwait() in a fiber takes it.
//  - The first thread gives a signal to a thread that has it open, main() before others: it
//    runs the handler itself, and then interrupts that thread's call, if the handler's
//    SA_RESTART lets it. So it may run at the same time as the thread; but one that blocks the
//    signal, or ends, waits for the end of the handler first.
//  - What a thread sends to itself, or unblocks while it is pending, its worker handles, before
//    the call returns: it lets these in for a moment, one by one. A handler's thread is the one
//    that it runs for, also on the first thread.
//  - What the program reads from a signalfd of its own goes to the process, if all threads block
//    it, though sent to one: so others see it, too.
//  - Who must not miss a signal between a look and a wait (sigsuspend, ppoll, sigwait ...) polls
//    a descriptor beside what it waits for; see SignalWatch.
//
// Rejected: the first thread with its signals open, which would not know what had come, nor
// whom to interrupt; and a wrapper around each handler, which siglongjmp() leaves.
//
// Not kept here, and open on every thread: what a thread does to itself (SIGSEGV, SIGABRT ...),
// SIGPROF, and SIGURG. The program cannot block those.
#pragma once

#include "base/sync.hpp"
#include "park/completion.hpp"
#include "sched/fiber_core.hpp"

#include <signal.h>

#include <cstdint>

namespace weft::hooks::detail {

using weft::detail::FiberCore;

/// As the kernel has them: bit n - 1 is signal n.
using Signals = std::uint64_t;

inline bool is_signal(int signal) noexcept { return signal >= 1 && signal <= 64; }
inline Signals bit_of(int signal) noexcept { return Signals{1} << (signal - 1); }
Signals signals_of(const sigset_t& set) noexcept;
sigset_t set_of(Signals signals) noexcept;

struct FiberThread;

/// Of one thread. Guarded by one lock, but for what only the thread itself touches.
struct ThreadSignals {
    FiberThread* thread = nullptr;  // whose they are
    FiberCore* fiber = nullptr;     // null: has ended
    Signals mask = 0;               // written by the thread
    Signals pending = 0;            // for it alone, and blocked, or about to be handed out
    Signals awaited = 0;            // by a sigwait()
    Signals handling = 0;           // what the first thread runs a handler of
    weft::detail::Completion* handled_then = nullptr;  // happens after that
    bool watches = false;
    std::uint64_t handled = 0;  // handlers that ran for it
    ThreadSignals* next = nullptr;
    ThreadSignals* previous = nullptr;
    // --- own thread only ---
    int wake = -1;  // an eventfd, once it was needed; written by others while it watches
    Signals closed_by_handlers = 0;  // of those that run on its worker
};

/// `own` begins with that mask. Its fiber is the caller, or has not begun.
void begin_signals(ThreadSignals& own, FiberCore& fiber, Signals mask) noexcept;
/// The thread itself, last of all. Blocks: while a handler runs for it. Whether it was the last.
bool end_signals(ThreadSignals& own) noexcept;
/// In a forked child: there are no such threads.
void forget_thread_signals() noexcept;

/// The first thread: blocks its signals, from now on handed out. 0, or an error's number.
int take_signals_of_process() noexcept;
/// The first thread: hands them out until `ended` is readable.
void hand_signals_out(int ended) noexcept;
/// For whom it runs a handler, if it is the calling thread; else null.
ThreadSignals* handles_for() noexcept;

/// The thread itself. Blocks: while the handler of what it blocks runs.
void set_mask(ThreadSignals& own, Signals mask) noexcept;
/// pthread_sigmask(): 0, or EINVAL.
int change_mask(ThreadSignals& own, int how, const sigset_t* set, sigset_t* before) noexcept;
/// raise(): 0, or an error's number. It was handled when that returns, or is pending.
int send_to_self(ThreadSignals& own, int signal) noexcept;
/// The same in a handler that runs for the thread: what that keeps closed is handled after it.
int send_in_handler(ThreadSignals& thread, int signal) noexcept;
/// What that thread has blocked meanwhile.
Signals mask_in_handler(ThreadSignals& thread) noexcept;
/// pthread_kill() of another one: 0, or an error's number.
int send_to(ThreadSignals& thread, int signal) noexcept;
/// The program has a signalfd of these, for ever.
void note_read_by_program(Signals signals) noexcept;
/// What is pending and blocked, of the process and of the thread.
Signals pending_of(const ThreadSignals& own) noexcept;
/// Takes the first one of `wanted` that is pending for the thread alone; 0: none.
int take_pending(ThreadSignals& own, Signals wanted) noexcept;

/// While it lives the thread is told of each signal that is handled for it, and of those of
/// `awaited` that come to it alone, by a descriptor that is readable then.
class SignalWatch {
public:
    /// Null: it watches nothing.
    explicit SignalWatch(ThreadSignals* own, Signals awaited = 0) noexcept;
    SignalWatch(const SignalWatch&) = delete;
    SignalWatch& operator=(const SignalWatch&) = delete;
    ~SignalWatch();

    /// -1: watches nothing. error() says whether it was to.
    int fd() const noexcept { return own_ == nullptr ? -1 : own_->wake; }
    long error() const noexcept { return error_; }
    /// Whether a handler has run since.
    bool handled() const noexcept;

private:
    ThreadSignals* own_;
    long error_ = 0;
    std::uint64_t handled_before_ = 0;
};

/// The same around a wait with another mask, if there is one.
class MaskedWait {
public:
    MaskedWait(ThreadSignals* own, const sigset_t* mask) noexcept;
    MaskedWait(const MaskedWait&) = delete;
    MaskedWait& operator=(const MaskedWait&) = delete;
    ~MaskedWait() {
        if (own_ != nullptr) set_mask(*own_, before_);
    }
    const SignalWatch& watch() const noexcept { return watch_; }

private:
    ThreadSignals* const own_;
    const SignalWatch watch_;
    Signals before_ = 0;
};

}  // namespace weft::hooks::detail
