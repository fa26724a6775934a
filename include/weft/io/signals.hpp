#pragma once

#include <weft/channel.hpp>
#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/select.hpp>

#include <memory>
#include <optional>
#include <utility>

namespace weft::io {

/// A signal that came.
struct SignalInfo {
    int number = 0;
    int pid = 0;       ///< who sent it; 0: the kernel, as for Ctrl-C, or it is not known
    unsigned uid = 0;  ///< whose that is
    int value = 0;     ///< sigqueue()'s, or a timer's
};

/// Signals of the process, to be waited for by fibers and plain threads.
///
///     Signals stop{SIGINT, SIGTERM};
///     stop.wait();
///
/// As long as one lives its signals do nothing else: no handler of the program is called and
/// no default ends it. Several may share a number; each gets every signal, and of those that
/// wait at one, one. With the last for a number goes weft's handler, and what was there
/// before comes back: also for a signal that is under way at that moment.
///
/// None is lost: what comes while nobody waits is kept. As in the kernel a signal that comes
/// again before it was taken counts once, with the first one's sender; a real-time one up to
/// 16 times.
///
/// The first Signals starts a thread, which ends with the last; while it lives, weft cannot
/// tell that all fibers wait for each other. The signals need a thread that does not block
/// them. The program's main thread will do; weft's own threads block all.
///
/// What weft does with signals besides: in a runtime it has handlers of SIGSEGV and SIGBUS,
/// which report overflows of fibers' stacks and leave the rest to what was there before, and
/// of SIGURG, by which it wakes threads of its own. It changes nothing else: who wants to
/// survive Ctrl-C makes a Signals. A child made by fork() has the handlers of before, and no
/// Signals; one started by Process has no handlers at all.
///
/// Thread safety: every member. Lifetime: must outlive its waiters.
class WEFT_API Signals {
public:
    /// Throws std::invalid_argument for no signal, and for those that cannot be waited for:
    /// SIGKILL, SIGSTOP, SIGURG, and those of faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL,
    /// SIGTRAP, SIGSYS). Throws std::system_error when there is no thread or descriptor.
    Signals(std::initializer_list<int> numbers);
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;
    ~Signals();

    /// Takes the signal that came first.
    ///
    /// Blocks: until one is there. Cancellation point.
    /// Returns nothing if `deadline` passes first. Throws Cancelled. Then none was taken.
    std::optional<SignalInfo> wait(Deadline deadline);
    SignalInfo wait() { return *wait(Deadline::never()); }
    /// The same if one is there. Never blocks.
    std::optional<SignalInfo> try_wait();

private:
    template <class F>
    friend auto on_signal(Signals& signals, F callback);

    struct State;
    RecvOnly<SignalInfo> arrived() const noexcept;
    void taken(const SignalInfo& info) noexcept;

    std::unique_ptr<State> state_;
};

/// A case of weft::select(): takes a signal, and calls `callback(SignalInfo)`.
template <class F>
auto on_signal(Signals& signals, F callback) {
    return on_recv(signals.arrived(), [&signals, callback = std::move(callback)](
                                          const std::optional<SignalInfo>& info) mutable {
        signals.taken(*info);
        callback(*info);
    });
}

}  // namespace weft::io
