// Layer: runtime. Uses: base, sched, park.
#include "runtime/stall.hpp"

#include "base/futex.hpp"
#include "base/sanitizer.hpp"
#include "park/deadlock.hpp"
#include "runtime/registry.hpp"
#include "sched/scheduler.hpp"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace weft::detail {

namespace {

using Schedulers = std::span<const Registered>;

// A thread of the sanitizer's own, which runs no code of the program.
#if defined(WEFT_TSAN)
constexpr std::size_t threads_of_sanitizer = 1;
#else
constexpr std::size_t threads_of_sanitizer = 0;
#endif

// What has changed by the second look if anybody moved in between.
struct Standstill {
    std::uint64_t rounds = 0;
    std::vector<BlockedThread> blocked;
    bool operator==(const Standstill&) const = default;
};

std::optional<Standstill> look(Schedulers all) {
    Standstill still;
    for (const Registered& each : all) {
        const auto rounds = each.scheduler->rounds_if_asleep();
        if (!rounds) return std::nullopt;
        still.rounds += *rounds;
    }
    still.blocked = blocked_threads();
    return still;
}

// The kernel's own, which carry operations out: none is in flight.
bool is_kernel_worker(const char* tid) {
    char name[32] = {};
    const std::string path = std::string{"/proc/self/task/"} + tid + "/comm";
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::fopen(path.c_str(), "re"),
                                                               &std::fclose};
    return file != nullptr && std::fgets(name, sizeof name, file.get()) != nullptr &&
           std::strncmp(name, "iou-", 4) == 0;
}

bool is_known(const char* text, Schedulers all, const Standstill& still) {
    pid_t tid = 0;
    std::from_chars(text, text + std::strlen(text), tid);
    return std::any_of(still.blocked.begin(), still.blocked.end(),
                       [tid](const BlockedThread& b) { return b.tid == tid; }) ||
           std::any_of(all.begin(), all.end(),
                       [tid](const Registered& r) { return r.scheduler->owns_thread(tid); }) ||
           is_kernel_worker(text);
}

// Whether every thread is known to stand still. False also when the list of
// them cannot be had whole.
bool threads_known(Schedulers all, const Standstill& still) {
    const std::unique_ptr<DIR, int (*)(DIR*)> tasks{opendir("/proc/self/task"), &closedir};
    if (tasks == nullptr) return false;
    std::size_t listed = 0;
    std::size_t unknown = 0;
    while (const dirent* entry = readdir(tasks.get())) {
        if (entry->d_name[0] == '.') continue;
        ++listed;
        if (!is_known(entry->d_name, all, still)) ++unknown;
    }
    struct stat directory {};
    const bool whole =
        fstat(dirfd(tasks.get()), &directory) == 0 && directory.st_nlink == listed + 2;
    return whole && unknown <= threads_of_sanitizer;
}

bool nothing_under_way(Schedulers all) {
    return std::all_of(all.begin(), all.end(),
                       [](const Registered& r) { return r.scheduler->nothing_under_way(); });
}

bool stands_still(Schedulers all) {
    const auto before = look(all);
    if (!before) return false;
    full_fence();
    if (!nothing_under_way(all) || !threads_known(all, *before)) return false;
    full_fence();
    return look(all) == before;
}

// All verdicts first: once a wait is ended, its runtime may soon be quiet.
void pass_verdict(std::span<Registered> all, const std::string& report) {
    bool is_new = false;
    for (Registered& each : all) {
        if (each.scheduler->settled() || !each.verdict.empty()) continue;
        each.verdict = report;
        is_new = true;
    }
    if (is_new) std::fputs(report.c_str(), stderr);
}

void end_waits(std::span<Registered> all) {
    std::string report = "weft: deadlock: no fiber can run, and nothing is left to wake one\n";
    for (const Registered& each : all) append_waits(report, *each.scheduler);
    pass_verdict(all, report);
    // Of one runtime: with its fibers others may go on.
    for (const Registered& each : all) {
        if (!each.scheduler->settled() && end_some_waits(*each.scheduler, report) != 0) return;
    }
    std::fprintf(stderr, "%s  and none of these waits can be ended\n", report.c_str());
    std::abort();
}

}  // namespace

bool look_for_stall(Scheduler& scheduler) noexcept {
    const Unobserved quiet;
    // With I/O or timers to come, a worker will wake, and sleep, and be asked about again.
    if (scheduler.settled() || !scheduler.nothing_under_way()) return false;
    try {
        visit_registered([](std::span<Registered> all) {
            if (stands_still(all)) end_waits(all);
        });
    } catch (const std::bad_alloc&) {
        // The next look finds the same.
    }
    // Also after a verdict: the waits that were ended may all be another runtime's.
    return true;
}

}  // namespace weft::detail
