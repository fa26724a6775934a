// Calls that no operation can do: a thread that may sleep makes them. Layer: hooks.
// Uses: park, task.
//
// Those that end by themselves share pools of the hooks' own: of a disk, of a name server. Those
// that last until somebody does something (a lock, a child) must not: see own_thread_call.hpp.
#pragma once

#include "park/completion.hpp"
#include "park/own_thread_call.hpp"

#include <weft/this_fiber.hpp>
#include <weft/thread_pool.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

namespace weft::hooks::detail {

inline constexpr const char* in_thread_call = "a call that blocks a thread";

inline constexpr std::size_t most_thread_calls = 512;

/// Started as they are needed, never destroyed: a call may last longer than main().
ThreadPool& call_threads();
/// Of those that ask a server: others, lest a silent one keep files waiting.
ThreadPool& look_up_threads();

/// `body()`, which ends by itself and returns >= 0 or -errno, made by a thread, while the calling
/// fiber waits, whatever comes: body works with what lies on the caller's stack. -EAGAIN without
/// a thread.
template <class Body>
long on_thread(Body&& body, ThreadPool& threads = call_threads()) noexcept {
    weft::detail::Completion done;
    long result = 0;
    try {
        const this_fiber::Shield shield;
        threads.submit([&] {
            result = body();
            done.happen();
        });
    } catch (const std::exception&) {
        return -EAGAIN;
    }
    const this_fiber::Pin pin;
    (void)done.wait(Deadline::never(), weft::detail::Cancellable::no, {in_thread_call, &done});
    return result;
}

/// The same for one that waits for somebody else.
template <class Body>
long on_own_thread(Body&& body) noexcept {
    const this_fiber::Pin pin;
    return weft::detail::on_own_thread(std::forward<Body>(body), in_thread_call);
}

/// The same for a call that may last long and is worth leaving: `call`, which owns all that
/// it works with, is run by a thread, and is handed back when that has happened. Null when the
/// fiber was interrupted first; then it is destroyed by the thread, maybe long after the fiber
/// and its runtime.
template <class Call>
std::shared_ptr<Call> run_leavable(std::shared_ptr<Call> call) noexcept {
    struct Shared {
        std::shared_ptr<Call> call;
        weft::detail::Completion done;
        std::atomic<bool> told{false};  // nothing of the fiber is touched any more
    };
    std::shared_ptr<Shared> shared;
    try {
        shared = std::make_shared<Shared>();
        shared->call = call;
        const this_fiber::Shield shield;
        look_up_threads().submit([shared] {
            shared->call->run();
            shared->done.happen();
            shared->told.store(true, std::memory_order_release);
        });
    } catch (const std::exception&) {
        call->run_failed(EAGAIN);
        return call;
    }
    const this_fiber::Pin pin;
    const auto wake = shared->done.wait(Deadline::never(), weft::detail::Cancellable::yes,
                                        {in_thread_call, shared.get()});
    if (wake == weft::detail::Wake::notified) return call;
    if (shared->done.withdraw()) return nullptr;
    while (!shared->told.load(std::memory_order_acquire)) std::this_thread::yield();
    return call;
}

}  // namespace weft::hooks::detail
