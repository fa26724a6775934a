// Where fibers wait that libc would have wait on a word of memory: a table of those who are
// parked, by that word's address. Layer: hooks. Uses: park.
//
// The word is libc's, and stays the truth: a fiber that finds it taken parks here, a plain
// thread sleeps as ever; who frees the word does what libc does, which wakes threads, and
// then wakes here. So a thread may hold what a fiber waits for, and the other way round.
//
// Invariants
//  1. `waiting` of a bucket is at least the number of those queued there.
//  2. No wake-up is lost: a fiber counts itself in `waiting`, then looks at the word a last
//     time; who frees the word changes it, then looks at `waiting`. Both are sequentially
//     consistent (Dekker): one of the two sees the other. Of those that free, unlocking and
//     posting are locked instructions on x86, so that nothing is to be paid; see freed().
//  3. The last look is under the bucket's lock, as is all waking: who is seen to be queued
//     can be claimed, and what guards a look guards what wakers do, too.
//  4. Nobody touches the word after it was woken before it is told to: it may be gone.
//
// Parked fibers are not interrupted: a lock that was not taken, or a condition that did not come,
// has no answer that callers expect. (But who is a thread, and asked to end, leaves a condition or
// a semaphore, since it gives no answer then.) They keep to their worker meanwhile.
#pragma once

#include "base/sync.hpp"
#include "hooks/caller.hpp"
#include "park/park.hpp"
#include "park/wake_list.hpp"

#include <weft/deadline.hpp>

#include <array>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>

namespace weft::hooks::detail {

/// Who waits at one address for different things; a futex's bitset.
using Bits = std::uint32_t;
inline constexpr Bits any_bits = ~Bits{0};
inline constexpr std::size_t everybody = INT_MAX;

struct alignas(64) Bucket {
    std::atomic<std::uint32_t> waiting{0};
    weft::detail::SpinLock lock;
    weft::detail::WaitList queue;  // guarded by lock
};

/// Never destroyed: a static object's destructor may unlock something.
union ParkingTable {
    constexpr ParkingTable() noexcept : buckets{} {}
    ~ParkingTable() {}
    std::array<Bucket, 256> buckets;
};
extern constinit ParkingTable parking_table;

inline Bucket& bucket_of(const void* address) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return parking_table.buckets[(at >> 3 ^ at >> 11) % 256];
}

/// What libc's function did before this orders as the protocol needs it. A fence where its
/// instructions do not.
inline void freed() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    std::atomic_signal_fence(std::memory_order_seq_cst);
#else
    weft::detail::full_fence();
#endif
}

/// Claims those first that came first, to be resumed without the lock. Requires: the bucket's
/// lock is held.
std::size_t claim_parked(Bucket& bucket, const void* address, std::size_t most, Bits bits,
                         weft::detail::WakeList& woken) noexcept;

std::size_t wake_parked(const void* address, std::size_t most, Bits bits) noexcept;

/// Any thread, also in a signal handler. Wakes those first that came first, at most `most` of
/// those who wait for one of `bits`. Returns how many. Requires: the word was freed.
inline std::size_t wake(const void* address, std::size_t most, Bits bits = any_bits) noexcept {
    // Pairs with park_on().
    if (bucket_of(address).waiting.load(std::memory_order_seq_cst) == 0) return 0;
    return wake_parked(address, most, bits);
}

/// How a stay ended; `vain` when it was not begun.
enum class Parked : std::uint8_t { vain, woken, timed_out, cancelled };

/// One that waits.
struct Sleeper {
    const void* address;
    const char* reason;
    Bits bits = any_bits;
    /// It has waited already, and been woken for nothing: it comes before others.
    bool again = false;
    weft::detail::Cancellable cancellable = weft::detail::Cancellable::no;
};

Parked park_erased(Sleeper& sleeper, Deadline deadline, bool (*look)(const void*),
                   const void* look_context, void (*queued)(void*), void* queued_context) noexcept;

/// The calling fiber waits until it is woken, unless `look()` says by a last look that there
/// is nothing to wait for; it neither parks nor throws, nor does `queued()`, which is called
/// once a waker finds it.
template <class Look, class Queued>
Parked park_on(Sleeper sleeper, Deadline deadline, const Look& look,
               const Queued& queued) noexcept {
    return park_erased(
        sleeper, deadline, [](const void* f) { return (*static_cast<const Look*>(f))(); }, &look,
        [](void* f) { (*static_cast<const Queued*>(f))(); },
        const_cast<void*>(static_cast<const void*>(&queued)));
}
template <class Look>
Parked park_on(Sleeper sleeper, Deadline deadline, const Look& look) noexcept {
    return park_on(sleeper, deadline, look, [] {});
}

/// In a child of fork(), where those who are parked are no more.
void forget_parked() noexcept;

/// Blocks a plain thread's signals: their handlers may post a semaphore, which takes the
/// locks that the thread would hold. Workers have theirs blocked, but SIGPROF and SIGURG, and what
/// faults raise.
class QuietSignals {
public:
    enum class OnWorkers : bool { no, yes };
    explicit QuietSignals(OnWorkers on_workers = OnWorkers::no) noexcept;
    QuietSignals(const QuietSignals&) = delete;
    QuietSignals& operator=(const QuietSignals&) = delete;
    ~QuietSignals() { end(); }
    void end() noexcept;

private:
    sigset_t before_;
    bool is_on_;
};

// --- what a fiber holds ---

/// It stays on its worker as long as it holds a lock of libc's: that may know its thread.
inline void hold(FiberCore& fiber) noexcept {
    if (fiber.locks == FiberCore::most_locks) return;
    if (++fiber.locks != 1 || fiber.pins++ != 0) return;
    fiber.home = static_cast<std::uint16_t>(Worker::current()->index());
}
/// What another fiber locked is not counted; that is no lock then, but a signal.
inline void let_go(FiberCore& fiber) noexcept {
    if (fiber.locks == FiberCore::most_locks || fiber.locks == 0) return;
    if (--fiber.locks == 0 && --fiber.pins == 0) fiber.home = FiberCore::anywhere;
}

}  // namespace weft::hooks::detail
