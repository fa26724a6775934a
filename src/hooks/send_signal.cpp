// Hooks on sending signals, and on masks as they once were, of a program whose threads are
// fibers (weft-run --threads). Layer: hooks. Uses: io.
//
// What a thread sends to its process while it has the signal open it handles itself, on the
// spot, as a process of one thread would. What another fiber sends to its thread, its worker, which
// blocks it, happens on the spot as well.
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

bool are_patched() noexcept { return (patched.load(std::memory_order_relaxed) & c_process) != 0; }

bool is_taken(const FiberCore* fiber, int signal) noexcept {
    return fiber != nullptr && is_signal(signal) && are_patched();
}

bool has_open(const ThreadSignals& own, int signal) noexcept {
    return is_signal(signal) && (own.mask & bit_of(signal)) == 0;
}

/// BSD's masks are of an int's bits.
Signals signals_of(int mask) noexcept { return static_cast<unsigned>(mask); }
int bsd_mask(Signals signals) noexcept { return static_cast<int>(static_cast<unsigned>(signals)); }

/// Changes the mask of the calling fiber. False: the caller is none, or its signals are libc's.
bool change_here(const FiberCore* fiber, int how, Signals named, int* before = nullptr) noexcept {
    if (fiber == nullptr) return false;
    const sigset_t set = set_of(named);
    sigset_t was{};
    if (ThreadSignals* const own = signals_of_thread(fiber); own != nullptr) {
        (void)change_mask(*own, how, &set, &was);
    } else if (are_patched()) {
        (void)change_mask_of(*fiber, how, &set, &was);
    } else {
        return false;
    }
    if (before != nullptr) *before = bsd_mask(detail::signals_of(was));
    return true;
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
    if (own != nullptr) return by_errno(send_in_handler(*own, signal));
    const int result = WEFT_ORIGINAL(raise)(signal);
    if (result == 0 && is_taken(WEFT_FOREIGN_FIBER(), signal)) deliver_own_signal(signal);
    return result;
}
WEFT_OTHER_NAME(int, gsignal, (int signal), raise);

int hook_pthread_kill(pthread_t thread, int signal) {
    FiberThread* const named = fiber_thread_of(thread);
    if (named == nullptr) {
        const int error = WEFT_ORIGINAL(pthread_kill)(thread, signal);
        const bool own = error == 0 && is_taken(WEFT_FOREIGN_FIBER(), signal) &&
                         ::pthread_equal(thread, ::pthread_self()) != 0;
        if (own) deliver_own_signal(signal);
        return error;
    }
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
    int before = 0;
    const FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    return change_here(fiber, SIG_BLOCK, signals_of(mask), &before) ? before
                                                                    : WEFT_ORIGINAL(sigblock)(mask);
}

int hook_sigsetmask(int mask) {
    int before = 0;
    const FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    return change_here(fiber, SIG_SETMASK, signals_of(mask), &before)
               ? before
               : WEFT_ORIGINAL(sigsetmask)(mask);
}

int hook_siggetmask() {
    int mask = 0;
    const FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    return change_here(fiber, SIG_BLOCK, 0, &mask) ? mask : WEFT_ORIGINAL(siggetmask)();
}

int hook_sighold(int signal) {
    const Signals named = is_signal(signal) ? bit_of(signal) : 0;
    const bool changed = named != 0 && change_here(WEFT_FOREIGN_FIBER(), SIG_BLOCK, named);
    return changed ? 0 : WEFT_ORIGINAL(sighold)(signal);
}

int hook_sigrelse(int signal) {
    const Signals named = is_signal(signal) ? bit_of(signal) : 0;
    const bool changed = named != 0 && change_here(WEFT_FOREIGN_FIBER(), SIG_UNBLOCK, named);
    return changed ? 0 : WEFT_ORIGINAL(sigrelse)(signal);
}
