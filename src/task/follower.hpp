// Follower: who is told at the end of a fiber or when an outcome is there, beside
// those who park for it: one of several things that somebody waits for at once.
// Layer: task. Uses: park.
//
// Locking: links are guarded by the lock of what is followed, under which also `told`
//  is called; so who was removed under that lock is not told any more. What `told`
//  locks itself comes after it.
// Lifetime: the owner's, until it was told or removed.
#pragma once

#include "park/wake_list.hpp"

#include <utility>

namespace weft::detail {

struct Follower {
    Follower* next = nullptr;
    Follower* prev = nullptr;
    bool follows = false;
    /// Whom it wakes it adds to the list. May end the follower's life.
    void (*told)(Follower&, WakeList&) noexcept = nullptr;
};

// Of a list, which begins at `first`.

inline void add(Follower*& first, Follower& follower) noexcept {
    follower.follows = true;
    follower.prev = nullptr;
    follower.next = first;
    if (first != nullptr) first->prev = &follower;
    first = &follower;
}

/// No-op for one that was told.
inline void remove(Follower*& first, Follower& follower) noexcept {
    if (!std::exchange(follower.follows, false)) return;
    (follower.prev != nullptr ? follower.prev->next : first) = follower.next;
    if (follower.next != nullptr) follower.next->prev = follower.prev;
}

inline void tell_all(Follower*& first, WakeList& woken) noexcept {
    while (first != nullptr) {
        Follower& follower = *first;
        remove(first, follower);
        follower.told(follower, woken);
    }
}

}  // namespace weft::detail
