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

#if defined(__x86_64__)

JumpPoint make_jump_point(void* top, std::size_t, void (*entry)(void*)) noexcept {
    // As if called: aligned to 16 before the return address, which is none.
    auto* const end =
        reinterpret_cast<void**>(reinterpret_cast<std::uintptr_t>(top) & ~std::uintptr_t{15});
    end[-1] = nullptr;
    return JumpPoint{end - 1, reinterpret_cast<void*>(entry), nullptr};
}

namespace {

struct Visit {
    void (*visitor)(void*);
    void* word;
    const JumpPoint* back;
};

void begin_visit(void* of) {
    const auto& visit = *static_cast<const Visit*>(of);
    visit.visitor(visit.word);
    JumpPoint nowhere;
    jump(nowhere, *visit.back, nullptr);
}

}  // namespace

// As if what stopped had called the visitor: only what is below its frame is written.
bool visit_on(const JumpPoint& stopped, void* word, void (*visitor)(void*)) noexcept {
    auto* const called = static_cast<void**>(stopped.stack) - 1;
    *called = stopped.code;
    JumpPoint here;
    Visit visit{visitor, word, &here};
    jump(here, {called, reinterpret_cast<void*>(&begin_visit), stopped.frame}, &visit);
    return true;
}

#else

bool visit_on(const JumpPoint&, void*, void (*)(void*)) noexcept { return false; }

namespace {

struct Handover {
    JumpPoint* from;
    void* word;
    void (*entry)(void*) = nullptr;
};

void* arrived(Arrival arrival) noexcept {
    const auto& handover = *static_cast<Handover*>(arrival.data);
    handover.from->stack = arrival.fctx;
    return handover.word;
}

// `from` gets the context once that is left.
void* hand_over(Context to, Handover handover) noexcept {
    return arrived(switch_to(to, &handover));
}

void begin(Arrival arrival) {
    const auto entry = static_cast<Handover*>(arrival.data)->entry;
    entry(arrived(arrival));
}

}  // namespace

JumpPoint make_jump_point(void* top, std::size_t size, void (*entry)(void*)) noexcept {
    return JumpPoint{make_context(top, size, &begin), reinterpret_cast<void*>(entry), nullptr};
}

void* jump(JumpPoint& from, const JumpPoint& to, void* word) {
    return hand_over(to.stack, {&from, word, reinterpret_cast<void (*)(void*)>(to.code)});
}

#endif

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
