// syscall(SYS_futex), by which std::future, std::latch, std::counting_semaphore and
// std::atomic::wait wait. Layer: hooks. Uses: park.
//
// A fiber waits in the table of those who are parked, a thread in the kernel; who wakes,
// wakes in both, beginning in either in turn, so that none is passed over for ever.
// One in shared memory may be woken by another process: a thread waits for that.
#include "hooks/moment.hpp"
#include "hooks/parking.hpp"
#include "hooks/shared_memory.hpp"
#include "hooks/thread_call.hpp"

#include <atomic>
#include <cerrno>
#include <cstdint>

#include <linux/futex.h>
#include <sys/syscall.h>

namespace weft::hooks::detail {

namespace {

/// The call, as syscall() got it.
struct Call {
    long address, operation, value, timeout, second, third;

    long command() const noexcept { return operation & FUTEX_CMD_MASK; }
    Bits bits() const noexcept {
        const bool has_them = command() == FUTEX_WAIT_BITSET || command() == FUTEX_WAKE_BITSET;
        return has_them ? static_cast<Bits>(third) : any_bits;
    }
    const void* word() const noexcept { return reinterpret_cast<const void*>(address); }
    const timespec* time() const noexcept { return reinterpret_cast<const timespec*>(timeout); }

    long make() const noexcept {
        return WEFT_ORIGINAL(syscall)(SYS_futex, address, operation, value, timeout, second, third);
    }
};

/// Whether libc's is not to say at once that something is wrong with it.
bool is_valid_wait(const Call& call) noexcept {
    return call.address % 4 == 0 && call.address >= 4096 && call.bits() != 0 &&
           (call.time() == nullptr || is_valid(*call.time()));
}

long failed_with(int error) noexcept {
    errno = error;
    return -1;
}

/// Until when a relative time lasts, or the moment it is.
Moment end_of(const Call& call) noexcept {
    if (call.command() == FUTEX_WAIT) return Moment::in(call.time());
    const bool is_real = (call.operation & FUTEX_CLOCK_REALTIME) != 0;
    return Moment{{is_real ? CLOCK_REALTIME : CLOCK_MONOTONIC, call.time()}};
}

long wait_in_fiber(const Call& call) noexcept {
    auto& word = *reinterpret_cast<std::uint32_t*>(call.address);
    const auto expected = static_cast<std::uint32_t>(call.value);
    Moment until = end_of(call);
    for (;;) {
        const Parked parked = park_on({call.word(), "futex", call.bits()}, until.deadline(), [&] {
            return std::atomic_ref{word}.load(std::memory_order_seq_cst) != expected;
        });
        if (parked == Parked::woken) return 0;
        if (parked == Parked::vain) return failed_with(EAGAIN);
        if (until.came()) return failed_with(ETIMEDOUT);
    }
}

/// Whether others than this process's threads may wake. std::future does not say, either.
bool may_be_shared(const Call& call) noexcept {
    return (call.operation & FUTEX_PRIVATE_FLAG) == 0 && is_shared_memory(call.word());
}

long wait_by_thread(const Call& call) noexcept {
    int error = EAGAIN;
    const long made = on_own_thread([&]() -> long {
        error = call.make() < 0 ? errno : 0;
        return 0;
    });
    if (made < 0) return call.make();  // there are too many threads
    return error == 0 ? 0 : failed_with(error);
}

constinit std::atomic<unsigned> turns{0};

long wake_both(Call call) noexcept {
    weft::detail::full_fence();  // pairs with park_on()
    if (bucket_of(call.word()).waiting.load(std::memory_order_seq_cst) == 0) return call.make();
    // The kernel takes less than one for one.
    const long most = call.value > 0 ? static_cast<int>(call.value) : 1;
    long woken = 0;
    if (turns.fetch_add(1, std::memory_order_relaxed) % 2 == 0) {
        woken = static_cast<long>(wake(call.word(), static_cast<std::size_t>(most), call.bits()));
        if (woken >= most) return woken;
        call.value = most - woken;
    }
    const long threads = call.make();
    if (threads < 0) return threads;
    woken += threads;
    if (woken >= most) return woken;
    return woken + static_cast<long>(
                       wake(call.word(), static_cast<std::size_t>(most - woken), call.bits()));
}

/// Those that move sleepers elsewhere: fibers are woken, and look again.
long wake_all_fibers(const Call& call) noexcept {
    const long result = call.make();
    const int saved_errno = errno;
    weft::detail::full_fence();  // pairs with park_on()
    wake(call.word(), everybody);
    if (call.command() == FUTEX_WAKE_OP)
        wake(reinterpret_cast<const void*>(call.second), everybody);
    errno = saved_errno;
    return result;
}

long futex(FiberCore* fiber, const Call& call) noexcept {
    switch (call.command()) {
        case FUTEX_WAIT:
        case FUTEX_WAIT_BITSET: {
            const bool is_taken =
                fiber != nullptr && WEFT_TAKES(syscall, *fiber, is_valid_wait(call));
            if (!is_taken) return call.make();
            return may_be_shared(call) ? wait_by_thread(call) : wait_in_fiber(call);
        }
        case FUTEX_WAKE:
        case FUTEX_WAKE_BITSET: return wake_both(call);
        case FUTEX_REQUEUE:
        case FUTEX_CMP_REQUEUE:
        case FUTEX_WAKE_OP: return wake_all_fibers(call);
        default: return call.make();
    }
}

}  // namespace

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hook ---

long hook_syscall(long number, long a, long b, long c, long d, long e, long f) {
    if (number != SYS_futex) return WEFT_ORIGINAL(syscall)(number, a, b, c, d, e, f);
    return futex(WEFT_FOREIGN_FIBER(), {a, b, c, d, e, f});
}
