// Layer: sched. Uses: base.
#include "sched/watchdog.hpp"

#include "base/futex.hpp"
#include "base/own_thread.hpp"
#include "base/sanitizer.hpp"
#include "base/thread_state.hpp"
#include "sched/scheduler.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace weft::detail {

void Watchdog::start() {
    seen_.resize(scheduler_.workers());
    trimmer_.step();  // takes its memory, before anybody counts
    thread_ = start_own_thread([this] { run(); });
}

void Watchdog::stop() noexcept {
    stopping_.store(true, std::memory_order_seq_cst);
    wake();
    if (thread_.joinable()) thread_.join();
}

void Watchdog::run() noexcept {
    prctl(PR_SET_TIMERSLACK, 1000);
    tid_.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_relaxed);
    const Unobserved quiet;
    std::uint32_t turns_asleep = 0;
    while (!stopping_.load(std::memory_order_seq_cst)) {
        turns_asleep = look() ? 0 : turns_asleep + 1;
        if (!rescues_now_) trimmer_.step();
        if (scheduler_.stacks().trim() != 0) {
            sleep_for(turn_ns);
        } else if (turns_asleep < idle_turns) {
            sleep_for(next_turn_ns());
        } else {
            sleep_until_noticed();
            turns_asleep = 0;
        }
    }
}

bool Watchdog::look() noexcept {
    bool any_awake = false;
    enough_ = CpuTime{next_turn_ns() / 2};
    rescues_now_ = false;
    if (alert_ > 0) --alert_;
    for (std::uint32_t i = 0; i < scheduler_.workers(); ++i) {
        if (scheduler_.idle().is_asleep(i)) {
            seen_[i].was_running = false;
            continue;
        }
        any_awake = true;
        look_at(scheduler_.worker(i), seen_[i]);
    }
    // Those awake may be long busy with what they have.
    if (any_awake && !scheduler_.injected().empty()) scheduler_.wake_one();
    return any_awake;
}

void Watchdog::look_at(Worker& worker, Seen& seen) noexcept {
    const Seen before = seen;
    seen.was_running = worker.fiber() != nullptr;
    if (!seen.was_running) return;
    seen.ticks = worker.ticks();
    seen.rounds = worker.rounds();
    // Where nobody says what it used, it is taken for all of the time.
    seen.used = cpu_time_of_thread(worker.tid())
                    .value_or(std::chrono::steady_clock::now().time_since_epoch());
    const bool same_round = before.was_running && seen.rounds == before.rounds;
    const bool same_fiber = same_round && seen.ticks == before.ticks;
    if (!same_round) seen.at_round = seen.used;
    if (!same_fiber) seen.at_tick = seen.used;
    if (!same_round) return;
    worker.ask_for_attention();
    const bool ran = seen.used != before.used;
    if (!ran && worker.thread_state().is_runnable()) {
        // Others have its CPU, and what it has to do they may do.
        if (same_fiber && scheduler_.workers() > 1 && relieve(worker)) count_rescue();
        return;
    }
    // It ran, or sleeps in a system call.
    if (ran && seen.used - seen.at_round < enough_) return;
    alert_ = alert_turns;
    if (same_fiber && (!ran || seen.used - seen.at_tick >= enough_)) rescue(worker);
}

void Watchdog::rescue(Worker& worker) noexcept {
    rescues_now_ = true;
    const bool timers = relieve(worker);
    const bool completions = worker.driver().rescue(worker.tid());
    if (timers || completions) count_rescue();
}

/// Of what others can do for it. Whether there were timers.
bool Watchdog::relieve(Worker& worker) noexcept {
    worker.set_stuck(true);
    const bool timers = worker.rescue_timers() > 0;
    if (worker.has_stranded_work()) scheduler_.wake_one();
    return timers;
}

std::int64_t Watchdog::next_turn_ns() const noexcept {
    if (rescues_now_) return rescue_turn_ns;
    return alert_ > 0 ? turn_ns : calm_turn_ns;
}

void Watchdog::sleep_for(std::int64_t turn) noexcept {
    const std::uint32_t seen = signal_.load(std::memory_order_seq_cst);
    if (stopping_.load(std::memory_order_seq_cst)) return;
    futex_wait(signal_, seen, std::chrono::steady_clock::now() + std::chrono::nanoseconds{turn});
}

// notice() reads asleep_ after its worker left the sleepers; here it is written
// before they are looked at once more. One of the two sees the other.
void Watchdog::sleep_until_noticed() noexcept {
    const std::uint32_t seen = signal_.load(std::memory_order_seq_cst);
    asleep_.store(true, std::memory_order_seq_cst);
    std::chrono::nanoseconds patience{first_patience_ns};
    rounds_left_ = rounds_at_rest;
    TimePoint next_question{};
    while (rests_since(seen)) {
        const auto now = std::chrono::steady_clock::now();
        if (now >= next_question) {
            const auto at_rest = scheduler_.setup().at_rest;
            const bool again = at_rest != nullptr && at_rest(scheduler_);
            next_question = again ? now + patience : TimePoint::max();
            patience = std::min(2 * patience, std::chrono::nanoseconds{most_patience_ns});
        }
        const TimePoint next_round = rounds_left_ > 0 ? trimmer_.due() : TimePoint::max();
        if (now >= next_round) {
            trim_while_resting(seen);
        } else {
            futex_wait(signal_, seen, std::min(next_question, next_round));
        }
    }
    asleep_.store(false, std::memory_order_seq_cst);
}

/// One round. Not at rest meanwhile: whom the trimmer has frozen another may have resumed.
void Watchdog::trim_while_resting(std::uint32_t seen) noexcept {
    trims_.fetch_add(1, std::memory_order_seq_cst);
    asleep_.store(false, std::memory_order_seq_cst);
    bool over = false;
    while (!over && rests_since(seen)) over = trimmer_.step();
    if (over) --rounds_left_;
    asleep_.store(true, std::memory_order_seq_cst);
}

bool Watchdog::rests_since(std::uint32_t seen) const noexcept {
    return all_asleep() && signal_.load(std::memory_order_seq_cst) == seen &&
           !stopping_.load(std::memory_order_seq_cst);
}

bool Watchdog::all_asleep() const noexcept {
    return scheduler_.idle().sleeping() == scheduler_.workers();
}

void Watchdog::wake() noexcept {
    signal_.fetch_add(1, std::memory_order_seq_cst);
    futex_wake_all(&signal_);
}

}  // namespace weft::detail
