// Layer: sched. Uses: base.
#include "sched/timer_queue.hpp"

#include <algorithm>
#include <mutex>
#include <new>

namespace weft::detail {

namespace {
constexpr std::size_t arity = 4;
constexpr std::size_t initial_room = 256;
constexpr std::size_t least_to_sweep = 64;
}  // namespace

TimerQueue::TimerQueue() { heap_.reserve(initial_room); }

void TimerQueue::add(TimePoint when, Ticket ticket, Spare& spare) noexcept {
    std::lock_guard hold{lock_};
    const auto dead = left_behind_.load(std::memory_order_relaxed);
    if (dead > least_to_sweep && dead > heap_.size() / 2) sweep();
    if (push(Entry{when, ticket})) {
        sift_up(heap_.size() - 1);
    } else {
        link(spare, when, ticket);
    }
    publish_next();
}

bool TimerQueue::push(const Entry& entry) noexcept {
    try {
        heap_.push_back(entry);
        return true;
    } catch (const std::bad_alloc&) {
        // Only if that makes room for many: this may be so for each that follows.
        if (left_behind_.load(std::memory_order_relaxed) <= heap_.size() / 8) return false;
        sweep();
        if (heap_.size() == heap_.capacity()) return false;
        heap_.push_back(entry);
        return true;
    }
}

void TimerQueue::left_behind(Spare& spare) noexcept {
    left_behind_.fetch_add(1, std::memory_order_relaxed);
    // Its own entry is linked before it parks, so it cannot miss that.
    if (!has_spares_.load(std::memory_order_relaxed)) return;
    std::lock_guard hold{lock_};
    if (spare.link != nullptr) unlink(spare);
}

// Requires lock_.
void TimerQueue::link(Spare& spare, TimePoint when, const Ticket& ticket) noexcept {
    spare = Spare{when, ticket, spares_, &spares_};
    if (spares_ != nullptr) spares_->link = &spare.next;
    spares_ = &spare;
    next_spare_ = std::min(next_spare_, when);
    has_spares_.store(true, std::memory_order_relaxed);
}

// Requires lock_.
void TimerQueue::unlink(Spare& spare) noexcept {
    *spare.link = spare.next;
    if (spare.next != nullptr) spare.next->link = spare.link;
    spare.link = nullptr;
    if (spares_ != nullptr) return;
    next_spare_ = TimePoint::max();
    has_spares_.store(false, std::memory_order_relaxed);
}

// Requires lock_.
std::size_t TimerQueue::expire_spares(TimePoint now, Ticket* out, std::size_t most) noexcept {
    std::size_t count = 0;
    next_spare_ = TimePoint::max();
    for (Spare *spare = spares_, *next = nullptr; spare != nullptr; spare = next) {
        next = spare->next;
        if (spare->when > now || count == most) {
            next_spare_ = std::min(next_spare_, spare->when);
            continue;
        }
        out[count++] = spare->ticket;
        unlink(*spare);
    }
    return count;
}

std::size_t TimerQueue::expire(TimePoint now, Ticket* out, std::size_t most) noexcept {
    if (next() > now) return 0;
    std::lock_guard hold{lock_};
    std::size_t count = next_spare_ > now ? 0 : expire_spares(now, out, most);
    while (count < most && !heap_.empty() && heap_.front().when <= now) {
        out[count++] = heap_.front().ticket;
        pop_front();
    }
    publish_next();
    return count;
}

std::size_t TimerQueue::live() noexcept {
    std::lock_guard hold{lock_};
    return static_cast<std::size_t>(
        std::count_if(heap_.begin(), heap_.end(), [](const Entry& e) { return !is_over(e); }));
}

bool TimerQueue::any_live() noexcept {
    std::lock_guard hold{lock_};
    return spares_ != nullptr || !std::all_of(heap_.begin(), heap_.end(), is_over);
}

bool TimerQueue::is_over(const Entry& entry) noexcept {
    return !entry.ticket.party->word().is_armed(entry.ticket.epoch);
}

// Requires lock_. Times are unique to nobody: equal ones may change places.
void TimerQueue::sweep() noexcept {
    std::erase_if(heap_, is_over);
    left_behind_.store(0, std::memory_order_relaxed);
    if (heap_.size() < 2) return;
    for (std::size_t i = (heap_.size() - 2) / arity + 1; i-- > 0;) sift_down(i);
}

void TimerQueue::pop_front() noexcept {
    heap_.front() = heap_.back();
    heap_.pop_back();
    if (!heap_.empty()) sift_down(0);
}

void TimerQueue::sift_up(std::size_t index) noexcept {
    const Entry entry = heap_[index];
    while (index > 0) {
        const std::size_t parent = (index - 1) / arity;
        if (heap_[parent].when <= entry.when) break;
        heap_[index] = heap_[parent];
        index = parent;
    }
    heap_[index] = entry;
}

void TimerQueue::sift_down(std::size_t index) noexcept {
    const Entry entry = heap_[index];
    const std::size_t size = heap_.size();
    for (;;) {
        const std::size_t first = index * arity + 1;
        if (first >= size) break;
        const std::size_t end = std::min(first + arity, size);
        std::size_t least = first;
        for (std::size_t child = first + 1; child < end; ++child) {
            if (heap_[child].when < heap_[least].when) least = child;
        }
        if (heap_[least].when >= entry.when) break;
        heap_[index] = heap_[least];
        index = least;
    }
    heap_[index] = entry;
}

void TimerQueue::publish_next() noexcept {
    const TimePoint next = heap_.empty() ? TimePoint::max() : heap_.front().when;
    next_.store(std::min(next, next_spare_).time_since_epoch().count(), std::memory_order_relaxed);
}

}  // namespace weft::detail
