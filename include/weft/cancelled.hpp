#pragma once

#include <weft/detail/export.hpp>

namespace weft {

/// Thrown out of a cancellation point of a fiber that was cancelled.
///
/// Deliberately not a std::exception, so that `catch (const std::exception&)`
/// in the fiber's own code does not swallow it. Swallowed all the same, it
/// comes back at the next cancellation point outside a Shield.
struct WEFT_API Cancelled {};  // exported: caught across the library boundary

}  // namespace weft
