// How often memory is asked for. To be included by one source file of a program,
// whose operator new it replaces; not under sanitizers, which need their own.
#pragma once

#include "support/process.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace weft::test {

inline std::atomic<long> allocations{0};

/// How many there are while `body` runs, on all threads; 0 under a sanitizer.
template <class Body>
long allocations_in(Body&& body) {
    const long before = allocations;
    body();
    return allocations - before;
}

}  // namespace weft::test

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

[[gnu::noinline]] void* operator new(std::size_t size) {
    ++weft::test::allocations;
    if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc{};
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t align) {
    ++weft::test::allocations;
    const auto to = static_cast<std::size_t>(align);
    if (void* const memory = std::aligned_alloc(to, (size + to - 1) / to * to)) return memory;
    throw std::bad_alloc{};
}
// GCC takes what it inlines here for a mismatch with operator new.
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

#endif
