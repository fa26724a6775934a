#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>

namespace weft::io {

/// Waits until reading from `fd` would not wait: for data, the end, an error, a
/// connection to accept. For whatever poll(2) knows: an eventfd, a signalfd, a
/// timerfd, inotify, a socket of another library. Regular files are always ready.
///
/// Another who reads from it may be faster: read it without waiting (O_NONBLOCK).
///
/// Blocks: until it is ready. Cancellation point. Any thread or fiber.
/// Returns false if `deadline` passes first. Throws std::system_error:
/// bad_file_descriptor when there is no such descriptor.
/// Lifetime: the caller keeps `fd` open until the call returns. Closing it does not end the
/// wait, though one by the hooks may, and so may what takes its number.
[[nodiscard]] WEFT_API bool wait_readable(int fd, Deadline deadline = Deadline::never());

/// The same, until writing to it would not wait, or would fail.
[[nodiscard]] WEFT_API bool wait_writable(int fd, Deadline deadline = Deadline::never());

}  // namespace weft::io
