// Lock order: warns of locks that are taken in both orders, before they deadlock.
// Layer: sync. Uses: base, sched, park.
//
// By option, for the whole process and for good: off, it costs a load and a
// branch that is always predicted. On, every lock and unlock takes one mutex.
//
// Who waits for B while it holds A orders A before B. A lock that is tried, or
// waited for with a deadline, orders nothing, for it blocks nobody for ever. An
// order that leads, with those seen before, back to where it began could
// deadlock, even if it never did: that is written to stderr, once for each pair.
#pragma once

#include <atomic>

namespace weft::detail {

extern std::atomic<bool> lock_order_watched [[gnu::visibility("hidden")]];

inline bool lock_order_is_watched() noexcept {
    return lock_order_watched.load(std::memory_order_relaxed);
}

/// From now on.
void watch_lock_order() noexcept;

namespace lock_order {
enum class Orders : bool { no, yes };
void locked(const void* lock, const char* kind, Orders orders) noexcept;
void unlocked(const void* lock) noexcept;
void destroyed(const void* lock) noexcept;
}  // namespace lock_order

/// The caller has locked it. `kind` is a literal.
inline void note_locked(const void* lock, const char* kind, lock_order::Orders orders) noexcept {
    if (!lock_order_is_watched()) [[likely]]
        return;
    lock_order::locked(lock, kind, orders);
}
/// The caller has unlocked it, or is about to.
inline void note_unlocked(const void* lock) noexcept {
    if (!lock_order_is_watched()) [[likely]]
        return;
    lock_order::unlocked(lock);
}
inline void note_destroyed(const void* lock) noexcept {
    if (!lock_order_is_watched()) [[likely]]
        return;
    lock_order::destroyed(lock);
}

}  // namespace weft::detail
