// What cannot be taken in this process, and why. Layer: hooks. Uses: libc.
#pragma once

#include "hooks/original.hpp"

#include <string>

namespace weft::hooks::detail {

/// Whether the program's calls of that name come to the hook: nothing loaded before us has
/// the symbol.
bool is_interposed(const Row& row) noexcept;

/// Lines for hooks::report(). Throws std::bad_alloc.
std::string describe_obstacles();

}  // namespace weft::hooks::detail
