// What closing a descriptor waits for. Layer: io. Uses: Linux.
#pragma once

#include <weft/detail/export.hpp>

namespace weft::detail {

/// Whether closing a file's last descriptor is more than a moment's work: a server of it is told,
/// or what was in it is given back. False for what is no file.
WEFT_API bool close_waits_for_file(int fd) noexcept;

}  // namespace weft::detail
