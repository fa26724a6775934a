// Layer: context. Uses: base, the Itanium C++ ABI.
#include "context/switch.hpp"

#include <cxxabi.h>
#include <cerrno>
#include <cstdint>

namespace weft::detail {

// Both are never inlined and launder what they return, so that no compiler
// believes the address to be the same after a switch (see ARCHITECTURE.md, TLS).

[[gnu::noinline]] ExceptionState* exception_state_of_thread() noexcept {
    auto* state = reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
    asm volatile("" : "+r"(state));
    return state;
}

[[gnu::noinline]] int* errno_of_thread() noexcept {
    int* address = &errno;
    asm volatile("" : "+r"(address));
    return address;
}

void reset_float_control() noexcept {
#if defined(__x86_64__)
    constexpr std::uint32_t default_mxcsr = 0x1F80;
    constexpr std::uint16_t default_x87 = 0x037F;
    // Reading is cheap and writing is not: most creators never changed them.
    std::uint32_t mxcsr;
    std::uint16_t x87;
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    if ((mxcsr & ~std::uint32_t{0x3F}) != default_mxcsr) {
        asm volatile("ldmxcsr %0" : : "m"(default_mxcsr));
    }
    asm volatile("fnstcw %0" : "=m"(x87));
    if (x87 != default_x87) asm volatile("fldcw %0" : : "m"(default_x87));
#endif
}

}  // namespace weft::detail
