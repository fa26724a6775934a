// Layer: park. Uses: base, sched.
#include "park/interrupt.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "park/park.hpp"
#include "sched/fiber_core.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

#include <weft/cancelled.hpp>
#include <weft/timeout.hpp>

#include <memory>
#include <mutex>

namespace weft {

namespace detail {

// Who may look into a Timeout.
struct Timeouts {
    static void remove(Timeout& timeout) noexcept {
        Timeout* inner = timeout.party_->timeouts();
        if (inner == &timeout) return timeout.party_->set_timeouts(timeout.outer_);
        while (inner->outer_ != &timeout) inner = inner->outer_;
        inner->outer_ = timeout.outer_;
    }
    static void set_due(Timeout& timeout) noexcept { timeout.due_ = true; }
    static Timeout* put_by(Party& me, Timeout* outer) noexcept {
        Timeout* const innermost = me.timeouts();
        me.set_timeouts(outer);
        if (innermost == outer) return nullptr;
        Timeout* last = innermost;
        while (last->outer_ != outer) last = last->outer_;
        last->outer_ = nullptr;
        return innermost;
    }
    static void bring_back(Party& me, Timeout& innermost) noexcept {
        Timeout* last = &innermost;
        last->party_ = &me;
        while (last->outer_ != nullptr) {
            last = last->outer_;
            last->party_ = &me;
        }
        last->outer_ = me.timeouts();
        me.set_timeouts(&innermost);
    }

    /// Of those not thrown yet, the one whose time comes first; of two at once the outer.
    static Timeout* first(const Party& me) noexcept {
        Timeout* first = nullptr;
        for (Timeout* t = me.timeouts(); t != nullptr; t = t->outer_) {
            if (t->thrown_) continue;
            if (first == nullptr || t->deadline_ <= first->deadline_) first = t;
        }
        return first;
    }

    static bool is_due(const Timeout& timeout) noexcept {
        return timeout.due_ || timeout.deadline_.passed();
    }

    [[noreturn]] static void raise(Timeout& timeout) {
        timeout.thrown_ = true;
        throw TimedOut{&timeout, timeout.deadline_};
    }
};

namespace {

/// Null when nothing was thrown in.
std::exception_ptr take_thrown_in(Party& me) noexcept {
    if (!me.thrown_in_pending()) return nullptr;
    FiberExtras& extras = *static_cast<FiberCore&>(me).extras.load(std::memory_order_acquire);
    const std::lock_guard lock{extras.lock};
    const auto first = extras.thrown_in.take();
    if (extras.thrown_in.empty()) me.clear_thrown_in();
    return std::move(first->error);
}

[[noreturn]] void throw_cancelled(Party& me) {
    me.count_cancelled();
    // Who swallows it again and again leaves room for others.
    if (me.cancellations_swallowed() > 0) Worker::consume_budget();
    throw Cancelled{};
}

// Wakes a party whose wait was claimed by the caller, if one was.
void resume_claimed(Party& party, Claim claim) noexcept {
    if (claim == Claim::lost) return;
    tsan_release(&party);
    if (party.word().resume(claim)) make_ready(party, Turn::next);
}

Claim claim_wait(Party& party) noexcept {
    const auto epoch = party.word().cancellable_epoch();
    return epoch == 0 ? Claim::lost : party.word().claim(epoch, Wake::cancelled);
}

}  // namespace

void throw_if_interrupted(Party& me) {
    if (is_deaf(me)) return;
    if (me.interrupt_pending()) throw_interrupt();
    Timeout* const first = Timeouts::first(me);
    if (first != nullptr && Timeouts::is_due(*first)) Timeouts::raise(*first);
}

void throw_interrupt() {
    Party& me = this_party();
    if (me.cancelled_at_standstill()) stop_tokens(static_cast<FiberCore&>(me));
    if (me.cancel_pending()) throw_cancelled(me);
    if (std::exception_ptr error = take_thrown_in(me)) std::rethrow_exception(std::move(error));
    Timeout* const first = Timeouts::first(me);
    WEFT_ASSERT(first != nullptr && Timeouts::is_due(*first));
    Timeouts::raise(*first);
}

void interrupt(Party& party) noexcept {
    party.set_cancelled();
    resume_claimed(party, claim_wait(party));
}

void interrupt_at_standstill(FiberCore& fiber) noexcept {
    fiber.set_cancelled_at_standstill();
    resume_claimed(fiber, claim_wait(fiber));
}

void stop_tokens(FiberCore& fiber) noexcept {
    // seq_cst, both: pair with FiberCore::need_extras() and with who makes the source
    // (task/stop.cpp). The flag was set before by a seq_cst store.
    FiberExtras* const extras = fiber.extras.load(std::memory_order_seq_cst);
    if (extras == nullptr) return;
    std::stop_source* const source = extras->stop.load(std::memory_order_seq_cst);
    if (source != nullptr) source->request_stop();
}

void throw_in(FiberCore& fiber, std::exception_ptr error) {
    auto node = std::make_unique<ThrownIn::Node>();
    node->error = std::move(error);
    FiberExtras& extras = fiber.need_extras();
    Claim claim = Claim::lost;
    {
        const std::lock_guard lock{extras.lock};
        extras.thrown_in.add(std::move(node));
        fiber.set_thrown_in();
        claim = claim_wait(fiber);
    }
    resume_claimed(fiber, claim);
}

bool take_back(FiberCore& fiber, const std::exception_ptr& error) noexcept {
    FiberExtras* const extras = fiber.extras.load(std::memory_order_acquire);
    if (extras == nullptr) return false;
    const std::lock_guard lock{extras->lock};
    const bool found = extras->thrown_in.remove(error) != nullptr;
    if (extras->thrown_in.empty()) fiber.clear_thrown_in();
    return found;
}

Timeout* put_by_timeouts(Party& me, Timeout* outer) noexcept { return Timeouts::put_by(me, outer); }

void bring_back_timeouts(Party& me, Timeout& innermost) noexcept {
    Timeouts::bring_back(me, innermost);
}

// --- Limit ---

Timeout* Limit::first_timeout(const Party& me, Deadline deadline) noexcept {
    Timeout* const first = Timeouts::first(me);
    return first != nullptr && first->deadline() < deadline ? first : nullptr;
}

void Limit::set_due(Timeout& timeout) noexcept { Timeouts::set_due(timeout); }

}  // namespace detail

// --- Timeout ---

Timeout::Timeout(Deadline deadline) noexcept
    : deadline_{deadline}, party_{&detail::this_party()}, outer_{party_->timeouts()} {
    party_->set_timeouts(this);
}

Timeout::~Timeout() {
    WEFT_ASSERT(party_ == &detail::this_party());
    detail::Timeouts::remove(*this);
}

}  // namespace weft
