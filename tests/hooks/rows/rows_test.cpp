// Every row of the table of hooks, called on a plain thread and in fibers. See rows.hpp.
#include "hooks/rows/rows.hpp"

#include <signal.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <thread>

using namespace weft::test;
using namespace weft::hooks::detail;

namespace {

struct Row {
    Category category;
    std::string_view name;
    void (*check)(Seen&);
};
#define WEFT_MAKE_ROW(category, result, name, parameters) Row{category, #name, &case_##name},
constexpr Row rows[] = {WEFT_HOOKS(WEFT_MAKE_ROW)};
#undef WEFT_MAKE_ROW

unsigned long long calls_of(std::string_view name) {
    for (const auto& each : weft::hooks::report().symbols) {
        if (each.name == name) return each.taken + each.passed;
    }
    return 0;
}

/// What ends the waits of others is not asked whether it is patched, and so not counted.
constexpr std::string_view not_counted[] = {"__cxa_guard_abort",
                                            "__cxa_guard_acquire",
                                            "__cxa_guard_release",
                                            "cnd_broadcast",
                                            "cnd_signal",
                                            "mtx_unlock",
                                            "pthread_barrier_destroy",
                                            "pthread_barrier_init",
                                            "pthread_cond_broadcast",
                                            "pthread_cond_signal",
                                            "pthread_key_create",
                                            "pthread_key_delete",
                                            "pthread_mutex_unlock",
                                            "pthread_rwlock_unlock",
                                            "sem_post",
                                            "tss_create",
                                            "tss_delete"};

/// What is another name of a hook's counts for that.
constexpr std::string_view other_names[] = {"_IO_popen",
                                            "__pthread_getspecific",
                                            "__pthread_key_create",
                                            "__pthread_mutex_lock",
                                            "__pthread_mutex_trylock",
                                            "__pthread_mutex_unlock",
                                            "__pthread_once",
                                            "__pthread_rwlock_rdlock",
                                            "__pthread_rwlock_tryrdlock",
                                            "__pthread_rwlock_trywrlock",
                                            "__pthread_rwlock_unlock",
                                            "__pthread_rwlock_wrlock",
                                            "__pthread_setspecific",
                                            "__sched_yield"};

bool is_counted(const Row& row) {
    return std::ranges::find(other_names, row.name) == std::end(other_names) &&
           row.category != c_always && row.category != c_runner &&
           std::ranges::find(not_counted, row.name) == std::end(not_counted);
}

// So that none of these goes anywhere but to who asks for it: every thread inherits it.
const int blocked_everywhere = [] {
    sigset_t asked_for;
    sigemptyset(&asked_for);
    sigaddset(&asked_for, SIGUSR1);
    sigaddset(&asked_for, SIGUSR2);
    return ::pthread_sigmask(SIG_BLOCK, &asked_for, nullptr);
}();

}  // namespace

TEST_CASE("every row of the table answers as libc, and is called", "[hooks][rows]") {
    REQUIRE(blocked_everywhere == 0);
    ::signal(SIGPIPE, SIG_IGN);
    weft::hooks::patch_all();

    std::array<std::string, std::size(rows)> plain;
    for (std::size_t i = 0; i < std::size(rows); ++i) {
        const auto before = calls_of(rows[i].name);
        std::thread{[&] {
            Seen seen;
            rows[i].check(seen);
            plain[i] = seen.text();
        }}.join();
        INFO(rows[i].name);
        CHECK_FALSE(plain[i].empty());
        CHECK(calls_of(rows[i].name) == before);
    }
    on_workers_and_io([&] {
        for (std::size_t i = 0; i < std::size(rows); ++i) {
            const auto before = calls_of(rows[i].name);
            Seen seen;
            weft::spawn([&] { rows[i].check(seen); }).get();
            INFO(rows[i].name);
            CHECK(seen.text() == plain[i]);
            CHECK((calls_of(rows[i].name) > before || !is_counted(rows[i])));
        }
    });
}
