// prepare(): a Request as a submission entry. Layer: io. Uses: base.
#pragma once

struct io_uring_sqe;

namespace weft::detail {

struct Request;

/// Requires: `entry` is zeroed. Leaves its user_data and flags alone.
void prepare(io_uring_sqe& entry, const Request& request) noexcept;

}  // namespace weft::detail
