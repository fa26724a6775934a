// Barriers of libc's, for fibers and threads. Layer: hooks. Uses: park.
//
// libc's counts threads that sleep in it, so a barrier that is made while threads are
// patched is ours altogether, unless processes share it: everybody parks, threads, too. At others
// a thread waits in a fiber's place.
//
// Invariant: a barrier's state is guarded by the lock of its bucket. Who comes last claims
// the others under it; they do not touch the barrier again, which may be destroyed then.
#include "hooks/parking.hpp"
#include "hooks/thread_call.hpp"

#include <cerrno>
#include <cstdint>
#include <new>

#include <pthread.h>

namespace weft::hooks::detail {

namespace {

/// In the memory of a pthread_barrier_t. libc's does not reach to where the mark is.
struct Barrier {
    static constexpr std::uint64_t is_ours = 0x7765667462617272;

    std::uint32_t parties;
    std::uint32_t arrived;  // guarded by the bucket's lock
    std::uint64_t unused[2];
    std::uint64_t mark;
};
static_assert(sizeof(Barrier) <= sizeof(pthread_barrier_t));

Barrier& barrier_in(pthread_barrier_t& barrier) noexcept {
    return reinterpret_cast<Barrier&>(barrier);
}

bool is_shared(const pthread_barrierattr_t* attributes) noexcept {
    int shared = PTHREAD_PROCESS_PRIVATE;
    if (attributes != nullptr) ::pthread_barrierattr_getpshared(attributes, &shared);
    return shared != PTHREAD_PROCESS_PRIVATE;
}

// Nobody else wakes there: one who is woken for nothing could not look whether it was.
const void* place_of(const Barrier& barrier) noexcept {
    return reinterpret_cast<const char*>(&barrier) + 1;
}

int wait(Barrier& barrier) noexcept {
    const void* const place = place_of(barrier);
    weft::detail::WakeList others;
    QuietSignals quiet;
    const auto is_last = [&] {
        if (++barrier.arrived != barrier.parties) return false;
        barrier.arrived = 0;
        claim_parked(bucket_of(place), place, everybody, any_bits, others);
        return true;
    };
    const Parked parked =
        park_on({place, "pthread_barrier_wait"}, Deadline::never(), is_last, [&] { quiet.end(); });
    others.resume_all();
    return parked == Parked::vain ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
}

int wait_by_thread(pthread_barrier_t& barrier) noexcept {
    int result = 0;
    const long made = on_own_thread([&]() -> long {
        result = WEFT_ORIGINAL(pthread_barrier_wait)(&barrier);
        return 0;
    });
    // Without a thread the worker waits.
    return made == 0 ? result : WEFT_ORIGINAL(pthread_barrier_wait)(&barrier);
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook_pthread_barrier_init(pthread_barrier_t* barrier, const pthread_barrierattr_t* attributes,
                              unsigned parties) {
    const int error = WEFT_ORIGINAL(pthread_barrier_init)(barrier, attributes, parties);
    if (error != 0) return error;
    barrier_in(*barrier).mark = 0;
    if ((patched.load(std::memory_order_relaxed) & c_threads) == 0 || is_shared(attributes)) {
        return 0;
    }
    ::new (barrier) Barrier{parties, 0, {}, Barrier::is_ours};
    return 0;
}

int hook_pthread_barrier_wait(pthread_barrier_t* barrier) {
    FiberCore* const fiber = WEFT_FOREIGN_FIBER();
    const bool is_taken = fiber != nullptr && WEFT_TAKES(pthread_barrier_wait, *fiber);
    if (barrier_in(*barrier).mark == Barrier::is_ours) return wait(barrier_in(*barrier));
    if (!is_taken) return WEFT_ORIGINAL(pthread_barrier_wait)(barrier);
    return wait_by_thread(*barrier);
}

int hook_pthread_barrier_destroy(pthread_barrier_t* barrier) {
    Barrier& ours = barrier_in(*barrier);
    if (ours.mark != Barrier::is_ours) return WEFT_ORIGINAL(pthread_barrier_destroy)(barrier);
    const QuietSignals quiet;
    const weft::detail::Held held{bucket_of(place_of(ours)).lock};
    if (ours.arrived != 0) return EBUSY;
    ours.mark = 0;
    return 0;
}
