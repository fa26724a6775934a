// Completion: something that happens once, and the one party that waits for it.
// Layer: park. Uses: base, sched.
//
// A wait queue without a queue and without a lock, for what has one waiter by
// nature: an I/O operation and its owner. park.hpp's rules hold; here happen() is
// the notifier.
//
// States of state_: nobody -> waiting (the epoch of the owner's wait) -> ... -> over
//   expect (owner)   nobody -> waiting, before anybody can make it happen: a store
//   publish (owner)  nobody or waiting -> waiting; fails once it is over
//   withdraw (owner) waiting -> nobody; fails once it is over
//   happen()         any -> over; ends the wait that was published, if one was
//   conclude()       the same the other way round: with the wait claimed, the owner cannot
//                    return, and a store makes it over. So the common case has no
//                    read-modify-write but the claim's.
//
// Invariants
//  1. happen() touches nothing of *this once state_ is over, nor conclude() once it is over or
//     the wait is resumed: from then on the owner may return. Parties are never destroyed,
//     unless one withdrew, and a claim of an epoch that is over does nothing.
//  2. party_ is the owner's whenever state_ is `waiting`.
//
// Ordering: what was written before happen() is seen once happened() or wait() say
//  that it has happened.
#pragma once

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "park/park.hpp"
#include "sched/party.hpp"

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>

#include <atomic>
#include <cstdint>
#include <span>

namespace weft::detail {

class WEFT_API Completion {
public:
    /// The owner, while nobody can make it happen: it has not happened.
    void reset() noexcept { state_.store(nobody, std::memory_order_relaxed); }

    /// Any thread, once. *this may be gone when it returns.
    void happen() noexcept;

    /// The same for an owner that never withdraws. The caller must make_ready() whom it returns,
    /// if anybody.
    [[nodiscard]] Party* conclude() noexcept;

    /// The owner, after reset(), while nobody can make it happen: it is awaited by `ticket`, which
    /// is armed. To be followed by suspend() of that.
    void expect(const Ticket& ticket) noexcept;

    bool happened() const noexcept;

    /// The owner. Suspends the caller until it happens, or `deadline`, or an
    /// interruption if `cancellable`, and tells which. Having waited in vain, the
    /// owner may wait again.
    Wake wait(Deadline deadline, Cancellable cancellable, const Purpose& purpose) noexcept;
    Wake wait(Party& me, const Limit& limit, const Purpose& purpose) noexcept;

    /// The owner of all of them. The same until one of them happens.
    static Wake wait_any(std::span<Completion* const> all, Deadline deadline,
                         Cancellable cancellable, const Purpose& purpose) noexcept;

    /// The owner, having waited in vain and never to wait again: from now on happen() leaves
    /// its party alone, which may go before that. False: it has happened, and whoever makes it
    /// happen may be about to look at the party.
    bool withdraw() noexcept;

private:
    static constexpr std::uint64_t nobody = 0;
    static constexpr std::uint64_t over = ~std::uint64_t{0};

    bool publish(const Ticket& ticket) noexcept;

    std::atomic<Party*> party_{nullptr};  // written by the owner, before state_
    std::atomic<std::uint64_t> state_{nobody};
};

// --- inline: the way of every operation ---

inline void Completion::happen() noexcept {
    tsan_release(this);
    Party* party = nullptr;
    std::uint64_t awaited = state_.load(std::memory_order_acquire);
    do {
        WEFT_ASSERT(awaited != over);
        party = party_.load(std::memory_order_relaxed);
    } while (!state_.compare_exchange_weak(awaited, over, std::memory_order_acq_rel,
                                           std::memory_order_acquire));
    if (awaited != nobody) end_wait(*party, awaited, Wake::notified);
}

inline Party* Completion::conclude() noexcept {
    tsan_release(this);
    std::uint64_t awaited = state_.load(std::memory_order_acquire);
    for (;;) {
        WEFT_ASSERT(awaited != over);
        if (awaited != nobody) {
            Party* const party = party_.load(std::memory_order_relaxed);
            const Claim claim = party->word().claim(awaited, Wake::notified);
            if (claim != Claim::lost) {
                state_.store(over, std::memory_order_release);
                tsan_release(party);
                return party->word().resume(claim) ? party : nullptr;
            }
        }
        // Nobody waits, or something else has ended that wait.
        if (state_.compare_exchange_weak(awaited, over, std::memory_order_acq_rel,
                                         std::memory_order_acquire)) {
            return nullptr;
        }
    }
}

inline void Completion::expect(const Ticket& ticket) noexcept {
    party_.store(ticket.party, std::memory_order_relaxed);
    state_.store(ticket.epoch, std::memory_order_relaxed);
}

inline bool Completion::happened() const noexcept {
    if (state_.load(std::memory_order_acquire) != over) return false;
    tsan_acquire(this);
    return true;
}

inline bool Completion::withdraw() noexcept {
    std::uint64_t awaited = state_.load(std::memory_order_acquire);
    while (awaited != over) {
        if (state_.compare_exchange_weak(awaited, nobody, std::memory_order_acquire)) return true;
    }
    tsan_acquire(this);
    return false;
}

inline bool Completion::publish(const Ticket& ticket) noexcept {
    party_.store(ticket.party, std::memory_order_relaxed);
    // Failing, it is the acquire that pairs with happen().
    std::uint64_t before = state_.load(std::memory_order_acquire);
    while (before != over) {
        if (state_.compare_exchange_weak(before, ticket.epoch, std::memory_order_release,
                                         std::memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

inline Wake Completion::wait(Deadline deadline, Cancellable cancellable,
                             const Purpose& purpose) noexcept {
    Party& me = this_party();
    return wait(me, Limit{me, deadline, cancellable}, purpose);
}

inline Wake Completion::wait(Party& me, const Limit& limit, const Purpose& purpose) noexcept {
    if (happened()) [[unlikely]]
        return Wake::notified;
    if (const auto ended = limit.over()) return *ended;
    me.set_awaits_owner(false);
    const Ticket ticket{&me, me.word().arm(limit.cancellable())};
    // It happened meanwhile: unless a canceller was faster, who will resume us, there
    // is nobody to wait for.
    const bool late = !publish(ticket);
    if (late && me.word().claim(ticket.epoch, Wake::notified) != Claim::lost) {
        tsan_acquire(this);
        return me.word().finish();
    }
    return suspend(ticket, limit, purpose);
}

}  // namespace weft::detail
