// From one stack to another inside of one party, inline.
//
// Apart from the scheduler's switch because it must be inlined into whoever resumes a
// generator and into its body: a call around it would return on a stack where
// the CPU's return predictor expects another address. (An item took 79 ns with calls
// around the jump, where a bare fcontext one took 18.) It does not keep the
// floating-point control words: as after a call, they are what the other side left.
#pragma once

#include <weft/detail/export.hpp>

#include <cstddef>

// Sanitizers must be told of a jump from code that is not instrumented: then all of it
// is done inside of the library.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEFT_JUMPS_INLINE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define WEFT_JUMPS_INLINE 0
#endif
#endif
#if !defined(WEFT_JUMPS_INLINE)
#if defined(__x86_64__)
#define WEFT_JUMPS_INLINE 1
#else
#define WEFT_JUMPS_INLINE 0
#endif
#endif

namespace weft::detail {

/// Where a stack stopped.
struct JumpPoint {
    void* stack = nullptr;  // elsewhere than on x86-64: a context of the switch
    void* code = nullptr;
    void* frame = nullptr;
};

/// The end of the caller's frame, about.
[[gnu::always_inline]] inline const std::byte* stack_pointer() noexcept {
#if defined(__x86_64__)
    const std::byte* here;
    asm volatile("movq %%rsp, %0" : "=r"(here));
    return here;
#else
    return static_cast<const std::byte*>(__builtin_frame_address(0));
#endif
}

#if defined(__x86_64__)

/// Notes in `from` where it stops, goes on at `to`, and hands `word` over. Returns what
/// is handed over when somebody comes back. Only for functions that call others.
[[gnu::always_inline]] inline void* jump(JumpPoint& from, const JumpPoint& to, void* word) {
    JumpPoint* stop = &from;
    const JumpPoint* there = &to;
    asm volatile(
        "leaq 1f(%%rip), %%rax\n\t"
        "movq %%rsp, 0(%[stop])\n\t"
        "movq %%rax, 8(%[stop])\n\t"
        "movq %%rbp, 16(%[stop])\n\t"
        "movq 0(%[there]), %%rsp\n\t"
        "movq 16(%[there]), %%rbp\n\t"
        "jmpq *8(%[there])\n"
        "1:"
        : [word] "+D"(word), [stop] "+S"(stop), [there] "+d"(there)
        :
        : "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1",
          "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
          "xmm13", "xmm14", "xmm15",
#if defined(__AVX512F__)
          "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",
          "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6",
          "k7",
#endif
          "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "cc", "memory");
    return word;
}

#else
WEFT_API void* jump(JumpPoint& from, const JumpPoint& to, void* word);
#endif

}  // namespace weft::detail
