// Layer: hooks. Uses: park.
#include "hooks/parking.hpp"

#include <weft/this_fiber.hpp>

#include <cerrno>
#include <new>

#include <signal.h>

namespace weft::hooks::detail {

using weft::detail::Held;
using weft::detail::Purpose;
using weft::detail::Waiter;
using weft::detail::Wake;
using weft::detail::WakeList;

constinit ParkingTable parking_table;

namespace {

const Sleeper& sleeper_of(const Waiter& waiter) noexcept {
    return *static_cast<const Sleeper*>(waiter.slot);
}

}  // namespace

Parked park_erased(Sleeper& sleeper, Deadline deadline, bool (*look)(const void*),
                   const void* look_context, void (*queued)(void*), void* queued_context) noexcept {
    const this_fiber::Pin pin;
    Bucket& bucket = bucket_of(sleeper.address);
    Held held{bucket.lock};
    bucket.waiting.fetch_add(1, std::memory_order_seq_cst);  // pairs with wake()
    if (look(look_context)) {
        bucket.waiting.fetch_sub(1, std::memory_order_relaxed);
        return Parked::vain;
    }
    Waiter self;
    self.slot = &sleeper;
    self.goes_first = sleeper.again;
    const Wake why =
        weft::detail::park_erased(held, bucket.queue, self, deadline, sleeper.cancellable,
                                  Purpose{sleeper.reason, sleeper.address}, queued, queued_context);
    if (why == Wake::notified) return Parked::woken;  // the waker has counted it out
    bucket.waiting.fetch_sub(1, std::memory_order_relaxed);
    return why == Wake::cancelled ? Parked::cancelled : Parked::timed_out;
}

std::size_t claim_parked(Bucket& bucket, const void* address, std::size_t most, Bits bits,
                         WakeList& woken) noexcept {
    std::size_t count = 0;
    for (Waiter* each = bucket.queue.front(); each != nullptr && count < most;) {
        Waiter* const next = each->next;
        const Sleeper& sleeper = sleeper_of(*each);
        if (sleeper.address == address && (sleeper.bits & bits) != 0) {
            if (auto claimed = bucket.queue.claim(*each)) {
                bucket.waiting.fetch_sub(1, std::memory_order_relaxed);
                woken.add(std::move(*claimed));
                ++count;
            }
        }
        each = next;
    }
    return count;
}

std::size_t wake_parked(const void* address, std::size_t most, Bits bits) noexcept {
    const int saved_errno = errno;
    const QuietSignals quiet;
    Bucket& bucket = bucket_of(address);
    WakeList woken;
    std::size_t count = 0;
    {
        const Held held{bucket.lock};
        count = claim_parked(bucket, address, most, bits, woken);
    }
    woken.resume_all();
    errno = saved_errno;
    return count;
}

void forget_parked() noexcept { ::new (&parking_table) ParkingTable; }

QuietSignals::QuietSignals(OnWorkers on_workers) noexcept
    : is_on_{on_workers == OnWorkers::yes || Worker::current() == nullptr} {
    if (!is_on_) return;
    sigset_t all;
    ::sigfillset(&all);
    WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, &all, &before_);
}

void QuietSignals::end() noexcept {
    if (std::exchange(is_on_, false))
        WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, &before_, nullptr);
}

}  // namespace weft::hooks::detail
