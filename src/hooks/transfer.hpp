// Reads and writes of descriptors that may be anything. Layer: hooks. Uses: io.
//
// All say >= 0, or -errno. Requires: a fiber.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>

namespace weft::hooks::detail {

inline constexpr off_t here = -1;  // where the file stands

long read_any(int fd, void* data, std::size_t size) noexcept;
long write_any(int fd, const void* data, std::size_t size) noexcept;

/// At an offset, which sockets do not have.
long read_at(int fd, void* data, std::size_t size, off_t offset) noexcept;
long write_at(int fd, const void* data, std::size_t size, off_t offset) noexcept;

/// `offset` may be `here`; `flags`: RWF_*.
long read_pieces(int fd, const iovec* pieces, int count, off_t offset, int flags) noexcept;
long write_pieces(int fd, const iovec* pieces, int count, off_t offset, int flags) noexcept;

}  // namespace weft::hooks::detail
