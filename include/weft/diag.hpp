#pragma once

#include <weft/detail/export.hpp>

namespace weft {

/// Writes every live fiber of every runtime to `fd`: id, name, state, what it
/// waits for, and the stack of those that wait.
///
/// Never blocks on a fiber; a fiber that waits is held in its wait while its
/// stack is read. Any thread, at any time, also while workers are stuck; not
/// from a signal handler.
WEFT_API void dump_fibers(int fd) noexcept;

}  // namespace weft
