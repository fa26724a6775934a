// FIFOs: opening one is to wait until somebody has its other end open. Layer: os. Uses: io.
//
// io_uring opens them without waiting when their names are in its cache, as does weft where a
// thread makes the call (nothing could end that). So the waiting is done here, the same on
// every driver: then it has a deadline and can be cancelled.
#pragma once

#include "os/call.hpp"

#include <weft/deadline.hpp>

#include <string_view>

namespace weft::io::detail {

/// Carries an openat out. For the writing end of a FIFO it waits until there is a reader.
/// Returns a descriptor, or throws that `path` cannot be opened. Cancellation point.
int open_path(const Request& request, std::string_view path, Deadline deadline);

/// If `reader` is that of a FIFO, waits until there is a writer, or has been one since it was
/// opened. Cancellation point. Throws std::system_error(timed_out) that names the path.
void wait_for_writer(Descriptor& reader, std::string_view path, Deadline deadline);

}  // namespace weft::io::detail
