// Layer: hooks. Uses: libc.
#include "hooks/original.hpp"

#include <dlfcn.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace weft::hooks::detail {

namespace {

// glibc keeps condition variables of 2.2.5 beside those everybody uses, and an
// unversioned look-up finds the old ones.
constexpr const char* version_of(const char* name) noexcept {
    const std::string_view text{name};
    return text.starts_with("pthread_cond_") && text != "pthread_cond_clockwait" ? "GLIBC_2.3.2"
                                                                                 : nullptr;
}

#define WEFT_MAKE_ROW(category, result, name, parameters) \
    Row{#name, category, reinterpret_cast<void*>(&hook_##name), version_of(#name)},
const std::array<Row, symbol_count> rows{{WEFT_HOOKS(WEFT_MAKE_ROW)}};
#undef WEFT_MAKE_ROW

// What glibc has for programs of former times alone, __res_query() and its like, an
// unversioned look-up passes over.
#if defined(__x86_64__)
constexpr const char* first_version = "GLIBC_2.2.5";
#else
constexpr const char* first_version = "GLIBC_2.17";
#endif

void* find_next(const char* name, const char* version) noexcept {
    void* found = version != nullptr ? ::dlvsym(RTLD_NEXT, name, version) : nullptr;
    if (found == nullptr) found = ::dlsym(RTLD_NEXT, name);
    return found != nullptr ? found : ::dlvsym(RTLD_NEXT, name, first_version);
}

/// In the place of a function that this libc does not have, which may be called all the same: who
/// asks dlsym() for it finds the hook.
template <class Function>
struct Lacking;
template <class Result, class... Args>
struct Lacking<Result(Args...)> {
    static Result function(Args...) {
        errno = ENOSYS;
        if constexpr (std::is_integral_v<Result>) return static_cast<Result>(-1);
        if constexpr (std::is_pointer_v<Result>) return nullptr;
    }
};
/// Their hooks call others.
template <class Result, class... Args>
struct Lacking<Result(Args..., ...)> {
    static constexpr Result (*function)(Args..., ...) = nullptr;
};

template <Symbol symbol>
void resolve(void* found) noexcept {
    if (found == nullptr) {
        Original<symbol>::function = Lacking<typename Original<symbol>::Function>::function;
        return;
    }
    std::memcpy(&Original<symbol>::function, &found, sizeof found);
}

}  // namespace

const Row& row_of(Symbol symbol) noexcept { return rows[static_cast<std::size_t>(symbol)]; }

#define WEFT_FIND_ORIGINAL(category, result, name, parameters) \
    case Symbol::s_##name: return reinterpret_cast<void*>(WEFT_ORIGINAL(name));
void* original_of(Symbol symbol) noexcept {
    switch (symbol) {
        WEFT_HOOKS(WEFT_FIND_ORIGINAL)
        case Symbol::count: break;
    }
    return nullptr;
}
#undef WEFT_FIND_ORIGINAL

#define WEFT_RESOLVE(category, result, name, parameters) \
    resolve<Symbol::s_##name>(find_next(#name, version_of(#name)));
void resolve_originals() noexcept { WEFT_HOOKS(WEFT_RESOLVE) }
#undef WEFT_RESOLVE

}  // namespace weft::hooks::detail
