// What the start of the library does for the hooks on processes. Layer: hooks.
#pragma once

namespace weft::hooks::detail {

/// Once, before anybody changed it.
void note_mask_of_program() noexcept;

}  // namespace weft::hooks::detail
