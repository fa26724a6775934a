// Layer: park. Uses: base, sched.
#include "park/deadlock.hpp"

#include "park/describe.hpp"
#include "sched/scheduler.hpp"

#include <weft/deadlock.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
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

bool break_wait(Party& party, std::uint64_t epoch, const std::string& report) {
    {
        const std::lock_guard hold{reports().mutex};
        reports().left.emplace_back(&party, report);
    }
    const bool ended = end_wait(party, epoch, Wake::deadlocked);
    if (!ended) take_report(party);
    return ended;
}

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
        if (!fiber.word().freeze()) return;
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
    interrupt(*standing.fiber);
    return !standing.fiber->word().is_armed(standing.epoch);
}

}  // namespace

void throw_deadlock() { throw Deadlock{take_report(this_party())}; }

void append_waits(std::string& text, Scheduler& scheduler) {
    scheduler.table().for_each([&](FiberCore& fiber) {
        if (!fiber.word().freeze()) return;
        const FrozenWait wait{fiber};
        append(text, fiber);
        text += "\n";
        append(text, wait);
        if (fiber.word().commit()) scheduler.make_ready(fiber, Turn::in_order);
    });
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
