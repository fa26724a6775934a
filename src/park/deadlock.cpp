// Layer: park. Uses: base, sched.
#include "park/deadlock.hpp"

#include "base/sanitizer.hpp"
#include "base/sync.hpp"
#include "park/describe.hpp"
#include "park/thread_party.hpp"
#include "sched/scheduler.hpp"

#include <weft/deadlock.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace weft {

Deadlock::Deadlock(std::string_view report) noexcept
    : report_{strndup(report.data(), report.size())} {}
Deadlock::Deadlock(const Deadlock& other) noexcept
    : std::exception{other}, report_{other.report_ == nullptr ? nullptr : strdup(other.report_)} {}
Deadlock::~Deadlock() { std::free(report_); }
const char* Deadlock::what() const noexcept {
    return report_ == nullptr ? "weft: deadlock, and no memory for its report" : report_;
}

namespace detail {

namespace {

// What those whose wait is ended will throw.
struct Reports {
    std::mutex mutex;
    std::vector<std::pair<const Party*, std::string>> left;  // guarded by mutex
};

// Never destroyed: fibers may be unwinding during exit().
Reports& reports() {
    static auto* const instance = new Reports;
    return *instance;
}

std::string take_report(const Party& party) {
    const std::lock_guard hold{reports().mutex};
    auto& left = reports().left;
    const auto found =
        std::find_if(left.begin(), left.end(), [&](const auto& e) { return e.first == &party; });
    if (found == left.end()) return {};
    std::string report = std::move(found->second);
    left.erase(found);
    return report;
}

void leave_report(const Party& party, const std::string& report) {
    const std::lock_guard hold{reports().mutex};
    reports().left.emplace_back(&party, report);
}

bool break_wait(Party& party, std::uint64_t epoch, const std::string& report) {
    leave_report(party, report);
    const bool ended = end_wait(party, epoch, Wake::deadlocked);
    if (!ended) take_report(party);
    return ended;
}

// --- cycles ---

// The detector's lock. A mutex, for a report takes long.
std::mutex& detector() {
    static auto* const instance = new std::mutex;
    return *instance;
}

// From the caller to the owner of what it waits for, and so on. Holds the
// detector's lock and freezes those it comes to.
class Walk {
public:
    explicit Walk(Party& start) : start_{start} {}
    Walk(const Walk&) = delete;
    Walk& operator=(const Walk&) = delete;
    ~Walk() {
        for (const Step& step : steps_) {
            if (step.party->word().commit()) make_ready(*step.party, Turn::in_order);
        }
    }

    /// Whether the way comes back to the start.
    bool comes_back(const Purpose& purpose) {
        for (Purpose edge = purpose;;) {
            Party* const owner = edge.owner(edge.object);
            if (owner == &start_) return all_armed();
            if (owner == nullptr || has_met(*owner) || !step_to(*owner)) return false;
            if (edge.owner(edge.object) != owner) return false;
            edge = steps_.back().purpose;
            if (edge.owner == nullptr) return false;
        }
    }

    /// The first that takes it for an answer, if any.
    Party* breakable() const noexcept {
        for (const Step& step : steps_) {
            if (step.purpose.breakable) return step.party;
        }
        return nullptr;
    }

    std::string report(const Purpose& purpose) const {
        std::string text = "weft: deadlock: a cycle of " + std::to_string(steps_.size() + 1) +
                           ", each waiting for the next\n";
        append(text, start_);
        text += "\n  ";
        append(text, purpose, steps_.empty() ? &start_ : steps_.front().party);
        text += "\n";
        append(text, stack_here());
        for (const Step& step : steps_) {
            append(text, *step.party);
            text += "\n";
            append(text, FrozenWait{*step.party});
        }
        return text;
    }

private:
    struct Step {
        Party* party;
        std::uint64_t epoch;
        Purpose purpose;
    };

    static bool freeze(Party& party) noexcept {
        for (unsigned turn = 0; party.awaits_owner(); ++turn) {
            if (party.word().freeze()) return true;
            if (!party.word().is_armed() || party.checking()) return false;
            spin_pause(turn);
        }
        return false;
    }

    // Makes room first: what is frozen must be in steps_.
    bool step_to(Party& party) {
        steps_.push_back({&party, 0, {}});
        if (!freeze(party)) {
            steps_.pop_back();
            return false;
        }
        steps_.back().epoch = party.word().epoch();
        steps_.back().purpose = *purpose_of(party);
        return true;
    }

    bool has_met(const Party& party) const noexcept {
        return std::any_of(steps_.begin(), steps_.end(),
                           [&](const Step& step) { return step.party == &party; });
    }

    bool all_armed() const noexcept {
        return std::all_of(steps_.begin(), steps_.end(), [](const Step& step) {
            return step.party->word().is_armed(step.epoch);
        });
    }

    const std::unique_lock<std::mutex> hold_{detector(), std::adopt_lock};
    Party& start_;
    std::vector<Step> steps_;
};

// Requires: the detector's lock, which it releases.
bool walk(Ticket ticket, const Purpose& purpose) {
    Party& me = *ticket.party;
    Walk walk{me};
    if (!walk.comes_back(purpose)) return false;
    Party* const victim = purpose.breakable ? &me : walk.breakable();
    if (victim == nullptr) return false;
    const std::string report = walk.report(purpose);
    if (victim != &me) {
        break_wait(*victim, victim->word().epoch(), report);
        return false;
    }
    leave_report(me, report);
    if (me.word().claim(ticket.epoch, Wake::deadlocked) != Claim::lost) return true;
    take_report(me);
    return false;
}

// --- standstill ---

// A fiber in a wait, held by a reference.
struct Standing {
    FiberCore* fiber;
    std::uint64_t epoch;
    bool breakable;
    int rank;  // the lowest are ended first
};

int rank_of(const FrozenWait& wait) noexcept {
    constexpr int nobodys = 0;
    constexpr int a_lock = 2;
    constexpr int a_fiber = 3;
    if (wait.purpose.owner == nullptr) return nobodys;
    return wait.owner == wait.purpose.object ? a_fiber : a_lock;
}

void set_oldest_apart(std::vector<Standing>& standing) {
    constexpr int oldest = 1;
    Standing* found = nullptr;
    for (Standing& each : standing) {
        if (each.rank != 0) continue;
        if (found == nullptr || each.fiber->id.load() < found->fiber->id.load()) found = &each;
    }
    if (found != nullptr) found->rank = oldest;
}

std::vector<Standing> standing_in(Scheduler& scheduler) {
    std::vector<Standing> standing;
    scheduler.table().for_each([&](FiberCore& fiber) {
        if (!fiber.word().freeze_patiently()) return;
        const std::uint64_t epoch = fiber.word().epoch();
        const FrozenWait wait{fiber};
        if (fiber.word().commit()) return scheduler.make_ready(fiber, Turn::in_order);
        retain(&fiber);
        standing.push_back({&fiber, epoch, wait.purpose.breakable, rank_of(wait)});
    });
    set_oldest_apart(standing);
    return standing;
}

bool end_wait_of(const Standing& standing, const std::string& report) {
    if (standing.breakable) return break_wait(*standing.fiber, standing.epoch, report);
    // Of no use now, it would hit the fiber when others have helped it on.
    if (standing.fiber->word().cancellable_epoch() != standing.epoch) return false;
    interrupt_at_standstill(*standing.fiber);
    return true;
}

}  // namespace

constinit std::atomic<bool> cycles_watched{false};

void watch_cycles() noexcept { cycles_watched.store(true, std::memory_order_relaxed); }

bool closes_cycle(Ticket ticket, const Purpose& purpose) noexcept {
    const Unobserved quiet;
    full_fence();  // pairs with itself, in those that close the same cycle
    const Party* const owner = purpose.owner(purpose.object);
    if (owner == nullptr || !owner->awaits_owner()) return false;
    Party& me = *ticket.party;
    me.set_checking(true);
    detector().lock();
    me.set_checking(false);
    try {
        return walk(ticket, purpose);
    } catch (const std::bad_alloc&) {
        return false;  // a deadlock without a report is left to who looks for a standstill
    }
}

void throw_deadlock() { throw Deadlock{take_report(this_party())}; }

void append_waits(std::string& text, Scheduler& scheduler) {
    constexpr std::size_t most = 1000;
    std::size_t count = 0;
    scheduler.table().for_each([&](FiberCore& fiber) {
        if (!fiber.word().freeze_patiently()) return;
        if (++count <= most) {
            append(text, fiber);
            text += "\n";
            append(text, FrozenWait{fiber});
        }
        if (fiber.word().commit()) scheduler.make_ready(fiber, Turn::in_order);
    });
    if (count > most) text += "and " + std::to_string(count - most) + " more\n";
}

std::size_t end_some_waits(Scheduler& scheduler, const std::string& report) {
    const std::vector<Standing> standing = standing_in(scheduler);
    std::size_t ended = 0;
    for (int rank = 0; rank <= 3 && ended == 0; ++rank) {
        for (const Standing& each : standing) {
            if (each.rank == rank && end_wait_of(each, report)) ++ended;
        }
    }
    for (const Standing& each : standing) release(each.fiber);
    return ended;
}

}  // namespace detail
}  // namespace weft
