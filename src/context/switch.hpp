// Switch: from one stack to another, by Boost.Context's fcontext layer.
// Layer: context. Uses: base. Nobody else includes Boost.
//
// What the ABI leaves out of a switch is the caller's: the C++ exception state
// (below), errno, and the sanitizers' notes.
#pragma once

#include "base/sanitizer.hpp"

#include <weft/detail/jump.hpp>

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>

namespace weft::detail {

/// A stack that is not running: where to go on.
using Context = boost::context::detail::fcontext_t;
/// What arrives: the context left behind, and the word that was passed.
using Arrival = boost::context::detail::transfer_t;

/// Leaves for `to` and hands it `word`. Returns when somebody comes back.
inline Arrival switch_to(Context to, void* word) noexcept {
#if defined(__x86_64__) && !defined(WEFT_ASAN) && !defined(WEFT_TSAN)
    // jump_fcontext is entered by a jump, with the return address pushed by hand:
    // it also goes on by a jump, so a call would leave an entry too many in the
    // CPU's return predictor, and every return up to the fiber's own loop would
    // be predicted wrongly. Only for functions that call others: those keep
    // nothing below the stack pointer. (A yield took 23.7 ns with the call and takes 11.4 ns so,
    // medians.)
    Context from;
    void* passed;
    asm volatile(
        "leaq 1f(%%rip), %%rax\n\t"
        "pushq %%rax\n\t"
        "jmp jump_fcontext@PLT\n"
        "1:"
        : "=a"(from), "=d"(passed), "+D"(to), "+S"(word)
        :
        : "rcx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
          "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc",
          "memory");
    return Arrival{from, passed};
#else
    return boost::context::detail::jump_fcontext(to, word);
#endif
}

/// Runs `visitor` on top of the stopped `stack` and waits for it to come back.
/// Returns where `stack` now goes on: the visitor's frame, which then returns.
inline Context visit_on(Context stack, void* word, Arrival (*visitor)(Arrival)) noexcept {
    return boost::context::detail::ontop_fcontext(stack, word, visitor).fctx;
}

/// Runs `visitor(word)` on top of a stack that stopped in a jump(), which stays as it
/// is. Not everywhere: false where there is no way.
bool visit_on(const JumpPoint& stopped, void* word, void (*visitor)(void*)) noexcept;

/// A context that will call `entry` on the stack that ends at `top`.
inline Context make_context(void* top, std::size_t size, void (*entry)(Arrival)) noexcept {
    return boost::context::detail::make_fcontext(top, size, entry);
}

/// Where a first jump() calls `entry` with its word, on the stack that ends at `top`.
/// `entry` does not return.
JumpPoint make_jump_point(void* top, std::size_t size, void (*entry)(void*)) noexcept;

/// The C++ runtime's per-thread exception state, which must follow the fiber:
/// the exceptions being handled, and how many are in flight. Layout: Itanium C++ ABI.
struct ExceptionState {
    void* caught = nullptr;
    unsigned int uncaught = 0;
};

/// The calling thread's. Valid as long as the thread.
ExceptionState* exception_state_of_thread() noexcept;
/// The calling thread's errno. Valid as long as the thread.
int* errno_of_thread() noexcept;

/// A new fiber starts with the control words a new thread has, not with its creator's.
void reset_float_control() noexcept;

}  // namespace weft::detail
