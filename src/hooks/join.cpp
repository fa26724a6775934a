// Joining threads from fibers. Layer: hooks. Uses: task.
#include "hooks/caller.hpp"
#include "hooks/fiber_thread.hpp"
#include "hooks/moment.hpp"
#include "hooks/thread_call.hpp"

#include <cerrno>

#include <pthread.h>
#include <threads.h>

namespace weft::hooks::detail {

namespace {

/// What `join()` returns, made by a thread that may sleep unless the other one has ended.
template <class Join>
int join_by_thread(pthread_t thread, void** result, Join&& join) noexcept {
    if (::pthread_equal(thread, ::pthread_self()) != 0) return EDEADLK;
    const int error = ::pthread_tryjoin_np(thread, result);
    if (error != EBUSY) return error;
    const long ended = on_own_thread([&]() -> long { return -join(); });
    return ended == -EAGAIN ? join() : static_cast<int>(-ended);
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_pthread_join(pthread_t thread, void** result) {
    const auto by_libc = [&] { return WEFT_ORIGINAL(pthread_join)(thread, result); };
    if (FiberThread* const own = fiber_thread_of(thread); own != nullptr) {
        return join_fiber_thread(*own, result, weft::Deadline::never());
    }
    if (WEFT_TAKEN(pthread_join) == nullptr) return by_libc();
    return join_by_thread(thread, result, by_libc);
}

int hook_pthread_timedjoin_np(pthread_t thread, void** result, const timespec* until) {
    const auto by_libc = [&] { return WEFT_ORIGINAL(pthread_timedjoin_np)(thread, result, until); };
    if (FiberThread* const own = fiber_thread_of(thread); own != nullptr) {
        return join_fiber_thread(*own, result, Moment{{CLOCK_REALTIME, until}}.deadline());
    }
    if (WEFT_TAKEN(pthread_timedjoin_np) == nullptr) return by_libc();
    return join_by_thread(thread, result, by_libc);
}

int hook_pthread_clockjoin_np(pthread_t thread, void** result, clockid_t clock,
                              const timespec* until) {
    const auto by_libc = [&] {
        return WEFT_ORIGINAL(pthread_clockjoin_np)(thread, result, clock, until);
    };
    if (FiberThread* const own = fiber_thread_of(thread); own != nullptr) {
        return join_fiber_thread(*own, result, Moment{{clock, until}}.deadline());
    }
    if (WEFT_TAKEN(pthread_clockjoin_np) == nullptr) return by_libc();
    return join_by_thread(thread, result, by_libc);
}

int hook_thrd_join(thrd_t thread, int* result) {
    void* ended_with = nullptr;
    const auto by_libc = [&] { return WEFT_ORIGINAL(pthread_join)(thread, &ended_with); };
    const auto told = [&](int error) {
        if (error != 0) return thrd_error;
        const auto value = reinterpret_cast<std::intptr_t>(ended_with);
        if (result != nullptr) *result = static_cast<int>(value);
        return thrd_success;
    };
    if (FiberThread* const own = fiber_thread_of(thread); own != nullptr) {
        return told(join_fiber_thread(*own, &ended_with, weft::Deadline::never()));
    }
    if (WEFT_TAKEN(thrd_join) == nullptr) return WEFT_ORIGINAL(thrd_join)(thread, result);
    return told(join_by_thread(thread, &ended_with, by_libc));
}
