// Use: one call's right to a Descriptor. Layer: io. Uses: base, park.
//
// Closing a descriptor that others use is three things: end what they have in
// flight, keep them from beginning more, and keep the number from being given
// to another file while they may still name it. Rejected: shutdown(2), which
// also ends the socket in other processes; asking every worker to cancel by
// number, which cannot keep a writer between two sends off the next file.
//
// Invariants
//  1. fd_ stays open while anything is in seats_ or on uses_.
//  2. A Use names its operation from before the submission until its owner saw the
//     completion. Whoever closes cancels all that are named. One that it misses, or
//     that is not with its driver yet (for whom a cancel() is nothing then), was
//     named or submitted after closing_ was set: so its owner, who looks at
//     closing() after submit(), cancels it.
//  3. Once closing_ is set only the closer is on users_.
//  4. A seat that the closer has marked is left under the lock, and its leaver wakes the
//     closer. So a Use whose seat is marked is alive while the lock is held, and the closer
//     that finds a seat taken marks it before it waits.
//
// Taking a seat is one compare-exchange, and leaving it another: the lock and the list are
//  for who comes while all are taken. Dekker's protocol with the closer: a user
//  takes the seat and looks at closing_, a closer sets closing_ and looks at the seats, all
//  of it seq_cst. Who sees closing_ set gets up again at once. (Rejected: to leave by
//  a store, and to look at closing_ after it. By then the closer may have seen an empty
//  seat and destroyed the descriptor.)
//
// Naming an operation and taking its name back cost no lock: Dekker's protocol, with
//  the cost on the closer. It sets closing_, fences, and looks at the names, and whether their
//  drivers have them; a user writes its name, submits, fences lightly, and looks at closing_.
//
// Locking: users_.lock() before a driver's lock. A closer holds it while it asks
//  drivers to cancel; not while it waits. An owner that takes a name back and finds
//  closing_ set goes once through it: then the closer has let go of the operation.
// Lifetime: after the last leave() with closing_ set the closer may destroy the
//  descriptor; the leaver's exchange of its seat, or its unlock, is the last thing that
//  touches it.
#pragma once

#include "base/sync.hpp"
#include "park/park.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/descriptor.hpp>

#include <atomic>
#include <cstdint>
#include <utility>

namespace weft::detail {

class Operation;

class Use {
public:
    explicit Use(Descriptor& descriptor) noexcept : descriptor_{descriptor} {
        if (take_seat()) {
            if (!descriptor.closing_.load(std::memory_order_seq_cst)) {
                fd_ = descriptor.get();
                return;
            }
            get_up();
        }
        join_the_others();
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() { seat_ != nullptr ? get_up() : leave_the_others(); }

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
    void begin(Operation& operation) noexcept {
        operation_.store(&operation, std::memory_order_release);
        StdSync::light_fence();  // pairs with Descriptor::close()
    }
    /// The same, once it is submitted: whether its owner has to end it.
    bool closing_since_begin() const noexcept {
        StdSync::light_fence();  // pairs with Descriptor::close(), as what submit() wrote
        return closing();
    }
    /// The same, when it is over.
    void end() noexcept {
        operation_.store(nullptr, std::memory_order_release);
        StdSync::light_fence();  // pairs with Descriptor::close()
        if (closing()) [[unlikely]]
            let_the_closer_pass();
    }

private:
    friend class Descriptor;

    static constexpr std::uintptr_t seat_is_marked = 1;

    std::uintptr_t self() const noexcept { return reinterpret_cast<std::uintptr_t>(this); }

    bool take_seat() noexcept {
        for (auto& seat : descriptor_.seats_) {
            std::uintptr_t taken_by = seat.load(std::memory_order_relaxed);
            if (taken_by == 0 &&
                seat.compare_exchange_strong(taken_by, self(), std::memory_order_seq_cst,
                                             std::memory_order_relaxed)) {
                seat_ = &seat;
                return true;
            }
        }
        return false;
    }

    void get_up() noexcept {
        std::uintptr_t unmarked = self();
        std::atomic<std::uintptr_t>* const seat = std::exchange(seat_, nullptr);
        const bool left = seat->compare_exchange_strong(unmarked, 0, std::memory_order_release,
                                                        std::memory_order_relaxed);
        if (!left) [[unlikely]]
            leave_marked(*seat);
    }

    [[gnu::cold]] void leave_marked(std::atomic<std::uintptr_t>& seat) noexcept;
    [[gnu::cold]] void join_the_others() noexcept;
    [[gnu::cold]] void leave_the_others() noexcept;
    [[gnu::cold]] void let_the_closer_pass() noexcept;

    Descriptor& descriptor_;
    int fd_ = -1;
    std::atomic<Operation*> operation_{nullptr};   // written by the owner
    std::atomic<std::uintptr_t>* seat_ = nullptr;  // null: in the list, or nowhere
    Use* next_ = nullptr;                          // these two: guarded by the descriptor's lock
    Use* prev_ = nullptr;
};

}  // namespace weft::detail
