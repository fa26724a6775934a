// Thread-specific values of pthreads in fibers. Layer: hooks. Uses: task.
#pragma once

namespace weft::hooks::detail {

/// Destroys the calling fiber's values, as they would be at its end.
void end_key_values() noexcept;

}  // namespace weft::hooks::detail
