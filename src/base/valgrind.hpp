// What Valgrind must be told of a fiber's stack: otherwise a switch to a neighbouring one
// looks to it like a large frame, and all that comes after like use of what is not there.
// Layer: base. Uses: nothing.
//
// By hand, so that its header need not be there: rotations that change nothing, and an
// exchange by which it knows them. On a CPU they take two nanoseconds, once for each
// stack. A stack is not taken back: its pages may go, and what comes in their place is a
// stack again or no stack pointer's.
#pragma once

#include <cstdint>

namespace weft::detail {

inline void valgrind_register_stack(const void* lowest, const void* end) noexcept {
#if defined(__x86_64__)
    constexpr std::uintptr_t stack_register = 0x1501;
    const volatile std::uintptr_t request[6] = {stack_register,
                                                reinterpret_cast<std::uintptr_t>(lowest),
                                                reinterpret_cast<std::uintptr_t>(end)};
    std::uintptr_t answer = 0;
    asm volatile(
        "rolq $3, %%rdi\n\t"
        "rolq $13, %%rdi\n\t"
        "rolq $61, %%rdi\n\t"
        "rolq $51, %%rdi\n\t"
        "xchgq %%rbx, %%rbx"
        : "+d"(answer)
        : "a"(&request[0])
        : "cc", "memory");
#else
    static_cast<void>(lowest);
    static_cast<void>(end);
#endif
}

}  // namespace weft::detail
