// Outcome: what a Promise and its Futures share. Layer: task. Uses: base, park.
//
// Invariant: done, nobody is queued, no follower and no callback is kept but those that
// finish() has not come to yet.
//
// A callback is a fiber that is made where it is asked for, which may fail, and
// started when the outcome is there, which cannot. It keeps the outcome alive and
// is kept by it, a ring that finish() opens; and a promise that is dropped is
// broken, so finish() always comes.
#include <weft/detail/outcome.hpp>

#include "task/callbacks.hpp"
#include "task/follower.hpp"

#include "base/assert.hpp"
#include "park/park.hpp"
#include "park/wake_list.hpp"
#include "sched/fiber_core.hpp"
#include "sched/worker.hpp"

#include <weft/cancelled.hpp>

#include <future>
#include <stdexcept>

namespace weft::detail {

Outcome::~Outcome() {
    WEFT_ASSERT(callbacks_ == nullptr);
    WEFT_ASSERT(followers_ == nullptr);
}

void Outcome::release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

// --- the promise's ---

bool Outcome::start() noexcept {
    const Held held{waiters_.lock()};
    started_ = true;
    return phase() != Phase::cancelled;
}

bool Outcome::begin_value() {
    const Held held{waiters_.lock()};
    if (phase() == Phase::cancelled) return false;
    if (phase() != Phase::pending) {
        throw std::future_error{std::future_errc::promise_already_satisfied};
    }
    phase_.store(Phase::setting, std::memory_order_relaxed);
    return true;
}

void Outcome::abandon_value() noexcept {
    const Held held{waiters_.lock()};
    phase_.store(Phase::pending, std::memory_order_relaxed);
}

void Outcome::finish_value() noexcept {
    waiters_.lock().lock();
    finish(Phase::value);
}

bool Outcome::set_error(std::exception_ptr error) {
    if (error == nullptr) throw std::invalid_argument{"weft: set_exception() of no exception"};
    if (!begin_value()) return false;
    error_ = std::move(error);
    waiters_.lock().lock();
    finish(Phase::error);
    return true;
}

void Outcome::break_promise() noexcept {
    waiters_.lock().lock();
    if (phase() != Phase::pending) return waiters_.lock().unlock();
    error_ = std::make_exception_ptr(std::future_error{std::future_errc::broken_promise});
    finish(Phase::error);
}

// --- the futures' ---

bool Outcome::cancel() noexcept {
    waiters_.lock().lock();
    if (phase() != Phase::pending || started_) {
        waiters_.lock().unlock();
        return cancelled();
    }
    finish(Phase::cancelled);
    return true;
}

void Outcome::finish(Phase phase) noexcept {
    WakeList woken;
    FiberCore* callbacks = nullptr;
    {
        const Held held{waiters_.lock(), std::adopt_lock};
        phase_.store(phase, std::memory_order_release);
        callbacks = std::exchange(callbacks_, nullptr);
        while (auto waiter = waiters_.claim_front()) woken.add(std::move(*waiter));
        tell_all(followers_, woken);
    }
    // The caller has a share in it still.
    woken.resume_all();
    launch_all(callbacks);
}

bool Outcome::wait(Deadline deadline) {
    check_interrupt();
    if (!done()) {
        Held held{waiters_.lock()};
        if (!done()) {
            Waiter self;
            return park_or_throw(held, waiters_, self, deadline, Purpose{"Future::wait", this});
        }
    }
    Worker::consume_budget();
    return true;
}

std::exception_ptr Outcome::error() const noexcept {
    return cancelled() ? std::make_exception_ptr(Cancelled{}) : error_;
}

void Outcome::rethrow() const {
    if (cancelled()) throw Cancelled{};
    if (error_ != nullptr) std::rethrow_exception(error_);
}

void Outcome::take() {
    if (taken_.exchange(true, std::memory_order_relaxed)) {
        throw std::future_error{std::future_errc::future_already_retrieved};
    }
}

bool Outcome::add_follower(Follower& follower) noexcept {
    const Held held{waiters_.lock()};
    if (done()) return false;
    add(followers_, follower);
    return true;
}

void Outcome::remove_follower(Follower& follower) noexcept {
    const Held held{waiters_.lock()};
    remove(followers_, follower);
}

void Outcome::start_when_done(FiberCore* callback) noexcept {
    {
        const Held held{waiters_.lock()};
        if (!done()) {
            callback->next = std::exchange(callbacks_, callback);
            return;
        }
    }
    launch(callback);
}

}  // namespace weft::detail
