#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/file.hpp>
#include <weft/io/stream_socket.hpp>

#include <cstdint>

namespace weft::io {

/// Sends `length` bytes of a file, from `offset` on; fewer if it ends. Its position stays.
/// Takes up to 128 KiB of memory meanwhile. Of a file opened with OpenMode::direct `offset` must
/// be aligned; `length` need not be.
///
/// Blocks: until the kernel took them, and for the disk, but no worker. Cancellation point.
/// Returns how many bytes. Does not wait for the peer to have them.
/// Throws std::system_error as File::pread() and StreamSocket::write_all() do, timed_out when
/// `deadline` passes first; then, and when it was cancelled, some were sent, and nobody can
/// tell how many.
/// Thread safety: as one write to `to` and one pread() of `from`, neither of which may be
/// moved or destroyed meanwhile; closing either ends it with bad_file_descriptor.
WEFT_API std::uint64_t send_file(StreamSocket& to, File& from, std::uint64_t offset,
                                 std::uint64_t length, Deadline deadline = Deadline::never());

}  // namespace weft::io
