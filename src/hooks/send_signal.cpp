// Hooks on sending signals, and on masks as they once were, of a program whose threads are
// fibers (weft-run --threads). Layer: hooks. Uses: io.
//
// What a thread sends to its process while it has the signal open it handles itself, on the
// spot, as a process of one thread would.
#include "hooks/caller.hpp"
#include "hooks/fiber_thread.hpp"
#include "hooks/signals.hpp"
#include "hooks/thread_signals.hpp"

#include <unistd.h>

#include <cerrno>

namespace weft::hooks::detail {

namespace {

/// Of the thread for which foreign code calls in a signal's handler; null: it is in none.
ThreadSignals* signals_in_handler(const void* caller) noexcept {
    FiberThread* const own = this_fiber_thread();
    if (own == nullptr || weft_text.has(caller) || hooks_text.has(caller)) return nullptr;
    const FiberCore* const fiber = running_fiber();
    return fiber != nullptr && runs_on_its_stack(*fiber) ? nullptr : &own->signals;
}

bool has_open(const ThreadSignals& own, int signal) noexcept {
    return is_signal(signal) && (own.mask & bit_of(signal)) == 0;
}

/// BSD's masks are of an int's bits.
Signals signals_of(int mask) noexcept { return static_cast<unsigned>(mask); }
int bsd_mask(Signals signals) noexcept { return static_cast<int>(static_cast<unsigned>(signals)); }

/// Sets it, and returns what it was before.
int exchange_mask(ThreadSignals& own, Signals mask) noexcept {
    const Signals before = own.mask;
    set_mask(own, mask);
    return bsd_mask(before);
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_raise(int signal) {
    if (ThreadSignals* const own = signals_of_thread(WEFT_FOREIGN_FIBER()); own != nullptr) {
        return by_errno(send_to_self(*own, signal));
    }
    ThreadSignals* const own = signals_in_handler(__builtin_return_address(0));
    return own == nullptr ? WEFT_ORIGINAL(raise)(signal) : by_errno(send_in_handler(*own, signal));
}
WEFT_OTHER_NAME(int, gsignal, (int signal), raise);

int hook_pthread_kill(pthread_t thread, int signal) {
    FiberThread* const named = fiber_thread_of(thread);
    if (named == nullptr) return WEFT_ORIGINAL(pthread_kill)(thread, signal);
    ThreadSignals& its = named->signals;
    if (signals_of_thread(WEFT_FOREIGN_FIBER()) == &its) return send_to_self(its, signal);
    const bool in_its_handler = signals_in_handler(__builtin_return_address(0)) == &its;
    return in_its_handler ? send_in_handler(its, signal) : send_to(its, signal);
}

// There is no place for the value.
int hook_pthread_sigqueue(pthread_t thread, int signal, sigval value) {
    if (fiber_thread_of(thread) != nullptr) return ENOSYS;
    return WEFT_ORIGINAL(pthread_sigqueue)(thread, signal, value);
}

int hook_kill(pid_t pid, int signal) {
    ThreadSignals* const own = signals_of_thread(WEFT_FOREIGN_FIBER());
    if (own == nullptr || pid != ::getpid() || !has_open(*own, signal)) {
        return WEFT_ORIGINAL(kill)(pid, signal);
    }
    return by_errno(send_to_self(*own, signal));
}

int hook_signalfd(int fd, const sigset_t* set, int flags) {
    const int result = WEFT_ORIGINAL(signalfd)(fd, set, flags);
    if (result >= 0) note_read_by_program(signals_of(*set));
    return result;
}

int hook_sigpending(sigset_t* set) {
    const ThreadSignals* const own = signals_of_thread(WEFT_FOREIGN_FIBER());
    if (own == nullptr) return WEFT_ORIGINAL(sigpending)(set);
    *set = set_of(pending_of(*own));
    return 0;
}

int hook_sigblock(int mask) {
    ThreadSignals* const own = signals_of_thread(WEFT_FOREIGN_FIBER());
    if (own == nullptr) return WEFT_ORIGINAL(sigblock)(mask);
    return exchange_mask(*own, own->mask | signals_of(mask));
}

int hook_sigsetmask(int mask) {
    ThreadSignals* const own = signals_of_thread(WEFT_FOREIGN_FIBER());
    if (own == nullptr) return WEFT_ORIGINAL(sigsetmask)(mask);
    return exchange_mask(*own, signals_of(mask));
}

int hook_siggetmask() {
    const ThreadSignals* const own = signals_of_thread(WEFT_FOREIGN_FIBER());
    return own == nullptr ? WEFT_ORIGINAL(siggetmask)() : bsd_mask(own->mask);
}

int hook_sighold(int signal) {
    ThreadSignals* const own = signals_of_thread(WEFT_FOREIGN_FIBER());
    if (own == nullptr || !is_signal(signal)) return WEFT_ORIGINAL(sighold)(signal);
    set_mask(*own, own->mask | bit_of(signal));
    return 0;
}

int hook_sigrelse(int signal) {
    ThreadSignals* const own = signals_of_thread(WEFT_FOREIGN_FIBER());
    if (own == nullptr || !is_signal(signal)) return WEFT_ORIGINAL(sigrelse)(signal);
    set_mask(*own, own->mask & ~bit_of(signal));
    return 0;
}
