// Use: one call's right to a Descriptor. Layer: io. Uses: base, park.
//
// Closing a descriptor that others use is three things: end what they have in
// flight, keep them from beginning more, and keep the number from being given
// to another file while they may still name it. Rejected: shutdown(2), which
// also ends the socket in other processes; asking every worker to cancel by
// number, which cannot keep a writer between two sends off the next file.
//
// Invariants
//  1. fd_ stays open while anything is on uses_.
//  2. A Use names its operation from before the submission until its owner saw the
//     completion. Whoever closes cancels all that are named. One that it misses, or
//     that is not with its driver yet (for whom a cancel() is nothing then), was
//     named or submitted after closing_ was set: so its owner, who looks at
//     closing() after submit(), cancels it.
//  3. Once closing_ is set only the closer is on users_.
//
// Naming an operation and taking its name back cost no lock: Dekker's protocol, with
//  the cost on the closer. It sets closing_, fences, and looks at the names; a
//  user writes its name, fences lightly, and looks at closing_.
//
// Locking: users_.lock() before a driver's lock. A closer holds it while it asks
//  drivers to cancel; not while it waits. An owner that takes a name back and finds
//  closing_ set goes once through it: then the closer has let go of the operation.
// Lifetime: after the last leave() with closing_ set the closer may destroy the
//  descriptor; the leaver's unlock is the last thing that touches it.
#pragma once

#include "park/park.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/descriptor.hpp>

#include <atomic>
#include <cstdint>

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
    int fd() const noexcept { return closing() ? -1 : fd_; }

    bool closing() const noexcept { return descriptor_.closing_.load(std::memory_order_acquire); }

    /// Any thread. Tells what is open here from what had the number before: never 0.
    std::uint64_t serial() const noexcept;

    /// Waits for nothing but the deadline. False when the descriptor is being
    /// closed. Cancellation point.
    bool sleep(Deadline deadline, const char* reason);

    /// The owner of an operation, before it submits it: from now on a close() ends
    /// it, or else closing() says after the submission that the owner has to.
    void begin(Operation& operation) noexcept;
    /// The same, when it is over.
    void end() noexcept;

private:
    friend class Descriptor;

    Descriptor& descriptor_;
    int fd_ = -1;
    std::atomic<Operation*> operation_{nullptr};  // written by the owner
    Use* next_ = nullptr;                         // these two: guarded by the descriptor's lock
    Use* prev_ = nullptr;
};

}  // namespace weft::detail
