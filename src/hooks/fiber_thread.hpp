// Threads of an unmodified program as fibers (weft-run --threads). Layer: hooks.
// Uses: runtime.
//
// main() is a fiber of a runtime that is there until the process ends, and so is what
// pthread_create() makes. A pthread_t of such a thread is the address of its FiberThread, which
// begins with a word that no thread of libc's begins with. Threads that were made before
// main(), and weft's own, are libc's.
//
// A child of fork() is a plain program again: its threads are libc's, its main() goes on where
// it stood, and ends the process when it returns.
//
// The thread that was the program's first runs nothing: it waits for main()'s fiber, and takes
// the signals. A handler that ran there interrupts what main() waits for, with EINTR, as it
// would have interrupted main() itself.
#pragma once

#include <weft/fiber.hpp>
#include <weft/runtime.hpp>

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace weft::hooks::detail {

struct FiberThread {
    static constexpr std::uint64_t is_one = 0x7765'6674'6669'6265;

    std::uint64_t mark = is_one;
    void* (*body)(void*) = nullptr;
    void* argument = nullptr;
    std::atomic<void*> result{nullptr};
    Fiber<void> fiber;  // what join() waits for; guarded by nothing: one joins or detaches
    char name[16] = {};
    // Of the thread itself and of its handle: the last one deletes it.
    std::atomic<unsigned> references{2};
};

/// Of pthread_exit(): what leaves the body of a fiber that is a thread.
struct ThreadExit {
    void* result;
};

/// The one that `thread` names, or null: it is libc's.
FiberThread* fiber_thread_of(pthread_t thread) noexcept;

/// Joins it until `deadline`: 0, ETIMEDOUT, or EDEADLK for the caller itself.
int join_fiber_thread(FiberThread& thread, void** result, Deadline deadline) noexcept;

/// From the start of the library: threads become fibers once main() is about to run.
void make_threads_fibers() noexcept;

}  // namespace weft::hooks::detail
