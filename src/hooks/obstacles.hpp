// What cannot be taken in this process, and why. Layer: hooks. Uses: libc.
#pragma once

#include "hooks/original.hpp"

#include <cstddef>
#include <string>

namespace weft::hooks::detail {

/// Whether the program's calls of that name come to the hook: nothing loaded before us has
/// the symbol.
bool is_interposed(const Row& row) noexcept;

/// Bytes of thread-local variables (__thread) that the program and those of its libraries have
/// which do not belong to libc or the compiler: what fibers of one worker share.
std::size_t thread_local_bytes() noexcept;

/// Lines for hooks::report(). Throws std::bad_alloc.
std::string describe_obstacles();

}  // namespace weft::hooks::detail
