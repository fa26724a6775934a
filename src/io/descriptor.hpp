// Use: one call's right to a Descriptor. Layer: io. Uses: base, park.
//
// Closing a descriptor that others use is three things: end what they have in
// flight, keep them from beginning more, and keep the number from being given
// to another file while they may still name it. Rejected: shutdown(2), which
// also ends the socket in other processes; asking every worker to cancel by
// number, which cannot keep a writer between two sends off the next file.
//
// Invariants
//  1. fd_ stays open while uses_ > 0.
//  2. An operation is on in_flight_ from just after its submission until its
//     owner saw its completion; whoever closes cancels all that are there, and
//     who comes after that finds closing_ set and cancels its own.
//  3. Once closing_ is set only the closer is on users_.
//
// Locking: users_.lock() before a driver's lock. A closer holds it while it asks
//  drivers to cancel; not while it waits.
// Lifetime: after the last leave() with closing_ set the closer may destroy the
//  descriptor; the leaver's unlock is the last thing that touches it.
#pragma once

#include "park/park.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/descriptor.hpp>

namespace weft::detail {

class Operation;

class Use {
public:
    explicit Use(Descriptor& descriptor) noexcept;
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();

    /// -1 when the descriptor was closed before, or is being closed: also in
    /// the middle of a use, which then should end with EBADF.
    int fd() const noexcept {
        return descriptor_.closing_.load(std::memory_order_acquire) ? -1 : fd_;
    }

    /// Waits for nothing but the deadline. False when the descriptor is being
    /// closed. Cancellation point.
    bool sleep(Deadline deadline, const char* reason);

    /// The owner of a submitted operation: from now on a close() ends it.
    void begin(Operation& operation) noexcept;
    /// The same, when it is over.
    void end(Operation& operation) noexcept;

    static Operation* next_of(const Operation& operation) noexcept;

private:
    Descriptor& descriptor_;
    int fd_ = -1;
};

}  // namespace weft::detail
