#pragma once

#include <weft/detail/export.hpp>

namespace weft {

/// Thrown out of the yield where the body of a Generator stopped, when that is closed
/// or destroyed: its destructors run. It may be caught, but not to go on yielding.
///
/// Deliberately not a std::exception, as Cancelled.
struct WEFT_API GeneratorExit {};

}  // namespace weft
