// What statx(2) says, as a FileStatus. Layer: os. Uses: Linux.
#pragma once

#include <weft/io/file_status.hpp>

#include <sys/stat.h>

namespace weft::io::detail {

/// What to_status() wants to know.
inline constexpr unsigned status_mask = STATX_BASIC_STATS | STATX_BTIME | STATX_DIOALIGN;

FileStatus to_status(const struct statx& from) noexcept;

/// From the S_IFMT bits of a mode.
FileType to_type(unsigned mode) noexcept;

}  // namespace weft::io::detail
