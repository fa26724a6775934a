// Barrier. Layer: sync. Uses: park.
//
// A round is filled when the last party has come and claimed all others; from
// then on no deadline or cancellation of theirs counts. They are resumed, told
// whether they pass, when the action has returned. Were one claimed by its
// deadline or a cancellation just before, nobody passes.
//
// Invariants
//  1. arrived_ parties belong to the round: all are queued, claimed for something
//     else than a notification, or, while acting_, claimed by the one that acts.
//  2. While acting_, those queued wait for nothing but its end.
//  3. round_ changes when a round ends, so that a party which left by its deadline
//     breaks its own round and no other. One that leaves while acting_ has not come
//     to its round yet; next_broken_ remembers that.
#include <weft/barrier.hpp>

#include "park/park.hpp"
#include "park/wake_list.hpp"
#include "sched/worker.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace weft {

namespace {

// On the stack of a party that waits for the others.
struct Arrival {
    bool passes = false;
    Arrival* next = nullptr;
};

}  // namespace

// One call's time with the barrier's lock, and whom it wakes after it.
class Barrier::Visit {
public:
    explicit Visit(Barrier& barrier) : barrier_{barrier}, held_{barrier.waiters_.lock()} {}

    /// Lets a filled round end before the caller joins the next. Throws instead if
    /// the caller's time ends or it is interrupted; then it has stayed away.
    void wait_out_action(Deadline deadline);

    /// The caller does not come to the round it would have joined, which breaks: at
    /// once, or when the action of the one before has returned. Includes leave().
    void stay_away();

    /// Returns if the round passes, else throws. The caller has been counted, and
    /// is not the last. The barrier may be gone when it returns.
    void await_others(Deadline deadline);

    /// The same for the last.
    void fill();

    /// The round is over, and the next begins. Those queued are woken by leave().
    void end_round(bool broken);

    /// The barrier may be gone when it returns.
    void leave() {
        held_.unlock();
        woken_.resume_all();
    }

private:
    std::exception_ptr act();
    void claim_queued();

    Barrier& barrier_;
    detail::Held held_;
    detail::WakeList woken_;
};

void Barrier::Visit::wait_out_action(Deadline deadline) {
    while (barrier_.acting_ && !barrier_.broken_) {
        detail::Waiter self;
        const detail::Wake why =
            park(held_, barrier_.waiters_, self, deadline, detail::Cancellable::yes,
                 detail::Purpose{"Barrier::wait for an action", &barrier_});
        held_.lock();
        if (why == detail::Wake::notified) continue;
        stay_away();
        if (why == detail::Wake::cancelled) detail::throw_interrupt();
        throw BrokenBarrier{};
    }
}

void Barrier::Visit::stay_away() {
    if (barrier_.acting_) {
        barrier_.next_broken_ = true;
    } else {
        end_round(true);
    }
    leave();
}

void Barrier::Visit::await_others(Deadline deadline) {
    const std::uint64_t round = barrier_.round_;
    Arrival me;
    detail::Waiter self;
    self.slot = &me;
    const detail::Wake why =
        park(held_, barrier_.waiters_, self, deadline, detail::Cancellable::yes,
             detail::Purpose{"Barrier::wait", &barrier_});
    if (why == detail::Wake::notified) {
        if (!me.passes) throw BrokenBarrier{};
        return;
    }
    held_.lock();
    if (barrier_.round_ == round) end_round(true);
    leave();
    if (why == detail::Wake::cancelled) detail::throw_interrupt();
    throw BrokenBarrier{};
}

void Barrier::Visit::fill() {
    const std::uint64_t round = barrier_.round_;
    std::ptrdiff_t come = 1;
    Arrival* arrivals = nullptr;
    while (auto other = barrier_.waiters_.claim_front()) {
        auto* const arrival = static_cast<Arrival*>((*other)->slot);
        arrival->next = arrivals;
        arrivals = arrival;
        woken_.add(std::move(*other));
        ++come;
    }
    // Fewer, if one has left and did not come to say so yet.
    bool passes = come == barrier_.parties_;
    const std::exception_ptr failure = passes ? act() : nullptr;
    passes = passes && failure == nullptr && barrier_.round_ == round;
    if (barrier_.round_ == round) end_round(!passes);
    if (std::exchange(barrier_.next_broken_, false)) barrier_.broken_ = true;
    claim_queued();
    for (; passes && arrivals != nullptr; arrivals = arrivals->next) arrivals->passes = true;
    leave();
    if (failure != nullptr) std::rethrow_exception(failure);
    if (!passes) throw BrokenBarrier{};
    detail::Worker::consume_budget();
}

// Runs the action, if there is one, without the lock. Returns what it threw.
std::exception_ptr Barrier::Visit::act() {
    if (!barrier_.action_) return nullptr;
    std::exception_ptr failure;
    barrier_.acting_ = true;
    held_.unlock();
    try {
        barrier_.action_();
    } catch (...) {
        failure = std::current_exception();
    }
    held_.lock();
    barrier_.acting_ = false;
    return failure;
}

void Barrier::Visit::end_round(bool broken) {
    ++barrier_.round_;
    barrier_.arrived_ = 0;
    barrier_.broken_ = broken;
    claim_queued();
}

void Barrier::Visit::claim_queued() {
    while (auto waiter = barrier_.waiters_.claim_front()) woken_.add(std::move(*waiter));
}

const char* BrokenBarrier::what() const noexcept { return "weft: the barrier is broken"; }

std::ptrdiff_t Barrier::checked(std::ptrdiff_t parties) {
    if (parties >= 1) return parties;
    throw std::invalid_argument{"weft: a Barrier of " + std::to_string(parties) + " parties"};
}

Barrier::Barrier(std::ptrdiff_t parties) : parties_{checked(parties)} {}

std::ptrdiff_t Barrier::wait(Deadline deadline) {
    try {
        detail::check_interrupt();
    } catch (...) {
        Visit{*this}.stay_away();
        throw;
    }
    Visit visit{*this};
    visit.wait_out_action(deadline);
    if (broken_) throw BrokenBarrier{};
    const std::ptrdiff_t index = arrived_++;
    if (arrived_ == parties_) {
        visit.fill();
    } else {
        visit.await_others(deadline);
    }
    return index;
}

void Barrier::abort() noexcept {
    Visit visit{*this};
    visit.end_round(true);
    visit.leave();
}

void Barrier::reset() noexcept {
    Visit visit{*this};
    next_broken_ = false;
    visit.end_round(false);
    visit.leave();
}

bool Barrier::broken() const noexcept {
    const detail::Held held{waiters_.lock()};
    return broken_;
}

std::ptrdiff_t Barrier::waiting() const noexcept {
    const detail::Held held{waiters_.lock()};
    return arrived_;
}

}  // namespace weft
