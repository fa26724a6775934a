// Layer: hooks. Uses: park.
#include "hooks/waiting_thread.hpp"

#include "hooks/parking.hpp"

#include <mutex>
#include <new>

namespace weft::hooks::detail {

namespace {

constinit weft::detail::SpinLock list_lock;
constinit WaitingThread* first = nullptr;  // guarded by list_lock

}  // namespace

WaitingThread::WaitingThread(const void* address) noexcept : address_{address} {
    const std::lock_guard hold{list_lock};
    next_ = first;
    if (first != nullptr) first->prev_ = this;
    first = this;
}

WaitingThread::~WaitingThread() {
    const std::lock_guard hold{list_lock};
    (prev_ != nullptr ? prev_->next_ : first) = next_;
    if (next_ != nullptr) next_->prev_ = prev_;
}

void wake_cancelled(pthread_t thread) noexcept {
    const void* address = nullptr;
    {
        const std::lock_guard hold{list_lock};
        WaitingThread* each = first;
        while (each != nullptr && ::pthread_equal(each->thread_, thread) == 0) each = each->next_;
        if (each == nullptr) return;
        each->cancelled_.store(true, std::memory_order_seq_cst);  // pairs with park_on()
        address = each->address_;
    }
    wake(address, everybody);
}

void forget_waiting_threads() noexcept {
    ::new (&list_lock) weft::detail::SpinLock;
    first = nullptr;
}

}  // namespace weft::hooks::detail
