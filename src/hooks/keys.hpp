// Thread-specific values of pthreads in fibers. Layer: hooks. Uses: task.
#pragma once

namespace weft::hooks::detail {

/// Destroys the calling fiber's values, as they would be at its end.
void end_key_values() noexcept;

/// In a child of fork(), by its only thread while it is the fiber still: they become that thread's.
void hand_key_values_to_thread() noexcept;

}  // namespace weft::hooks::detail
