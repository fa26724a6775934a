// Whether other processes may have an address. Layer: hooks. Uses: libc.
#pragma once

namespace weft::hooks::detail {

/// Whether `address` lies in memory that is mapped to be shared. False where the kernel does
/// not say so of one address (before Linux 6.11).
bool is_shared_memory(const void* address) noexcept;

}  // namespace weft::hooks::detail
