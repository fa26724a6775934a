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
// The thread that was the program's first runs nothing of it but handlers of signals; see
// thread_signals.hpp.
#pragma once

#include "hooks/thread_exit.hpp"
#include "hooks/thread_signals.hpp"

#include <weft/fiber.hpp>
#include <weft/runtime.hpp>

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace weft::hooks::detail {

struct FiberThread {
    static constexpr std::uint64_t is_one = 0x7765'6674'6669'6265;
    // Of its state, for good, but for is_deaf and a join that is given up.
    static constexpr std::uint8_t has_begun = 1;
    static constexpr std::uint8_t is_cancelled = 2;
    static constexpr std::uint8_t is_detached = 4;
    static constexpr std::uint8_t is_joined = 8;  // or about to be
    static constexpr std::uint8_t is_deaf = 16;   // PTHREAD_CANCEL_DISABLE, or it is left
    static constexpr std::uint8_t is_told = 32;   // its fiber was cancelled

    std::uint64_t mark = is_one;
    void* (*body)(void*) = nullptr;
    int (*c11_body)(void*) = nullptr;  // or that
    void* argument = nullptr;
    std::atomic<void*> result{nullptr};
    Fiber<void> fiber;  // fixed before it runs, so that it is there for a detached one, too
    std::atomic<std::uint8_t> state{0};
    char name[16] = {};
    ThreadFrames frames;
    ThreadSignals signals;
    // Of the thread itself and of its handle: the last one deletes it. main()'s stays.
    std::atomic<unsigned> references{2};
};

/// What pthread_create() was asked for.
struct ThreadWishes {
    void* (*body)(void*) = nullptr;
    int (*c11_body)(void*) = nullptr;
    void* argument = nullptr;
    std::size_t stack_size = 0;  // 0: as usual
    bool detached = false;
    std::optional<Signals> mask;  // none: its maker's
};

/// Where new threads become fibers if the caller makes them; null: they are libc's.
Runtime* runtime_of_new_threads() noexcept;
/// 0, or EAGAIN.
int start_fiber_thread(Runtime& runtime, pthread_t* thread, const ThreadWishes& wishes) noexcept;

/// The calling one, or null: it is a thread of libc's. In a signal's handler the one for which
/// that runs.
FiberThread* this_fiber_thread() noexcept;
/// Leaves the calling thread, or fiber; false: it is none that can be left so.
bool leave_fiber(void* result);

/// The one that `thread` names, or null: it is libc's.
FiberThread* fiber_thread_of(pthread_t thread) noexcept;

/// pthread_cancel(). One that has not begun is cancelled as it begins: a fiber would never run.
void cancel_fiber_thread(FiberThread& thread) noexcept;
/// The calling one: from now on nothing is ended for that, or again.
void stop_to_listen(FiberThread& own) noexcept;
void listen_again(FiberThread& own) noexcept;

/// Takes leave of it: 0, or EINVAL if it is detached. Changes nothing while somebody joins it.
int detach_fiber_thread(FiberThread& thread) noexcept;

/// Of `fiber`, the caller, if it is a thread; else null.
ThreadSignals* signals_of_thread(const FiberCore* fiber) noexcept;
/// With what mask a process begins that the caller makes.
sigset_t mask_of_caller() noexcept;

/// Joins it until `deadline`: 0, ETIMEDOUT, EDEADLK for the caller itself, or EINVAL if it is
/// detached or another joins it. Cancellation point of pthreads.
int join_fiber_thread(FiberThread& thread, void** result, Deadline deadline);

/// From the start of the library: threads become fibers once main() is about to run.
void make_threads_fibers() noexcept;

}  // namespace weft::hooks::detail
