// Layer: hooks.
#pragma once

#include <string_view>

namespace weft::hooks::detail {

/// Patches the categories of a list: "socket,time", or "all". Others are ignored.
void patch_named(std::string_view list) noexcept;

}  // namespace weft::hooks::detail
