// FiberExtras: what few fibers have, and so lies outside their control blocks.
// Layer: sched. Uses: std.
//
// Made at the spawn or when first needed, by any thread; freed with the block.
#pragma once

#include <memory>

namespace weft::detail {

struct FiberExtras {
    // --- fixed from the spawn to the end ---
    std::unique_ptr<char[]> name;  // null-terminated; null: it has none
};

}  // namespace weft::detail
