// What a worker does on its thread's own stack: serve timers and the driver, look
// for work, rest. Layer: sched. Uses: base.
#include "base/sanitizer.hpp"
#include "sched/scheduler.hpp"
#include "sched/worker.hpp"

#include <utility>

namespace weft::detail {

void Worker::serve() noexcept {
    rounds_.add();
    next_round_ = tick_limit;
    if (attention_.load(std::memory_order_relaxed))
        attention_.store(false, std::memory_order_relaxed);
    if (stuck_.load(std::memory_order_relaxed)) stuck_.store(false, std::memory_order_relaxed);
    // What fibers begin waits for the end of their turns to be submitted.
    if (most_together_ != 0) judge_turn();
    serve_timers();
    driver_->poll();
    if (most_together_ != 0) served_ = detail::now();
}

// What sends made at once took does not count: together they would not have been in the turn,
// and those who send at once because a turn was long would make all turns long.
void Worker::judge_turn() noexcept {
    const std::int64_t apart = std::exchange(out_of_turn_ns_, 0);
    brisk_ = (detail::now() - served_).count() < brisk_turn_ns + apart;
}

// While the queue is crowded only some at a time: what more is due is better off in the
// heap, by the order of its times, than shed with half of the queue behind all who were
// injected. (100,000 fibers begun at once that sleep up to 0.1 s, 99th percentile on one
// worker: 284 ms late, 5 so.)
void Worker::serve_timers() noexcept {
    behind_ = false;
    if (timers_.next() == TimePoint::max()) return;
    const TimePoint now = detail::now();
    for (bool enough = false; !enough;) {
        const bool crowded = queue_.size() >= crowd;
        const std::size_t most = crowded ? what_fits(crowded_batch) : timer_batch;
        const std::size_t count = expire_timers(
            now, most, [&](FiberCore& fiber) { scheduler_.make_ready(fiber, Turn::in_order); });
        behind_ = crowded && count == most;
        enough = crowded || count == 0;
    }
}

// What is due here waited for nothing but the time, and has waited longer: before all
// who were injected.
std::size_t Worker::rescue_timers() noexcept {
    FiberCore* first = nullptr;
    FiberCore* last = nullptr;
    std::size_t resumed = 0;
    std::size_t linked = 0;
    const auto link = [&](FiberCore& fiber) {
        ++resumed;
        if (fiber.is_pinned()) return scheduler_.worker(fiber.home).enqueue_pinned(fiber);
        (first == nullptr ? first : last->next) = &fiber;
        last = &fiber;
        ++linked;
    };
    const TimePoint now = detail::now();
    while (expire_timers(now, timer_batch, link) != 0) continue;
    if (first == nullptr) return resumed;
    scheduler_.injected().push_urgent(first, last, linked);
    full_fence();  // as an outsider: see Idle::announce()
    scheduler_.wake(scheduler_.idle().notify());
    return resumed;
}

// Claims up to `most` that are due and hands on those that may run. Returns how many were due.
template <class Ready>
std::size_t Worker::expire_timers(TimePoint now, std::size_t most, Ready&& ready) noexcept {
    Ticket due[timer_batch];
    const std::size_t count = timers_.expire(now, due, most);
    for (std::size_t i = 0; i < count; ++i) {
        WaitWord<StdSync>& word = due[i].party->word();
        const Claim claim = word.claim(due[i].epoch, Wake::timed_out);
        if (claim == Claim::lost || !word.resume(claim)) continue;
        ready(static_cast<FiberCore&>(*due[i].party));
    }
    return count;
}

FiberCore* Worker::find_work() noexcept {
    const Unobserved quiet;
    for (;;) {
        if (scheduler_.stopping()) return nullptr;
        serve();
        adopt_injected();
        if (FiberCore* fiber = take_local()) return found(fiber);
        if (FiberCore* fiber = search()) return found(fiber);
        rest();
    }
}

// Somebody who searched must not be the last to look, if there is more to find.
FiberCore* Worker::found(FiberCore* fiber) noexcept {
    if (searching_) {
        searching_ = false;
        if (scheduler_.idle().leave_search()) {
            // A worker that pushed while we searched fenced lightly and woke
            // nobody. One that slept meanwhile has pushed nothing.
            const auto& idle = scheduler_.idle();
            if (idle.sleeping() + 1 < scheduler_.workers()) StdSync::heavy_fence();
            if (queue_.size() > 0 || work_in_sight()) scheduler_.wake_one();
        }
    }
    return fiber;
}

FiberCore* Worker::search() noexcept {
    if (thieves_ == Thieves::none) return nullptr;
    if (!searching_) searching_ = scheduler_.idle().begin_search();
    return searching_ ? steal() : nullptr;
}

FiberCore* Worker::steal() noexcept {
    const std::uint32_t count = scheduler_.workers();
    const std::uint32_t first = random_.below(count);
    const TimePoint now = detail::now();
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint32_t victim = (first + i) % count;
        if (victim == index_ || !worth_stealing(victim, now)) continue;
        Worker& from = scheduler_.worker(victim);
        std::uint32_t taken = 0;
        FiberCore* fiber = from.queue_.steal_into(queue_, taken);
        if (fiber == nullptr) fiber = from.lifo_.exchange(nullptr, std::memory_order_acq_rel);
        if (fiber == nullptr) continue;
        tallies.stolen.add(taken == 0 ? 1 : taken);
        observed_[victim] = {};
        return fiber;
    }
    return nullptr;
}

// A victim that makes progress will run a single fiber sooner than it could
// travel; one that does not for a few microseconds loses it.
bool Worker::worth_stealing(std::uint32_t victim, TimePoint now) noexcept {
    const Worker& from = scheduler_.worker(victim);
    if (from.queue_.size() >= 2) return true;
    if (from.queue_.empty() && from.lifo_.load(std::memory_order_relaxed) == nullptr) return false;
    if (from.stuck_.load(std::memory_order_relaxed) || scheduler_.setup().simulated) return true;
    Observed& seen = observed_[victim];
    const std::uint64_t ticks = from.ticks();
    if (seen.since != TimePoint{} && seen.ticks == ticks) {
        return now - seen.since >= std::chrono::nanoseconds{lone_patience_ns};
    }
    seen = Observed{ticks, now};
    return false;
}

// What a worker that goes to sleep must not leave behind. A single fiber of a
// worker that makes progress is none of it.
bool Worker::work_in_sight() const noexcept {
    if (!scheduler_.injected().empty() || !pinned_.empty()) return true;
    for (std::uint32_t i = 0; i < scheduler_.workers(); ++i) {
        const Worker& other = scheduler_.worker(i);
        if (&other == this) continue;
        if (other.queue_.size() >= 2) return true;
        if (other.stuck_.load(std::memory_order_relaxed) && other.has_stranded_work()) return true;
    }
    return false;
}

bool Worker::has_stranded_work() const noexcept {
    return !queue_.empty() || lifo_.load(std::memory_order_relaxed) != nullptr;
}

void Worker::rest() noexcept {
    auto& idle = scheduler_.idle();
    if (spin_pays() && spin_for_work()) return;  // goes on searching, if it did
    if (searching_) {
        searching_ = false;
        idle.leave_search();  // found nothing: nobody is to be woken
    }
    idle.announce(index_);
    if (work_in_sight() || driver_->ready() || scheduler_.stopping()) {
        // Who pushed it may have relied on the search that ended above.
        searching_ = idle.retract(index_) || idle.begin_search();
        scheduler_.watchdog().notice();
        return;
    }
    tallies.sleeps.add();
    const TimePoint before = detail::now();
    // What the wait delivers is told to others after it: still announced, this
    // worker would be the one it is told to.
    resting_ = true;
    driver_->wait(timers_.next());
    resting_ = false;
    searching_ = idle.retract(index_);
    scheduler_.watchdog().notice();
    if (queue_.size() >= 2) notify(false);
    note_rest((detail::now() - before).count());
}

// Waking a sleeper costs its waker microseconds and itself more: a worker whose
// last sleeps were short looks a while longer before the next one.
bool Worker::spin_pays() const noexcept {
    return scheduler_.setup().spin_limit_ns > 0 && spin_credit_ > 0;
}

void Worker::note_rest(std::int64_t slept_ns) noexcept {
    if (slept_ns < scheduler_.setup().spin_limit_ns) {
        if (spin_credit_ < most_spin_credit) ++spin_credit_;
    } else if (spin_credit_ > 0) {
        --spin_credit_;
    }
}

bool Worker::spin_for_work() noexcept {
    const TimePoint begin = detail::now();
    TimePoint now = begin;
    do {
        for (int i = 0; i < 8; ++i) {
            if (driver_->ready() || work_in_sight() || scheduler_.stopping()) {
                if (spin_credit_ < most_spin_credit) ++spin_credit_;
                return true;
            }
            cpu_relax();
        }
        now = detail::now();
        if (timers_.next() <= now) return true;
        if (searching_) {
            for (std::uint32_t i = 0; i < scheduler_.workers(); ++i) {
                if (i != index_ && worth_stealing(i, now)) return true;
            }
        }
    } while ((now - begin).count() < scheduler_.setup().spin_limit_ns);
    --spin_credit_;
    return false;
}

}  // namespace weft::detail
