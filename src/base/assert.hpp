// Assertions: what must hold, checked where it must hold.
// Layer: base. Uses: nothing.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace weft::detail {

[[noreturn, gnu::cold, gnu::noinline]] inline void assert_failed(const char* what, const char* file,
                                                                 int line) noexcept {
    std::fprintf(stderr, "weft: %s:%d: broken invariant: %s\n", file, line, what);
    std::abort();
}

}  // namespace weft::detail

// On in every build: a broken invariant in a scheduler is never worth continuing.
#define WEFT_ASSERT(cond)                   \
    (__builtin_expect(!!(cond), 1) ? void() \
                                   : ::weft::detail::assert_failed(#cond, __FILE__, __LINE__))
