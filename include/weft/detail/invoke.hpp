#pragma once

#include <type_traits>
#include <utility>

namespace weft::detail {

/// Keeps the call before it from being the caller's last deed, a jump: what the user's code
/// calls is to return into user's code. By that the hooks know who calls.
[[gnu::always_inline]] inline void come_back_here() noexcept { asm volatile(""); }

/// std::invoke without <functional>: calls a callable, or a member of its first argument.
template <class F, class... Args>
decltype(auto) invoke(F&& f, Args&&... args) {
    return std::forward<F>(f)(std::forward<Args>(args)...);
}

template <class M, class C, class Object, class... Args>
requires(!std::is_pointer_v<std::remove_cvref_t<Object>>) decltype(auto)
    invoke(M C::*member, Object&& object, Args&&... args) {
    if constexpr (std::is_member_function_pointer_v<M C::*>) {
        return (std::forward<Object>(object).*member)(std::forward<Args>(args)...);
    } else {
        return std::forward<Object>(object).*member;
    }
}

template <class M, class C, class Object, class... Args>
decltype(auto) invoke(M C::*member, Object* object, Args&&... args) {
    return detail::invoke(member, *object, std::forward<Args>(args)...);
}

}  // namespace weft::detail
