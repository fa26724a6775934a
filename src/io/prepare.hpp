// prepare(): a Request as a submission entry. Layer: io. Uses: base.
#pragma once

#include "io/operation.hpp"

#include <cstdint>
#include <optional>

struct io_uring_sqe;

namespace weft::detail {

/// The io_uring operation that carries `code` out, if there is one.
std::optional<std::uint8_t> opcode_of(Request::Code code) noexcept;

/// Requires: there is an opcode for it; `entry` is zeroed. Leaves its user_data and flags alone.
/// `accept_flags`: IORING_ACCEPT_*, for those that accept.
void prepare(io_uring_sqe& entry, const Request& request, std::uint16_t accept_flags) noexcept;

}  // namespace weft::detail
