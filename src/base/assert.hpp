// Assertions: what must hold, checked where it must hold, and what the program must not
// do to us where nothing can be thrown, as in a destructor.
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

[[noreturn, gnu::cold, gnu::noinline]] inline void misused(const char* sentence) noexcept {
    std::fprintf(stderr, "weft: %s\n", sentence);
    std::abort();
}

}  // namespace weft::detail

// On in every build: a broken invariant in a scheduler is never worth continuing.
#define WEFT_ASSERT(cond)                   \
    (__builtin_expect(!!(cond), 1) ? void() \
                                   : ::weft::detail::assert_failed(#cond, __FILE__, __LINE__))

// The program's mistake, told in a sentence about what it did.
#define WEFT_REQUIRE(cond, sentence) \
    (__builtin_expect(!!(cond), 1) ? void() : ::weft::detail::misused(sentence))
