// Layer: hooks. Uses: io.
//
// Locking: one lock for all threads' signals. Who has it blocks all signals, workers those, too,
// that they have open otherwise: handlers may take it.
#include "hooks/thread_signals.hpp"

#include "base/own_thread.hpp"
#include "hooks/descriptor.hpp"
#include "hooks/parking.hpp"
#include "hooks/signals.hpp"
#include "io/foreign.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>

namespace weft::hooks::detail {

namespace {

using weft::detail::Cancellable;
using weft::detail::Completion;
using weft::detail::interrupt_foreign_call;
using weft::detail::Interruption;

struct Threads {
    // --- fixed once signals are handed out ---
    int open_signals = -1;  // a signalfd
    int news = -1;          // an eventfd: something is pending for a thread that has it open
    pthread_t giver{};
    // --- the first thread only ---
    ThreadSignals* handled_for = nullptr;
    Signals closed_by_handlers = 0;

    // --- any thread ---
    std::atomic<Signals> read_by_program{0};  // by a signalfd of its own
    weft::detail::SpinLock lock;
    // Guarded by lock.
    ThreadSignals* first = nullptr;
    unsigned count = 0;
    std::array<unsigned, 64> blocked_by{};
};
constinit Threads threads;

/// Holds the lock of all.
class Held {
public:
    Held() noexcept : hold_{threads.lock} {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

private:
    const QuietSignals quiet_{QuietSignals::OnWorkers::yes};
    const std::lock_guard<weft::detail::SpinLock> hold_;
};

Signals blockable() noexcept { return signals_of(weft::detail::asynchronous_signals()); }

int take_first(Signals& signals) noexcept {
    if (signals == 0) return 0;
    const int signal = std::countr_zero(signals) + 1;
    signals &= signals - 1;
    return signal;
}

void write_to(int eventfd) noexcept {
    const std::uint64_t one = 1;
    (void)call(SYS_write, eventfd, &one, sizeof one);
}
void empty(int eventfd) noexcept {
    std::uint64_t count = 0;
    (void)call(SYS_read, eventfd, &count, sizeof count);
}

/// Under the lock.
Signals open_ones() noexcept {
    Signals open = 0;
    for (int signal = 1; signal <= 64; ++signal) {
        const unsigned blocked_by = threads.blocked_by[static_cast<unsigned>(signal - 1)];
        if (blocked_by < threads.count) open |= bit_of(signal);
    }
    return open & blockable();
}

/// Under the lock, so that the last word is the last mask's.
void watch_open_ones(Signals before) noexcept {
    const Signals open = open_ones();
    if (open == before) return;
    const sigset_t set = set_of(open);
    (void)WEFT_ORIGINAL(signalfd)(threads.open_signals, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void count_blocked(Signals signals, unsigned by) noexcept {
    while (const int signal = take_first(signals)) {
        threads.blocked_by[static_cast<unsigned>(signal - 1)] += by;
    }
}

struct sigaction action_of(int signal) noexcept {
    struct sigaction action {};
    (void)WEFT_ORIGINAL(sigaction)(signal, nullptr, &action);
    return action;
}
bool is_handled(const struct sigaction& action) noexcept {
    return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

/// On the calling OS thread, which blocks it: one that is pending is handled now. Not several at
/// once, for the handler of one is not to be interrupted while it has a lock of weft's.
void unblock_for_a_moment(int signal) noexcept {
    const sigset_t set = set_of(bit_of(signal));
    sigset_t before;
    WEFT_ORIGINAL(pthread_sigmask)(SIG_UNBLOCK, &set, &before);
    WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, &before, nullptr);
}

// --- the thread itself ---

/// Under the lock, of another thread or of itself: a handler has run for it.
void note_handled(ThreadSignals& thread) noexcept {
    ++thread.handled;
    if (thread.watches) write_to(thread.wake);
}

void note_handled_if(bool any_handler, ThreadSignals& own) noexcept {
    if (!any_handler) return;
    const Held held;
    note_handled(own);
}

/// What those handlers keep closed that run for it on the calling OS thread. It is kept here, as
/// the kernel's mask does not tell it from what that thread blocks for weft's sake.
Signals& closed_by_handlers(ThreadSignals& thread) noexcept {
    return Worker::current() == nullptr ? threads.closed_by_handlers : thread.closed_by_handlers;
}

/// In a child that a handler on a worker made, and that came back from it: the kernel's mask is
/// the thread's from then on.
void tell_kernel_in_child(bool was_worker, Signals mask) noexcept {
    if (!was_worker || Worker::current() != nullptr) return;
    const sigset_t set = set_of(mask);
    WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, &set, nullptr);
}

/// Handles `signal`, which is pending on the calling OS thread, or of the process, for `thread`.
void let_in(ThreadSignals& thread, int signal) noexcept {
    const struct sigaction action = action_of(signal);
    Signals& closed = closed_by_handlers(thread);
    const Signals before = closed;
    const bool on_worker = Worker::current() != nullptr;
    closed |= signals_of(action.sa_mask);
    if ((action.sa_flags & SA_NODEFER) == 0) closed |= bit_of(signal);
    unblock_for_a_moment(signal);
    closed = before;
    tell_kernel_in_child(on_worker, thread.mask);
}

/// What is pending for `thread` alone, of those it has open by now, beside `about_to_open`; 0:
/// none. The caller is to handle it.
int take_open(ThreadSignals& thread, Signals about_to_open) noexcept {
    const Held held;
    Signals open = thread.pending & (~thread.mask | about_to_open) & ~closed_by_handlers(thread);
    const int signal = take_first(open);
    if (signal == 0) return 0;
    thread.pending &= ~bit_of(signal);
    if (Worker::current() == nullptr) thread.handling |= bit_of(signal);
    return signal;
}

/// What was handled, and how.
struct Handled {
    bool any = false;      // by a handler
    bool restarts = true;  // as all of these want calls that they interrupt
    void add(const struct sigaction& action) noexcept {
        if (!is_handled(action)) return;
        any = true;
        restarts = restarts && (action.sa_flags & SA_RESTART) != 0;
    }
};

/// Handles that.
void handle_open(ThreadSignals& thread, Signals about_to_open, Handled& handled) noexcept {
    while (const int signal = take_open(thread, about_to_open)) {
        handled.add(action_of(signal));
        WEFT_ORIGINAL(raise)(signal);
        let_in(thread, signal);
    }
}

/// In a fiber: handles what is pending of `signals`, which are open or about to be, for it or the
/// process, and what the handlers of these send to it.
void handle_pending(ThreadSignals& own, Signals signals) noexcept {
    own.closed_by_handlers = 0;  // a handler may have been left by a jump
    sigset_t all;
    WEFT_ORIGINAL(sigpending)(&all);
    Handled handled;
    handle_open(own, signals, handled);
    for (Signals due = signals_of(all) & signals; const int signal = take_first(due);) {
        handled.add(action_of(signal));
        let_in(own, signal);
        handle_open(own, signals, handled);
    }
    note_handled_if(handled.any, own);
}

/// Under the lock. A signalfd of the program's does not know what is kept here: what can only be
/// taken by one is the process's.
void add_pending(ThreadSignals& thread, int signal) noexcept {
    const Signals readable =
        threads.read_by_program.load(std::memory_order_relaxed) & bit_of(signal) & ~thread.awaited;
    if (readable != 0 && (open_ones() & readable) == 0) {
        (void)WEFT_ORIGINAL(kill)(::getpid(), signal);
    } else {
        thread.pending |= bit_of(signal);
    }
}

/// False: it is none that is kept here.
bool make_pending(ThreadSignals& thread, int signal) noexcept {
    if (!is_signal(signal) || (bit_of(signal) & blockable()) == 0) return false;
    const Held held;
    add_pending(thread, signal);
    return true;
}

int raise_by_libc(int signal) noexcept { return WEFT_ORIGINAL(raise)(signal) == 0 ? 0 : errno; }

/// Waits for the end of a handler that runs for it: of one of `signals`.
class HandlerEnd {
public:
    /// Under the lock.
    void ask(ThreadSignals& own, Signals signals) noexcept {
        awaited_ = (own.handling & signals) != 0;
        if (awaited_) own.handled_then = &end_;
    }
    void wait() noexcept {
        if (!awaited_) return;
        const this_fiber::Pin pin;
        (void)end_.wait(Deadline::never(), Cancellable::no, {"the end of a signal handler", &end_});
    }

private:
    Completion end_;
    bool awaited_ = false;
};

// --- the first thread ---

/// Under the lock.
ThreadSignals* find_taker(int signal) noexcept {
    for (ThreadSignals* each = threads.first; each != nullptr; each = each->next) {
        if ((each->mask & bit_of(signal)) == 0) return each;
    }
    return nullptr;
}

/// Under the lock: what is pending for a thread that has it open; 0: nothing.
int take_news(ThreadSignals*& thread) noexcept {
    for (thread = threads.first; thread != nullptr; thread = thread->next) {
        Signals open = thread->pending & ~thread->mask;
        const int signal = take_first(open);
        if (signal == 0) continue;
        thread->pending &= ~bit_of(signal);
        thread->handling = bit_of(signal);
        return signal;
    }
    return 0;
}

/// `signal`, pending on this thread, for `thread`, whose `handling` it is: until that is over,
/// it does not end.
void handle(ThreadSignals& thread, int signal) noexcept {
    Handled handled;
    handled.add(action_of(signal));
    threads.handled_for = &thread;
    let_in(thread, signal);
    handle_open(thread, 0, handled);  // what the handler sent to it, and others meanwhile
    threads.handled_for = nullptr;
    if (handled.any) {
        interrupt_foreign_call(
            *thread.fiber, handled.restarts ? Interruption::never_restarted : Interruption::all);
    }
    Completion* told = nullptr;
    {
        const Held held;
        thread.handling = 0;
        if (handled.any) note_handled(thread);
        told = std::exchange(thread.handled_then, nullptr);
    }
    if (told != nullptr) told->happen();
}

bool give_news() noexcept {
    ThreadSignals* thread = nullptr;
    int signal = 0;
    {
        const Held held;
        signal = take_news(thread);
    }
    if (signal == 0) return false;
    WEFT_ORIGINAL(raise)(signal);
    handle(*thread, signal);
    return true;
}

bool give_one_of_process() noexcept {
    Signals open = 0;
    {
        const Held held;
        open = open_ones();
    }
    constexpr timespec at_once{};
    siginfo_t info{};
    const long signal = call(SYS_rt_sigtimedwait, &open, &info, &at_once, sizeof open);
    if (signal <= 0) return false;
    ThreadSignals* thread = nullptr;
    {
        const Held held;
        thread = find_taker(static_cast<int>(signal));
        if (thread != nullptr) thread->handling = bit_of(static_cast<int>(signal));
    }
    const long process = ::getpid();
    if (thread == nullptr) {
        // Blocked by now: it stays pending.
        (void)call(SYS_rt_sigqueueinfo, process, signal, &info);
        return true;
    }
    // The first thread has the process's number.
    (void)call(SYS_rt_tgsigqueueinfo, process, process, signal, &info);
    handle(*thread, static_cast<int>(signal));
    return true;
}

}  // namespace

Signals signals_of(const sigset_t& set) noexcept {
    Signals signals = 0;
    std::memcpy(&signals, &set, sizeof signals);
    return signals;
}

sigset_t set_of(Signals signals) noexcept {
    sigset_t set;
    sigemptyset(&set);
    std::memcpy(&set, &signals, sizeof signals);
    return set;
}

void begin_signals(ThreadSignals& own, FiberCore& fiber, Signals mask) noexcept {
    own.fiber = &fiber;
    own.mask = mask & blockable();
    fiber.foreign |= FiberCore::foreign_takes_signals;
    const Held held;
    const Signals open = open_ones();
    // After the first, which is main().
    ThreadSignals*& link = threads.first == nullptr ? threads.first : threads.first->next;
    own.previous = threads.first;
    own.next = link;
    if (own.next != nullptr) own.next->previous = &own;
    link = &own;
    ++threads.count;
    count_blocked(own.mask, 1);
    watch_open_ones(open);
}

bool end_signals(ThreadSignals& own) noexcept {
    HandlerEnd end;
    bool is_last = false;
    {
        const Held held;
        const Signals open = open_ones();
        (own.previous == nullptr ? threads.first : own.previous->next) = own.next;
        if (own.next != nullptr) own.next->previous = own.previous;
        is_last = --threads.count == 0;
        count_blocked(own.mask, ~0U);
        watch_open_ones(open);
        end.ask(own, own.handling);
    }
    end.wait();
    {
        const Held held;
        own.fiber = nullptr;
    }
    if (own.wake >= 0) weft::detail::close_number(own.wake);
    return is_last;
}

void forget_thread_signals() noexcept { ::new (&threads) Threads; }

int take_signals_of_process() noexcept {
    threads.giver = WEFT_ORIGINAL(pthread_self)();
    const sigset_t all = weft::detail::asynchronous_signals();
    WEFT_ORIGINAL(pthread_sigmask)(SIG_BLOCK, &all, nullptr);
    const sigset_t none = set_of(0);
    threads.open_signals = WEFT_ORIGINAL(signalfd)(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK);
    if (threads.open_signals < 0) return errno;
    threads.news = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return threads.news < 0 ? errno : 0;
}

void hand_signals_out(int ended) noexcept {
    for (;;) {
        std::array<pollfd, 3> fds{
            {{ended, POLLIN, 0}, {threads.open_signals, POLLIN, 0}, {threads.news, POLLIN, 0}}};
        (void)call(SYS_ppoll, fds.data(), fds.size(), nullptr, nullptr, 0L);
        if (fds[0].revents != 0) return;
        if (fds[2].revents != 0) empty(threads.news);
        while (give_news() || give_one_of_process()) {
        }
    }
}

ThreadSignals* handles_for() noexcept {
    if (threads.news < 0 || WEFT_ORIGINAL(pthread_self)() != threads.giver) return nullptr;
    return threads.handled_for;
}

void set_mask(ThreadSignals& own, Signals mask) noexcept {
    mask &= blockable();
    const Signals opened = own.mask & ~mask;
    const Signals closed = mask & ~own.mask;
    if (opened == 0 && closed == 0) return;
    const bool on_worker = Worker::current() != nullptr;
    if ((closed & bit_of(SIGPIPE)) != 0) forget_pipe_signal();  // none of its own
    HandlerEnd end;
    for (bool done = false; !done;) {
        // First, lest the first thread takes them, when the caller would not wait for it.
        if (opened != 0) handle_pending(own, opened);
        const Held held;
        done = (own.pending & opened) == 0;
        if (!done) continue;
        const Signals open = open_ones();
        std::atomic_ref{own.mask}.store(mask, std::memory_order_relaxed);
        count_blocked(opened, ~0U);
        count_blocked(closed, 1);
        watch_open_ones(open);
        end.ask(own, closed);
    }
    tell_kernel_in_child(on_worker, mask);
    end.wait();
}

int change_mask(ThreadSignals& own, int how, const sigset_t* set, sigset_t* before) noexcept {
    const Signals mask = own.mask;
    if (set != nullptr) {
        const Signals named = signals_of(*set);
        switch (how) {
            case SIG_BLOCK: set_mask(own, mask | named); break;
            case SIG_UNBLOCK: set_mask(own, mask & ~named); break;
            case SIG_SETMASK: set_mask(own, named); break;
            default: return EINVAL;
        }
    }
    if (before != nullptr) *before = set_of(mask);
    return 0;
}

int send_to_self(ThreadSignals& own, int signal) noexcept {
    if (!make_pending(own, signal)) return raise_by_libc(signal);
    own.closed_by_handlers = 0;  // a handler may have been left by a jump
    Handled handled;
    handle_open(own, 0, handled);
    note_handled_if(handled.any, own);
    return 0;
}

int send_in_handler(ThreadSignals& thread, int signal) noexcept {
    if (!make_pending(thread, signal)) return raise_by_libc(signal);
    Handled handled;
    handle_open(thread, 0, handled);
    return 0;
}

// Without the lock, which somebody may have had when this process was forked.
Signals mask_in_handler(ThreadSignals& thread) noexcept {
    const Signals mask = std::atomic_ref{thread.mask}.load(std::memory_order_relaxed);
    return mask | closed_by_handlers(thread);
}

int send_to(ThreadSignals& thread, int signal) noexcept {
    if (signal == 0) return 0;
    if (!is_signal(signal)) return EINVAL;
    if ((bit_of(signal) & blockable()) == 0) {
        return WEFT_ORIGINAL(kill)(::getpid(), signal) == 0 ? 0 : errno;
    }
    const Held held;
    if (thread.fiber == nullptr) return 0;
    add_pending(thread, signal);
    if ((thread.awaited & bit_of(signal)) != 0) {
        write_to(thread.wake);
    } else if ((thread.mask & bit_of(signal)) == 0) {
        write_to(threads.news);
    }
    return 0;
}

void note_read_by_program(Signals signals) noexcept {
    threads.read_by_program.fetch_or(signals, std::memory_order_relaxed);
}

Signals pending_of(const ThreadSignals& own) noexcept {
    sigset_t all;
    WEFT_ORIGINAL(sigpending)(&all);
    const Held held;
    return (signals_of(all) | own.pending) & own.mask;
}

int take_pending(ThreadSignals& own, Signals wanted) noexcept {
    const Held held;
    Signals found = own.pending & wanted;
    const int signal = take_first(found);
    if (signal != 0) own.pending &= ~bit_of(signal);
    return signal;
}

SignalWatch::SignalWatch(ThreadSignals* own, Signals awaited) noexcept : own_{own} {
    if (own == nullptr) return;
    if (own->wake < 0) {
        const long made = call(SYS_eventfd2, 0L, EFD_CLOEXEC | EFD_NONBLOCK);
        own->wake = static_cast<int>(made);
        error_ = made < 0 ? made : 0;
        if (made < 0) own_ = nullptr;
        if (made < 0) return;
    }
    const Held held;
    empty(own->wake);
    handled_before_ = own->handled;
    own->awaited = awaited;
    own->watches = true;
}

SignalWatch::~SignalWatch() {
    if (own_ == nullptr) return;
    const Held held;
    own_->watches = false;
    own_->awaited = 0;
}

bool SignalWatch::handled() const noexcept {
    if (own_ == nullptr) return false;
    const Held held;
    return own_->handled != handled_before_;
}

MaskedWait::MaskedWait(ThreadSignals* own, const sigset_t* mask) noexcept
    : own_{mask == nullptr ? nullptr : own}, watch_{own_} {
    if (own_ == nullptr) return;
    before_ = own_->mask;
    set_mask(*own_, signals_of(*mask));
}

}  // namespace weft::hooks::detail
