// Layer: sync. Uses: base, park.
#include "sync/select.hpp"

#include "base/assert.hpp"
#include "sched/worker.hpp"

#include <weft/channel.hpp>
#include <weft/select.hpp>

#include <algorithm>
#include <new>
#include <type_traits>
#include <utility>

namespace weft {

std::size_t select(std::span<SelectCase* const> cases) { return detail::Selection{cases}.run(); }

SelectCase::~SelectCase() = default;
detail::SpinLock* SelectCase::lock() const noexcept { return nullptr; }
bool SelectCase::begin(detail::Selection&) { return false; }
bool SelectCase::settle() { return true; }

namespace detail {

// --- Selection ---

std::size_t Selection::run() {
    check_interrupt();
    SelectCase* chosen = nullptr;
    while (chosen == nullptr) chosen = begin_or_wait();
    chosen->run();
    return static_cast<std::size_t>(std::find(cases_.begin(), cases_.end(), chosen) -
                                    cases_.begin());
}

// One round. Null: it was for nothing.
SelectCase* Selection::begin_or_wait() {
    shuffle();
    if (SelectCase* const ready = begin_one_by_one()) return finish(*ready);
    Branches branches;
    branches_ = &branches;
    otherwise_ = late_ = nullptr;
    deadline_ = Deadline::never();
    for (SelectCase* const each : cases_) each->enlist(*this);
    branches.lock();
    SelectCase* const ready = begin_locked();
    if (ready != nullptr || otherwise_ != nullptr) {
        branches.unlock();
        return finish(ready != nullptr ? *ready : *otherwise_);
    }
    const Branch* const claimed =
        park_any_or_throw(branches, deadline_, Purpose{"select", nullptr});
    if (claimed == nullptr) return late_;
    SelectCase& by = case_of(*claimed);
    return by.settle() ? &by : nullptr;
}

// The first few only: if none of those is ready, maybe none is, and all locks will be
// needed. Null: none was ready when it was asked.
SelectCase* Selection::begin_one_by_one() {
    constexpr std::size_t few = 2;
    for (std::size_t turn = 0; turn < std::min(few, cases_.size()); ++turn) {
        SelectCase& each = drawn(turn);
        SpinLock* const lock = each.lock();
        if (lock == nullptr) continue;
        const Held held{*lock};
        if (each.begin(*this)) return &each;
    }
    return nullptr;
}

// Null: none is ready.
SelectCase* Selection::begin_locked() {
    for (std::size_t turn = 0; turn < cases_.size(); ++turn) {
        SelectCase& each = drawn(turn);
        if (each.begin(*this)) return &each;
    }
    return nullptr;
}

void Selection::shuffle() noexcept {
    drawn_ = 0;
    for (std::uint32_t i = 0; i < cases_.size(); ++i) cases_[i]->drawn_ = i;
}

// One after the other, as far as they are asked for: who comes `turn`th.
SelectCase& Selection::drawn(std::size_t turn) noexcept {
    if (turn == drawn_) {
        const auto left = static_cast<std::uint32_t>(cases_.size() - drawn_);
        std::swap(cases_[turn]->drawn_, cases_[turn + random_.below(left)]->drawn_);
        ++drawn_;
    }
    return *cases_[cases_[turn]->drawn_];
}

SelectCase* Selection::finish(SelectCase& begun) {
    exchange_.finish();
    Worker::consume_budget();
    return &begun;
}

SelectCase& Selection::case_of(const Branch& branch) const noexcept {
    const auto found = std::find_if(cases_.begin(), cases_.end(), [&](const SelectCase* each) {
        return static_cast<const void*>(each->branch_) == &branch;
    });
    WEFT_ASSERT(found != cases_.end());
    return **found;
}

void Selection::wait_at(SelectCase& which, SpinLock& lock, WaitList& list, Meeting* meeting) {
    static_assert(sizeof(Branch) <= sizeof which.branch_ && alignof(Branch) <= alignof(void*));
    static_assert(std::is_trivially_destructible_v<Branch>);
    auto* const branch = ::new (static_cast<void*>(which.branch_)) Branch{lock, list};
    branches_->add(*branch);
    if (meeting == nullptr) return;
    branch->waiter.slot = meeting;
    const auto before = std::exchange(meeting->end, Meeting::End::served);
    branch->waiter.goes_first = before == Meeting::End::sent_back;
}

void Selection::wait_until(SelectCase& which, Deadline deadline) {
    if (late_ != nullptr && deadline_ <= deadline) return;
    late_ = &which;
    deadline_ = deadline;
}

void Selection::never_wait(SelectCase& which) {
    if (otherwise_ == nullptr) otherwise_ = &which;
}

// --- the cases ---

SpinLock* ChannelCase::lock() const noexcept {
    return channel_ == nullptr ? nullptr : &Exchange::lock_of(*channel_);
}

void ChannelSendCase::enlist(Selection& selection) {
    if (channel_ == nullptr) return;
    selection.wait_at(*this, Exchange::lock_of(*channel_), Exchange::senders_of(*channel_),
                      &meeting_);
}

bool ChannelSendCase::begin(Selection& selection) {
    return channel_ != nullptr && selection.exchange().begin_send(*channel_, meeting_.value);
}

bool ChannelSendCase::settle() {
    if (meeting_.end == Meeting::End::closed) throw ChannelClosed{};
    return meeting_.end == Meeting::End::served;
}

void ChannelRecvCase::enlist(Selection& selection) {
    if (channel_ == nullptr) return;
    selection.wait_at(*this, Exchange::lock_of(*channel_), Exchange::receivers_of(*channel_),
                      &meeting_);
}

bool ChannelRecvCase::begin(Selection& selection) {
    return channel_ != nullptr && selection.exchange().begin_recv(*channel_, meeting_.value);
}

bool ChannelRecvCase::settle() { return meeting_.end != Meeting::End::sent_back; }

void EventCase::enlist(Selection& selection) {
    selection.wait_at(*this, event_.waiters_.lock(), event_.waiters_);
}

SpinLock* EventCase::lock() const noexcept { return &event_.waiters_.lock(); }

bool EventCase::begin(Selection&) { return event_.set_.load(std::memory_order_relaxed); }

void AfterCase::enlist(Selection& selection) { selection.wait_until(*this, deadline_); }

void OtherwiseCase::enlist(Selection& selection) { selection.never_wait(*this); }

}  // namespace detail
}  // namespace weft
