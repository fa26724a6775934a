// Mutexes of libc's in fibers. Layer: hooks. Uses: park.
//
// A normal mutex is its word alone: a fiber locks it as a thread does, by trying, and
// parks where that fails. Recursive and error-checking ones know their owner, by the
// thread's id, which fibers share. Those a fiber locks itself: it takes glibc's word, and
// puts into the owner's place a number that is no thread's, and its own id into a field
// that glibc uses for robust mutexes alone. So to threads it is locked by another one, and
// to fibers by this one. glibc has had this layout, which static initialisers have in them,
// since these kinds exist.
//
// Robust, priority-inheriting and -protecting mutexes and those shared by processes are
// left to libc: the kernel knows their owner, or nobody here does.
#pragma once

#include "hooks/moment.hpp"
#include "hooks/parking.hpp"

#include <cstdint>

#include <pthread.h>

namespace weft::hooks::detail {

enum class MutexKind : std::uint8_t { normal, recursive, checking, libcs };
MutexKind kind_of(const pthread_mutex_t& mutex) noexcept;

/// Whether the fiber locked this recursive or error-checking mutex.
bool owns(const FiberCore& fiber, const pthread_mutex_t& mutex) noexcept;

// All of these return what libc would. Requires: the mutex is not libc's.
int lock(FiberCore& fiber, pthread_mutex_t& mutex, const Until& until) noexcept;
int try_lock(FiberCore& fiber, pthread_mutex_t& mutex) noexcept;

/// Of what libc locked: notes that the fiber holds it. Returns `error`.
int held_if(int error, FiberCore& fiber) noexcept;

/// Also of what libc locked, and of all kinds; null: not from a fiber.
int unlock(FiberCore* fiber, pthread_mutex_t& mutex) noexcept;

}  // namespace weft::hooks::detail
