// Probe: whether io_uring works here, and what of it. Layer: io. Uses: base.
//
// By trying, never by kernel version: containers forbid io_uring at set-up or
// only at the first enter, distributions move features between versions.
#pragma once

#include <cstdint>
#include <string>

namespace weft::detail {

struct UringSupport {
    std::string refusal;              // why io_uring cannot be used; empty: it can
    bool message_ring = false;        // wake-ups by REGISTER_SEND_MSG_RING
    bool absolute_timeout = false;    // waits until a moment, not for a time
    bool no_iowait = false;           // waits that do not count as waiting for a disk
    bool accept_polls_first = false;  // an accept may be told that nobody is there yet
    bool dear_system_calls = false;   // as under some hypervisors: five times what others cost
    std::uint64_t operations = 0;     // a bit for each IORING_OP_* there is, of the first 64

    explicit operator bool() const noexcept { return refusal.empty(); }
};

/// Tries it out: a ring, a NOP round trip, the operations weft needs.
UringSupport probe_uring();

/// probe_uring(), once per process.
const UringSupport& uring_support();

}  // namespace weft::detail
