// Layer: io. Uses: base, threads.
#include "io/offload.hpp"

#include "base/futex.hpp"
#include "base/own_thread.hpp"
#include "io/attempt.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <system_error>

namespace weft::detail {

namespace {

/// A thread started while this lives takes no signals: handlers belong to the
/// program's own threads, and no call here may be interrupted.
class SignalsBlocked {
public:
    SignalsBlocked() noexcept {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

bool waits_for_others(const Request& request) noexcept {
    return request.code == Request::Code::call &&
           static_cast<const BlockingCall*>(request.extra)->waits_for_others;
}

}  // namespace

void Offload::submit(Operation& operation, std::atomic<std::size_t>& in_flight) noexcept {
    in_flight.fetch_add(1, std::memory_order_relaxed);
    operation.driver_data = &in_flight;
    if (waits_for_others(operation.request()) && start_alone(operation)) return;

    std::unique_lock held{lock_};
    WEFT_ASSERT(!stopping_);
    queue_.push_back(operation);
    Slot* idle = take_idle();
    Slot* unused = idle == nullptr ? take_unused() : nullptr;
    held.unlock();

    if (idle != nullptr) wake(*idle);
    if (unused != nullptr) start(*unused);
}

void Offload::cancel(Operation& operation) noexcept {
    OperationChain cancelled;
    {
        const std::lock_guard held{lock_};
        if (!queue_.contains(operation)) return;
        queue_.remove(operation);
        cancelled.push_back(operation);
    }
    deliver_cancelled(cancelled);
}

void Offload::stop() noexcept {
    OperationChain cancelled;
    {
        const std::lock_guard held{lock_};
        stopping_ = true;
        while (Operation* operation = queue_.pop_front()) cancelled.push_back(*operation);
        while (Slot* slot = take_idle()) wake(*slot);
    }
    deliver_cancelled(cancelled);
    for (Slot& slot : slots_) {
        if (slot.thread.joinable()) slot.thread.join();
    }
    while (const std::uint32_t left = alone_.load(std::memory_order_acquire)) {
        futex_wait(alone_, left);
    }
}

std::size_t Offload::threads() noexcept {
    const std::lock_guard held{lock_};
    return used_;
}

/// False: there may be no more threads, so one of the others will come to it.
bool Offload::start_alone(Operation& operation) noexcept {
    alone_.fetch_add(1, std::memory_order_relaxed);
    try {
        const SignalsBlocked blocked;
        start_own_thread([this, &operation] {
            deliver(operation, carry_out(operation.request()));
            // Of *this, which may be gone then, only an address is used.
            if (alone_.fetch_sub(1, std::memory_order_release) == 1) futex_wake_all(&alone_);
        }).detach();
        return true;
    } catch (const std::exception&) {
        alone_.fetch_sub(1, std::memory_order_relaxed);
        return false;
    }
}

void Offload::start(Slot& slot) noexcept {
    try {
        const SignalsBlocked blocked;
        slot.thread = start_own_thread([this, &slot] { serve(slot); });
    } catch (const std::exception&) {
        // EAGAIN or no memory: the process may have no more threads. Those that
        // run will come to the operation; without any, the caller carries it out.
        serve_without_thread(slot);
    }
}

void Offload::serve_without_thread(Slot& slot) noexcept {
    std::unique_lock held{lock_};
    while (used_ == 1 && !queue_.empty()) {
        held.unlock();
        run_next();
        held.lock();
    }
    set_used(slot, false);
}

void Offload::serve(Slot& slot) noexcept {
    pthread_setname_np(pthread_self(), "weft-offload");
    std::unique_lock held{lock_};
    for (;;) {
        if (!queue_.empty()) {
            held.unlock();
            run_next();
        } else if (!stopping_) {
            slot.next_idle = idle_;
            idle_ = &slot;
            const std::uint32_t seen = slot.signal.load(std::memory_order_relaxed);
            held.unlock();
            while (slot.signal.load(std::memory_order_acquire) == seen) {
                futex_wait(slot.signal, seen);
            }
        } else {
            set_used(slot, false);
            return;
        }
        held.lock();
    }
}

void Offload::run_next() noexcept {
    std::unique_lock held{lock_};
    Operation* operation = queue_.pop_front();
    if (operation == nullptr) return;
    held.unlock();
    deliver(*operation, carry_out(operation->request()));
}

void Offload::wake(Slot& slot) noexcept {
    slot.signal.fetch_add(1, std::memory_order_release);
    futex_wake_all(&slot.signal);
}

void Offload::deliver(Operation& operation, int result) noexcept {
    auto& in_flight = *static_cast<std::atomic<std::size_t>*>(operation.driver_data);
    operation.complete(result);
    in_flight.fetch_sub(1, std::memory_order_release);
}

void Offload::deliver_cancelled(OperationChain& cancelled) noexcept {
    while (Operation* operation = cancelled.pop_front()) deliver(*operation, -ECANCELED);
}

Offload::Slot* Offload::take_idle() noexcept {
    Slot* slot = idle_;
    if (slot != nullptr) idle_ = slot->next_idle;
    return slot;
}

void Offload::set_used(Slot& slot, bool used) noexcept {
    slot.used = used;
    used ? ++used_ : --used_;
}

Offload::Slot* Offload::take_unused() noexcept {
    if (used_ == slots_.size()) return nullptr;
    const auto slot =
        std::find_if(slots_.begin(), slots_.end(), [](const Slot& each) { return !each.used; });
    set_used(*slot, true);
    return &*slot;
}

}  // namespace weft::detail
