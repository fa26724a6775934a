// Layer: park. Uses: base, sched.
#include "park/select.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "park/thread_party.hpp"
#include "sched/worker.hpp"

#include <array>
#include <functional>
#include <utility>

namespace weft::detail {

namespace {

bool comes_after(const Branch& a, const Branch& b) noexcept {
    return std::greater<SpinLock*>{}(a.lock, b.lock);
}

// Of equals those of `a` first.
Branch* merge(Branch* a, Branch* b) noexcept {
    Branch* merged = nullptr;
    Branch** last = &merged;
    while (a != nullptr && b != nullptr) {
        Branch*& smaller = comes_after(*a, *b) ? b : a;
        *last = smaller;
        last = &smaller->next;
        smaller = smaller->next;
    }
    *last = a != nullptr ? a : b;
    return merged;
}

// Merges lists of equal length as they come about, like a binary counter.
Branch* sort(Branch* list) noexcept {
    std::array<Branch*, 32> runs{};  // runs[i]: none, or 2^i branches in order
    while (list != nullptr) {
        Branch* run = std::exchange(list, list->next);
        run->next = nullptr;
        std::size_t i = 0;
        for (; runs[i] != nullptr; ++i) run = merge(std::exchange(runs[i], nullptr), run);
        runs[i] = run;
    }
    Branch* all = nullptr;
    for (Branch* run : runs) all = merge(run, all);
    return all;
}

}  // namespace

void Branches::add(Branch& branch) noexcept {
    WEFT_ASSERT(!locked_);
    sorted_ = sorted_ && (last_ == nullptr || !comes_after(*last_, branch));
    (last_ == nullptr ? first_ : last_->next) = &branch;
    last_ = &branch;
}

void Branches::lock() noexcept {
    if (!sorted_) first_ = sort(first_);
    sorted_ = true;
    locked_ = true;
    const SpinLock* held = nullptr;
    for (Branch* branch = first_; branch != nullptr; branch = branch->next) {
        if (branch->lock != held) branch->lock->lock();
        held = branch->lock;
    }
}

void Branches::unlock() noexcept {
    locked_ = false;
    for (Branch* branch = first_; branch != nullptr; branch = branch->next) {
        const bool is_last = branch->next == nullptr || branch->next->lock != branch->lock;
        if (is_last) branch->lock->unlock();
    }
}

void Branches::queue_all(Ticket ticket) noexcept {
    for (Branch* branch = first_; branch != nullptr; branch = branch->next) {
        branch->waiter.ticket = ticket;
        branch->queue->push(branch->waiter);
    }
}

// Who claimed one has unlinked it, and may destroy its queue soon. Of those whose
// claim failed the notifier may still be about to say so: hence the lock.
Branch* Branches::unlink_all() noexcept {
    Branch* claimed = nullptr;
    for (Branch* branch = first_; branch != nullptr; branch = branch->next) {
        if (branch->was_claimed()) {
            WEFT_ASSERT(claimed == nullptr);
            claimed = branch;
            continue;
        }
        const Held held{*branch->lock};
        branch->queue->remove(branch->waiter);
    }
    return claimed;
}

Wake park_any(Branches& branches, Branch*& claimed, Deadline deadline, Cancellable cancellable,
              const Purpose& purpose) noexcept {
    WEFT_ASSERT(branches.locked_);
    claimed = nullptr;
    Party& me = this_party();
    const Limit limit{me, deadline, cancellable};
    if (const auto over = limit.over()) {
        branches.unlock();
        if (*over == Wake::timed_out) Worker::consume_budget();  // as in park()
        return *over;
    }
    me.set_awaits_owner(false);  // one of several may come from anybody
    const Ticket ticket{&me, me.word().arm(limit.cancellable())};
    branches.queue_all(ticket);
    branches.unlock();
    const Wake why = suspend(ticket, limit, purpose);
    claimed = branches.unlink_all();
    WEFT_ASSERT((claimed != nullptr) == (why == Wake::notified));
    return why;
}

Branch* park_any_or_throw(Branches& branches, Deadline deadline, const Purpose& purpose) {
    Branch* claimed = nullptr;
    notified_or_throw(park_any(branches, claimed, deadline, Cancellable::yes, purpose));
    return claimed;
}

Random draw_random() noexcept {
    const Unobserved quiet;  // a worker's fibers share its source
    Worker* const worker = Worker::current();
    Random& own = worker != nullptr ? worker->random() : ThreadParty::of_this_thread().random;
    return Random{own.next()};
}

}  // namespace weft::detail
