#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/file.hpp>
#include <weft/io/pipe.hpp>
#include <weft/io/stream_socket.hpp>

#include <cstddef>
#include <cstdint>

/// Moves bytes to or out of a pipe without copying them through memory (splice(2)). So what
/// one stream brings goes to another by way of a pipe; see there for what that saves.
///
/// Blocks: until something is there and there is room for it. Cancellation point; what was
/// moved when the deadline or a cancellation came wins over it.
/// Returns how much was moved: at least one byte, at most `length`; 0 at the end, or for a
/// `length` of 0.
/// Throws std::system_error: timed_out, broken_pipe, connection_reset, bad_file_descriptor;
/// operation_not_supported for a stream that was taken over and blocks (no O_NONBLOCK).
/// Nothing was moved then. SIGPIPE is never raised. That the end which is not waited for was
/// closed is told when the other one is ready.
/// Thread safety: as the two ends'.
namespace weft::io {

WEFT_API std::size_t splice(StreamSocket& from, PipeWriter& to, std::size_t length,
                            Deadline deadline = Deadline::never());
WEFT_API std::size_t splice(PipeReader& from, StreamSocket& to, std::size_t length,
                            Deadline deadline = Deadline::never());
WEFT_API std::size_t splice(PipeReader& from, PipeWriter& to, std::size_t length,
                            Deadline deadline = Deadline::never());

/// Out of a file, from `offset` on; its position stays. By a thread, which waits for the disk.
WEFT_API std::size_t splice(File& from, std::uint64_t offset, PipeWriter& to, std::size_t length,
                            Deadline deadline = Deadline::never());
/// Into a file, at its position, which moves. By a thread. Throws std::system_error, too:
/// no_space_on_device, ...; invalid_argument for a file opened with append.
WEFT_API std::size_t splice(PipeReader& from, File& to, std::size_t length,
                            Deadline deadline = Deadline::never());

}  // namespace weft::io
