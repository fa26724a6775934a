// What the table says as C++: a hook's declaration, and the function it stands in for.
// Layer: hooks. Uses: libc.
//
// WEFT_ORIGINAL(read)(fd, data, size) calls libc's read (or that of whoever is behind us:
// a sanitizer's). All are looked up as the library is loaded; what is called before that,
// by the constructor of a library that came first, looks itself up, for dlsym() calls
// nothing that is hooked. After that no hook calls dlsym().
#pragma once

#include "hooks/table.hpp"

#include <weft/detail/export.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

// Everywhere but in the definitions, so that they are checked against the table.
#define WEFT_DECLARE_HOOK(category, result, name, parameters) \
    extern "C" WEFT_API result hook_##name parameters asm(#name);
WEFT_HOOKS(WEFT_DECLARE_HOOK)
#undef WEFT_DECLARE_HOOK

namespace weft::hooks::detail {

// With a prefix, for libc's names may be macros.
#define WEFT_NAME_SYMBOL(category, result, name, parameters) s_##name,
enum class Symbol : std::uint16_t { WEFT_HOOKS(WEFT_NAME_SYMBOL) count };
#undef WEFT_NAME_SYMBOL

inline constexpr std::size_t symbol_count = static_cast<std::size_t>(Symbol::count);

/// One row of the table.
struct Row {
    const char* name;
    Category category;
    void* hook;
    // Of an older and a newer function of that name, the newer; null: there is one.
    const char* version;
};
const Row& row_of(Symbol symbol) noexcept;

/// Counts of calls that came from fibers. Momentary; an increment may be lost.
struct Tally {
    std::atomic<std::uint64_t> taken{0};   // weft did it
    std::atomic<std::uint64_t> passed{0};  // libc did it, as it would outside a fiber
};
/// One for each of the first workers, which so do not share cache lines.
struct alignas(64) Tallies {
    std::array<Tally, symbol_count> of;
};
inline constexpr std::size_t tally_shards = 8;
inline constinit std::array<Tallies, tally_shards> tallies;

inline void count_in(std::atomic<std::uint64_t>& tally) noexcept {
    tally.store(tally.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

/// The function that a hook stands in for.
void* original_of(Symbol symbol) noexcept;

/// Looks all originals up. Idempotent.
void resolve_originals() noexcept;

template <Symbol symbol>
struct Original;

template <Symbol symbol, class Result, class... Args>
Result resolve_and_call(Args... args) {
    resolve_originals();
    return Original<symbol>::function(args...);
}

template <Symbol symbol, class Function>
struct Unresolved;
template <Symbol symbol, class Result, class... Args>
struct Unresolved<symbol, Result(Args...)> {
    static constexpr Result (*function)(Args...) = &resolve_and_call<symbol, Result, Args...>;
};

/// Nobody can hand on what it was called with, so the hook calls another function.
template <Symbol symbol, class Result, class... Args>
struct Unresolved<symbol, Result(Args..., ...)> {
    static constexpr Result (*function)(Args..., ...) = nullptr;
};

#define WEFT_DECLARE_ORIGINAL(category, result, name, parameters) \
    template <>                                                   \
    struct Original<Symbol::s_##name> {                           \
        using Function = result parameters;                       \
        static constexpr Category in = category;                  \
        static inline constinit Function* function =              \
            Unresolved<Symbol::s_##name, Function>::function;     \
    };
WEFT_HOOKS(WEFT_DECLARE_ORIGINAL)
#undef WEFT_DECLARE_ORIGINAL

}  // namespace weft::hooks::detail

/// The hook of another name of libc's for `of`, in the file that has the hook of that.
#define WEFT_OTHER_NAME(result, name, parameters, of) \
    [[gnu::alias(#of)]] result hook_##name parameters

/// WEFT_ORIGINAL(read)(fd, data, size)
#define WEFT_ORIGINAL(name) \
    ::weft::hooks::detail::Original<::weft::hooks::detail::Symbol::s_##name>::function
