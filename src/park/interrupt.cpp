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

bool unwinding() noexcept {
    Worker* const worker = Worker::current();
    if (worker != nullptr && worker->fiber() != nullptr) return worker->unwinding();
    return std::uncaught_exceptions() > 0;
}

bool is_deaf(const Party& me) noexcept { return me.shields() > 0 || unwinding(); }

/// Null when nothing was thrown in.
std::exception_ptr take_thrown_in(Party& me) noexcept {
    if (!me.thrown_in_pending()) return nullptr;
    FiberExtras& extras = *static_cast<FiberCore&>(me).extras.load(std::memory_order_acquire);
    const std::lock_guard lock{extras.lock};
    const std::unique_ptr<ThrownIn> first = std::move(extras.thrown_in);
    extras.thrown_in = std::move(first->next);
    if (extras.thrown_in == nullptr) me.clear_thrown_in();
    return first->error;
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

void check_interrupt() {
    Party& me = this_party();
    if (!me.may_be_interrupted() || is_deaf(me)) return;
    if (me.interrupt_pending()) throw_interrupt();
    Timeout* const first = Timeouts::first(me);
    if (first != nullptr && Timeouts::is_due(*first)) Timeouts::raise(*first);
}

bool may_throw_here() noexcept { return !is_deaf(this_party()); }

void throw_interrupt() {
    Party& me = this_party();
    if (me.cancel_pending()) throw Cancelled{};
    if (std::exception_ptr error = take_thrown_in(me)) std::rethrow_exception(std::move(error));
    Timeout* const first = Timeouts::first(me);
    WEFT_ASSERT(first != nullptr && Timeouts::is_due(*first));
    Timeouts::raise(*first);
}

void interrupt(Party& party) noexcept {
    party.set_cancelled();
    resume_claimed(party, claim_wait(party));
}

bool end_wait(Party& party, std::uint64_t epoch, Wake why) noexcept {
    const Claim claim = party.word().claim(epoch, why);
    resume_claimed(party, claim);
    return claim != Claim::lost;
}

void throw_in(FiberCore& fiber, std::exception_ptr error) {
    auto node = std::make_unique<ThrownIn>();
    node->error = std::move(error);
    FiberExtras& extras = fiber.need_extras();
    Claim claim = Claim::lost;
    {
        const std::lock_guard lock{extras.lock};
        std::unique_ptr<ThrownIn>* last = &extras.thrown_in;
        while (*last != nullptr) last = &(*last)->next;
        *last = std::move(node);
        fiber.set_thrown_in();
        claim = claim_wait(fiber);
    }
    resume_claimed(fiber, claim);
}

// --- Limit ---

Limit::Limit(Party& me, Deadline deadline, Cancellable cancellable) noexcept
    : deadline_{deadline}, cancellable_{cancellable} {
    if (cancellable == Cancellable::no) return;
    if (is_deaf(me)) {
        cancellable_ = Cancellable::no;
        return;
    }
    Timeout* const first = me.timeouts() == nullptr ? nullptr : Timeouts::first(me);
    if (first == nullptr || first->deadline() >= deadline) return;
    deadline_ = first->deadline();
    timeout_ = first;
}

Wake Limit::meaning() const noexcept {
    if (timeout_ == nullptr) return Wake::timed_out;
    Timeouts::set_due(*timeout_);
    return Wake::cancelled;
}

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
