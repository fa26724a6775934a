#pragma once

#include <weft/detail/export.hpp>
#include <weft/semaphore.hpp>

#include <cstddef>

namespace weft {

/// A Semaphore that never has more units than it began with, so that a release
/// too many is found. (Python's threading.BoundedSemaphore.)
///
/// Otherwise as Semaphore, whose release() here throws std::logic_error instead
/// of exceeding the bound; then nothing changed.
class WEFT_API BoundedSemaphore : public Semaphore {
public:
    /// Throws std::invalid_argument when `units` is negative.
    explicit BoundedSemaphore(std::ptrdiff_t units) : Semaphore{units, units} {}
};

}  // namespace weft
