// The rows of threads, and of what is done once or kept for each.
#include "hooks/rows/rows.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include <climits>
#include <csetjmp>
#include <cstdint>
#include <cstring>

namespace weft::test {

namespace {

const timespec past{1, 0};

void* seven(void*) { return reinterpret_cast<void*>(7); }

/// Waits until it is told to end.
class Waiting {
public:
    Waiting() {
        ::sem_init(&told_, 0, 0);
        ::pthread_create(&thread, nullptr, &Waiting::wait, &told_);
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() {
        ::sem_post(&told_);
        ::pthread_join(thread, nullptr);
    }
    pthread_t thread;

private:
    static void* wait(void* told) {
        ::sem_wait(static_cast<sem_t*>(told));
        return nullptr;
    }
    sem_t told_;
};

/// As `call(thread, result)`.
template <class Call>
void joins(Seen& seen, Call&& call) {
    pthread_t thread;
    ::pthread_create(&thread, nullptr, &seven, nullptr);
    void* result = nullptr;
    seen.of("joined", [&] { return call(thread, &result); });
    seen.note("result", reinterpret_cast<long>(result));
}

/// As `call(thread, result, until)`.
template <class Call>
void joins_until(Seen& seen, Call&& call) {
    const timespec future{LONG_MAX, 0};
    joins(seen, [&](auto&&... arguments) { return call(arguments..., &future); });
    const Waiting other;
    seen.of("in vain", [&] { return call(other.thread, nullptr, &past); });
}

}  // namespace

WEFT_ROW(pthread_join) {
    joins(seen, [](auto&&... arguments) { return row_pthread_join(arguments...); });
}
WEFT_ROW(pthread_timedjoin_np) {
    joins_until(seen, [](auto&&... arguments) { return row_pthread_timedjoin_np(arguments...); });
}
WEFT_ROW(pthread_clockjoin_np) {
    for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC}) {
        joins_until(seen, [=](pthread_t thread, void** result, const timespec* until) {
            return row_pthread_clockjoin_np(thread, result, clock, until);
        });
    }
}
WEFT_ROW(thrd_join) {
    thrd_t thread;
    ::thrd_create(
        &thread, [](void*) { return 7; }, nullptr);
    int result = 0;
    seen.of("joined", [&] { return row_thrd_join(thread, &result); });
    seen.note("result", result);
}

// --- once, guards and keys ---

namespace {

thread_local int times = 0;
void count_time() { ++times; }

/// As `create(key, destroy)`, `set(key, value)`, `get(key)` and `remove(key)`.
template <class Key, class Create, class Set, class Get, class Remove>
void keeps(Seen& seen, Create&& create, Set&& set, Get&& get, Remove&& remove) {
    Key key{};
    int value = 0;
    seen.of("create", [&] { return create(&key, nullptr); });
    seen.note("nothing yet", get(key) == nullptr);
    seen.of("set", [&] { return set(key, &value); });
    seen.note("kept", get(key) == &value);
    seen.of("remove", [&] {
        remove(key);
        return 0;
    });
    seen.note("no key", set(Key{100'000}, &value));
    seen.note("nothing", get(Key{100'000}) == nullptr);
}

void keeps_by_key(Seen& seen) {
    keeps<pthread_key_t>(
        seen, [](auto&&... arguments) { return row_pthread_key_create(arguments...); },
        [](auto&&... arguments) { return row_pthread_setspecific(arguments...); },
        [](auto&&... arguments) { return row_pthread_getspecific(arguments...); },
        [](auto&&... arguments) { return row_pthread_key_delete(arguments...); });
}
void keeps_by_other_names(Seen& seen) {
    keeps<pthread_key_t>(
        seen, [](auto&&... arguments) { return row___pthread_key_create(arguments...); },
        [](auto&&... arguments) { return row___pthread_setspecific(arguments...); },
        [](auto&&... arguments) { return row___pthread_getspecific(arguments...); },
        [](auto&&... arguments) { return row_pthread_key_delete(arguments...); });
}
void keeps_by_plain_key(Seen& seen) {
    keeps<tss_t>(
        seen, [](auto&&... arguments) { return row_tss_create(arguments...); },
        [](auto&&... arguments) { return row_tss_set(arguments...); },
        [](auto&&... arguments) { return row_tss_get(arguments...); },
        [](auto&&... arguments) { return row_tss_delete(arguments...); });
}

/// A guard goes from new to done by release, and back to new by abort.
void guards(Seen& seen) {
    alignas(8) int guard[2] = {};
    seen.note("first", row___cxa_guard_acquire(guard));
    row___cxa_guard_abort(guard);
    seen.note("after abort", row___cxa_guard_acquire(guard));
    row___cxa_guard_release(guard);
    seen.note("after release", row___cxa_guard_acquire(guard));
}

/// As `call(control, routine)`.
template <class Call>
void runs_once(Seen& seen, Call&& call) {
    times = 0;
    pthread_once_t once = PTHREAD_ONCE_INIT;
    for (int i = 0; i < 2; ++i) seen.of("once", [&] { return call(&once, &count_time); });
    seen.note("times", times);
}

}  // namespace

WEFT_ROW(pthread_once) {
    runs_once(seen, [](auto&&... arguments) { return row_pthread_once(arguments...); });
}
WEFT_ROW(__pthread_once) {
    runs_once(seen, [](auto&&... arguments) { return row___pthread_once(arguments...); });
}
WEFT_ROW(call_once) {
    times = 0;
    ::once_flag once = ONCE_FLAG_INIT;
    for (int i = 0; i < 2; ++i) row_call_once(&once, &count_time);
    seen.note("times", times);
}
WEFT_ROW(__cxa_guard_acquire) { guards(seen); }
WEFT_ROW(__cxa_guard_release) { guards(seen); }
WEFT_ROW(__cxa_guard_abort) { guards(seen); }
WEFT_ROW(pthread_key_create) { keeps_by_key(seen); }
WEFT_ROW(pthread_key_delete) { keeps_by_key(seen); }
WEFT_ROW(pthread_getspecific) { keeps_by_key(seen); }
WEFT_ROW(pthread_setspecific) { keeps_by_key(seen); }
WEFT_ROW(__pthread_key_create) { keeps_by_other_names(seen); }
WEFT_ROW(__pthread_getspecific) { keeps_by_other_names(seen); }
WEFT_ROW(__pthread_setspecific) { keeps_by_other_names(seen); }
WEFT_ROW(tss_create) { keeps_by_plain_key(seen); }
WEFT_ROW(tss_delete) { keeps_by_plain_key(seen); }
WEFT_ROW(tss_get) { keeps_by_plain_key(seen); }
WEFT_ROW(tss_set) { keeps_by_plain_key(seen); }

// --- threads that weft-run could make fibers ---

namespace {

/// Runs `body` as a thread, which is left by force: the result. Not under ASan, to which its
/// frames would stay in use.
long result_of(void* (*body)(void*), bool cancel) {
    if (under_asan) return 0;
    pthread_t thread;
    ::pthread_create(&thread, nullptr, body, nullptr);
    if (cancel) row_pthread_cancel(thread);
    void* result = nullptr;
    ::pthread_join(thread, &result);
    return reinterpret_cast<long>(result);
}

void testcancel_for_ever() {
    for (;;) row_pthread_testcancel();
}

/// As `call(what, before)`, which sets one of two.
template <class Call>
void sets_one_of_two(Seen& seen, int one, int other, Call&& call) {
    int before = 77;
    seen.of("other", [&] { return call(other, &before); });
    seen.note("before", before);
    seen.of("none such", [&] { return call(77, &before); });
    seen.of("back", [&] { return call(one, &before); });
    seen.note("before", before);
}

int handlers_run = 0;

/// A thread with a handler as C code pushes it. It pops that, or is left by pthread_exit().
template <auto push, auto pop>
void* leave_with_handler(void* by_exit) {
    __pthread_unwind_buf_t pushed;
    if (::_setjmp(reinterpret_cast<__jmp_buf_tag*>(pushed.__cancel_jmp_buf)) != 0) {
        ++handlers_run;
        row___pthread_unwind_next(&pushed);
    }
    push(&pushed);
    if (by_exit != nullptr) ::pthread_exit(by_exit);
    pop(&pushed);
    return nullptr;
}

template <auto push, auto pop>
void runs_handlers(Seen& seen) {
    handlers_run = 0;
    for (const std::intptr_t by_exit : {0, under_asan ? 0 : 5}) {
        pthread_t thread;
        void* result = nullptr;
        ::pthread_create(&thread, nullptr, &leave_with_handler<push, pop>,
                         reinterpret_cast<void*>(by_exit));
        ::pthread_join(thread, &result);
        seen.note("result", static_cast<long>(reinterpret_cast<std::intptr_t>(result)));
        seen.note("handlers run", handlers_run);
    }
}

}  // namespace

WEFT_ROW(__libc_start_main) {
    // It has started this program, and cannot again.
    Dl_info found{};
    ::dladdr(reinterpret_cast<void*>(&row___libc_start_main), &found);
    seen.note("the hooks'", std::strstr(found.dli_fname, "libweft-hooks") != nullptr);
}
WEFT_ROW(pthread_create) {
    pthread_t thread;
    seen.of("create", [&] { return row_pthread_create(&thread, nullptr, &seven, nullptr); });
    void* result = nullptr;
    ::pthread_join(thread, &result);
    seen.note("result", reinterpret_cast<long>(result));
}
WEFT_ROW(pthread_tryjoin_np) {
    Waiting other;
    seen.of("busy", [&] { return row_pthread_tryjoin_np(other.thread, nullptr); });
}
WEFT_ROW(pthread_detach) {
    pthread_t thread;
    ::pthread_create(&thread, nullptr, &seven, nullptr);
    seen.of("detach", [&] { return row_pthread_detach(thread); });
}
WEFT_ROW(pthread_exit) {
    const auto exit = [](void*) -> void* {
        row_pthread_exit(reinterpret_cast<void*>(8));
        return nullptr;
    };
    seen.note("result", result_of(exit, false));
}
WEFT_ROW(pthread_self) {
    const pthread_t self = row_pthread_self();
    seen.note("equal", ::pthread_equal(self, row_pthread_self()));
}
WEFT_ROW(pthread_kill) {
    const Waiting other;
    seen.of("there", [&] { return row_pthread_kill(other.thread, 0); });
    seen.of("no signal", [&] { return row_pthread_kill(other.thread, 7777); });
}
WEFT_ROW(pthread_cancel) {
    const auto wait = [](void*) -> void* {
        for (;;) ::pause();
    };
    seen.note("result", result_of(wait, true));
}
WEFT_ROW(pthread_testcancel) {
    row_pthread_testcancel();
    const auto ask = [](void*) -> void* {
        testcancel_for_ever();
        return nullptr;
    };
    seen.note("result", result_of(ask, true));
}
WEFT_ROW(pthread_setcancelstate) {
    sets_one_of_two(
        seen, PTHREAD_CANCEL_ENABLE, PTHREAD_CANCEL_DISABLE,
        [](int state, int* before) { return row_pthread_setcancelstate(state, before); });
}
WEFT_ROW(pthread_setcanceltype) {
    sets_one_of_two(seen, PTHREAD_CANCEL_DEFERRED, PTHREAD_CANCEL_ASYNCHRONOUS,
                    [](int type, int* before) { return row_pthread_setcanceltype(type, before); });
}
WEFT_ROW(__pthread_register_cancel) {
    runs_handlers<&row___pthread_register_cancel, &row___pthread_unregister_cancel>(seen);
}
WEFT_ROW(__pthread_unregister_cancel) {
    runs_handlers<&row___pthread_register_cancel, &row___pthread_unregister_cancel>(seen);
}
WEFT_ROW(__pthread_register_cancel_defer) {
    runs_handlers<&row___pthread_register_cancel_defer, &row___pthread_unregister_cancel_restore>(
        seen);
}
WEFT_ROW(__pthread_unregister_cancel_restore) {
    runs_handlers<&row___pthread_register_cancel_defer, &row___pthread_unregister_cancel_restore>(
        seen);
}
WEFT_ROW(__pthread_unwind_next) {
    runs_handlers<&row___pthread_register_cancel, &row___pthread_unregister_cancel>(seen);
}
WEFT_ROW(pthread_setname_np) {
    const Waiting other;
    seen.of("name", [&] { return row_pthread_setname_np(other.thread, "short"); });
    seen.of("too long", [&] { return row_pthread_setname_np(other.thread, "sixteen letters!"); });
}
WEFT_ROW(pthread_getname_np) {
    const Waiting other;
    ::pthread_setname_np(other.thread, "short");
    char name[16] = "";
    seen.of("name", [&] { return row_pthread_getname_np(other.thread, name, sizeof name); });
    seen.note("is", name);
    seen.of("no room", [&] { return row_pthread_getname_np(other.thread, name, 4); });
}
WEFT_ROW(pthread_getattr_np) {
    const Waiting other;
    pthread_attr_t attributes;
    seen.of("attributes", [&] { return row_pthread_getattr_np(other.thread, &attributes); });
    std::size_t size = 0;
    ::pthread_attr_getstacksize(&attributes, &size);
    seen.note("stack", static_cast<long>(size));
    ::pthread_attr_destroy(&attributes);
}
WEFT_ROW(pthread_getaffinity_np) {
    const Waiting other;
    cpu_set_t cpus;
    seen.of("cpus", [&] { return row_pthread_getaffinity_np(other.thread, sizeof cpus, &cpus); });
    seen.of("no room", [&] { return row_pthread_getaffinity_np(other.thread, 1, &cpus); });
}
WEFT_ROW(pthread_setaffinity_np) {
    const Waiting other;
    cpu_set_t cpus;
    ::pthread_getaffinity_np(other.thread, sizeof cpus, &cpus);
    seen.of("cpus", [&] { return row_pthread_setaffinity_np(other.thread, sizeof cpus, &cpus); });
    CPU_ZERO(&cpus);
    seen.of("none", [&] { return row_pthread_setaffinity_np(other.thread, sizeof cpus, &cpus); });
}
WEFT_ROW(pthread_getschedparam) {
    const Waiting other;
    int policy = -1;
    sched_param parameters{};
    seen.of("policy",
            [&] { return row_pthread_getschedparam(other.thread, &policy, &parameters); });
    seen.note("is", policy * 100 + parameters.sched_priority);
}
WEFT_ROW(pthread_setschedparam) {
    const Waiting other;
    const sched_param parameters{};
    seen.of("policy",
            [&] { return row_pthread_setschedparam(other.thread, SCHED_OTHER, &parameters); });
    seen.of("none", [&] { return row_pthread_setschedparam(other.thread, 77, &parameters); });
}
WEFT_ROW(pthread_getcpuclockid) {
    const Waiting other;
    clockid_t clock;
    seen.of("clock", [&] { return row_pthread_getcpuclockid(other.thread, &clock); });
}

WEFT_ROW(pthread_setschedprio) {
    const Waiting other;
    seen.of("none", [&] { return row_pthread_setschedprio(other.thread, 0); });
    seen.of("too high", [&] { return row_pthread_setschedprio(other.thread, 1000); });
}
WEFT_ROW(pthread_sigqueue) {
    const Waiting other;
    seen.of("there", [&] { return row_pthread_sigqueue(other.thread, 0, {}); });
    seen.of("no signal", [&] { return row_pthread_sigqueue(other.thread, 7777, {}); });
}
WEFT_ROW(thrd_create) {
    thrd_t thread;
    const auto body = [](void*) { return 7; };
    seen.of("create", [&] { return row_thrd_create(&thread, body, nullptr); });
    int result = 0;
    ::thrd_join(thread, &result);
    seen.note("result", result);
}
WEFT_ROW(thrd_detach) {
    thrd_t thread;
    ::thrd_create(
        &thread, [](void*) { return 7; }, nullptr);
    seen.of("detach", [&] { return row_thrd_detach(thread); });
}
WEFT_ROW(thrd_current) {
    const thrd_t self = row_thrd_current();
    seen.note("equal", ::thrd_equal(self, row_thrd_current()));
}
WEFT_ROW(thrd_exit) {
    if (under_asan) return seen.note("left out", 1);  // as result_of()
    thrd_t thread;
    ::thrd_create(
        &thread,
        [](void*) -> int {
            row_thrd_exit(8);
            return 7;
        },
        nullptr);
    int result = 0;
    ::thrd_join(thread, &result);
    seen.note("result", result);
}

}  // namespace weft::test
