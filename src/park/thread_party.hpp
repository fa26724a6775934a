// ThreadParty: a plain thread that waits. Layer: park. Uses: base, sched.
#pragma once

#include "base/random.hpp"
#include "sched/fiber_core.hpp"

#include <weft/deadline.hpp>

#include <atomic>
#include <cstdint>

namespace weft::detail {

/// It sleeps on a futex, with a time limit of its own.
///
/// Lifetime: for ever. The party of a thread that has ended is given to a later
/// one, its epochs go on: who came by it through a lock may look at it late.
class ThreadParty final : public Party {
public:
    ThreadParty() noexcept : Party{Kind::thread} {}

    /// The calling thread's own, until it ends.
    static ThreadParty& of_this_thread() noexcept;

    /// Of its wait, and on its stack: for itself and who froze it there.
    const Purpose* purpose = nullptr;
    /// Its own.
    Random random{reinterpret_cast<std::uintptr_t>(this)};
    /// What it runs on, if that is not its own stack. Own thread only.
    SideStack* side = nullptr;

    void make_ready() noexcept;
    void suspend(Ticket ticket, Deadline deadline) noexcept;

private:
    friend class ThreadParties;

    std::atomic<std::uint32_t> ready_{0};  // futex
    ThreadParty* next_free_ = nullptr;     // guarded by ThreadParties
};

/// Of either kind: what the wait it is frozen in is for.
inline const Purpose*& purpose_of(Party& party) noexcept {
    if (party.kind() == Party::Kind::thread) return static_cast<ThreadParty&>(party).purpose;
    return static_cast<FiberCore&>(party).purpose;
}

/// Own party only.
inline SideStack*& side_of(Party& party) noexcept {
    if (party.kind() == Party::Kind::thread) return static_cast<ThreadParty&>(party).side;
    return static_cast<FiberCore&>(party).side;
}

}  // namespace weft::detail
