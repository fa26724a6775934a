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
// Mutexes that processes share are locked in the same ways, but waited for by a thread: see
// turn.hpp. Into what tells fibers apart goes the process then, too.
//
// Robust and priority-inheriting ones have the id of the thread that locked them in their word,
// for the kernel, so libc's function has to lock them on the fiber's worker, where the fiber stays.
// What other fibers of that worker are kept out by is a mark in fields that glibc uses for other
// kinds. They are waited for by a thread, too; of a robust one it may not take a turn, for it would
// be the owner's heir, so it sleeps on the word as libc's waiters do. A robust mutex is abandoned
// when the worker's thread dies, which is with its runtime or the process: not when a fiber ends
// that holds it.
//
// Left to libc, where the worker waits: priority-protecting mutexes, for they change a thread's
// priority, and those that are robust and priority-inheriting at once.
#pragma once

#include "hooks/moment.hpp"
#include "hooks/parking.hpp"

#include <cstdint>

#include <pthread.h>

namespace weft::hooks::detail {

enum class MutexKind : std::uint8_t { normal, recursive, checking, by_thread, libcs };
MutexKind kind_of(const pthread_mutex_t& mutex) noexcept;

bool is_shared(const pthread_mutex_t& mutex) noexcept;

/// Whether the fiber locked this mutex, which knows its owner: it is not a normal one.
bool owns(const FiberCore& fiber, const pthread_mutex_t& mutex) noexcept;

// All of these return what libc would. Requires: the mutex is not libc's.
int lock(FiberCore& fiber, pthread_mutex_t& mutex, const Until& until) noexcept;
int try_lock(FiberCore& fiber, pthread_mutex_t& mutex) noexcept;

/// Of one that knows its owner and that the fiber has: the calling thread's, for libc to unlock
/// and to lock again; and the fiber's again.
void lend_to_thread(pthread_mutex_t& mutex) noexcept;
void take_back(const FiberCore& fiber, pthread_mutex_t& mutex) noexcept;

/// Of what libc locked: notes that the fiber holds it. Returns `error`.
int held_if(int error, FiberCore& fiber) noexcept;

/// Also of what libc locked, and of all kinds; null: not from a fiber.
int unlock(FiberCore* fiber, pthread_mutex_t& mutex) noexcept;

}  // namespace weft::hooks::detail
