// Layer: hooks. Uses: runtime.
#include "hooks/fiber_thread.hpp"

#include "base/own_thread.hpp"
#include "hooks/caller.hpp"
#include "hooks/keys.hpp"
#include "hooks/obstacles.hpp"
#include "hooks/signals.hpp"
#include "hooks/start.hpp"
#include "hooks/waiting_thread.hpp"
#include "io/system_call.hpp"
#include "runtime/registry.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/local.hpp>
#include <weft/this_fiber.hpp>

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <thread>

namespace weft::hooks::detail {

constinit std::atomic<Runtime*> program{nullptr};

namespace {

constinit std::atomic<bool> wanted{false};

struct Program {
    int (*main)(int, char**, char**) = nullptr;
    int count = 0;
    char** arguments = nullptr;
    int result = 0;
    bool left_by_exit = true;  // by pthread_exit(): the others go on
    int ended = -1;            // an eventfd
    pid_t owner = 0;
};
constinit Program the_program;

FiberLocal<FiberThread*>& own_thread() {
    static auto& own = *new FiberLocal<FiberThread*>;
    return own;
}

void drop(FiberThread& thread) noexcept {
    if (thread.references.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    thread.mark = 0;
    delete &thread;
}

/// Gives it `bit`, is_detached or is_joined, if it has neither; returns which it had.
std::uint8_t mark(FiberThread& thread, std::uint8_t bit) noexcept {
    constexpr std::uint8_t either = FiberThread::is_detached | FiberThread::is_joined;
    std::uint8_t before = thread.state.load(std::memory_order_acquire);
    while ((before & either) == 0 &&
           !thread.state.compare_exchange_weak(before, before | bit, std::memory_order_acq_rel)) {
    }
    return before & either;
}

void give_join_up(FiberThread& thread) noexcept {
    thread.state.fetch_and(static_cast<std::uint8_t>(~FiberThread::is_joined),
                           std::memory_order_acq_rel);
}

/// 0 or an error. Of those who wait only who may be left does so before that.
int await_end(FiberThread& thread, Deadline deadline) noexcept {
    using weft::detail::Cancellable;
    std::optional<this_fiber::Shield> shield;
    if (of_threads() == Cancellable::no) shield.emplace();
    for (;;) {
        try {
            return thread.fiber.join(deadline) ? 0 : ETIMEDOUT;
        } catch (const Cancelled&) {
            if (is_asked()) return ECANCELED;
            shield.emplace();  // by what the program does with weft itself
        } catch (const Deadlock&) {
            return EDEADLK;
        }
    }
}

void* call_body(FiberThread& thread) {
    try {
        if (thread.c11_body == nullptr) return thread.body(thread.argument);
        const std::intptr_t result = thread.c11_body(thread.argument);
        return reinterpret_cast<void*>(result);
    } catch (const Cancelled&) {  // of what uses weft itself
        return PTHREAD_CANCELED;
    }
}

/// Whatever else leaves it ends the process, as it would have from a thread.
void* run_body(FiberThread& thread) noexcept { return call_until_left(thread, &call_body); }

// In a child of fork() nobody waits for it: there main() ends the process itself.
void tell_end() noexcept {
    if (::getpid() != the_program.owner) std::exit(the_program.result);
    const std::uint64_t one = 1;
    (void)weft::detail::system_call<::syscall>(SYS_write, the_program.ended, &one, sizeof one);
}

/// The process ends with the last one.
void leave_program(FiberThread& thread) noexcept {
    if (program.load(std::memory_order_acquire) == nullptr) return;
    if (end_signals(thread.signals)) tell_end();
}

void tell_fiber(FiberThread& thread) noexcept {
    thread.fiber.cancel();
    thread.state.fetch_or(FiberThread::is_told, std::memory_order_release);
}

/// Of it and cancel_fiber_thread() the second one cancels the fiber.
void begin_to_be_cancelled(FiberThread& own) noexcept {
    const auto before = own.state.fetch_or(FiberThread::has_begun, std::memory_order_acq_rel);
    if ((before & FiberThread::is_cancelled) != 0) tell_fiber(own);
}

void run_thread(FiberThread* thread) noexcept {
    own_thread().get() = thread;
    begin_to_be_cancelled(*thread);
    thread->result.store(run_body(*thread), std::memory_order_release);
    // The only thread of a child of fork(): nobody waits, and the process ends with it.
    if (Worker::current() == nullptr) std::exit(EXIT_SUCCESS);
    end_key_values();
    leave_program(*thread);
    own_thread().get() = nullptr;  // other locals may be destroyed after it
    drop(*thread);
}

// --- starting ---

std::size_t usual_stack_size() noexcept {
    rlimit limit{};
    ::getrlimit(RLIMIT_STACK, &limit);
    constexpr rlim_t most = 64 << 20;
    return limit.rlim_cur == RLIM_INFINITY ? 8 << 20 : std::min(limit.rlim_cur, most);
}

ThreadWishes wishes_of(const pthread_attr_t* attributes) noexcept {
    ThreadWishes wishes;
    if (attributes == nullptr) return wishes;
    ::pthread_attr_getstacksize(attributes, &wishes.stack_size);
    int state = 0;
    ::pthread_attr_getdetachstate(attributes, &state);
    wishes.detached = state == PTHREAD_CREATE_DETACHED;
    sigset_t mask;
    if (::pthread_attr_getsigmask_np(attributes, &mask) == 0) wishes.mask = signals_of(mask);
    return wishes;
}

// --- main ---

void* call_main(void*) {
    the_program.result = the_program.main(the_program.count, the_program.arguments, environ);
    the_program.left_by_exit = false;
    return nullptr;
}

void warn_of_thread_locals() noexcept {
    const std::size_t bytes = thread_local_bytes();
    if (bytes == 0) return;
    std::fprintf(stderr,
                 "weft-run: warning: the program has %zu bytes of thread-local variables, which "
                 "fibers of one worker share\n",
                 bytes);
}

/// The fiber of main().
void run_main(FiberThread& main) noexcept {
    own_thread().get() = &main;
    begin_to_be_cancelled(main);
    main.result.store(run_body(main), std::memory_order_release);
    if (!the_program.left_by_exit) return tell_end();
    end_key_values();
    leave_program(main);  // the others go on
}

/// Not the usual path: the descriptors that it needs are not to be had.
[[noreturn]] void give_up(int error) noexcept {
    std::fprintf(stderr, "weft-run: signals cannot be taken: %s\n", std::strerror(error));
    std::_Exit(126);
}

void forget_program() noexcept {
    program.store(nullptr, std::memory_order_relaxed);
    forget_thread_signals();
}

int run_program(int count, char** arguments, char**) {
    warn_of_thread_locals();
    the_program.count = count;
    the_program.arguments = arguments;
    the_program.ended = ::eventfd(0, EFD_CLOEXEC);
    the_program.owner = ::getpid();
    ::pthread_atfork(nullptr, nullptr, &forget_program);
    ::unsetenv("WEFT_RUN_THREADS");  // of this program, not of those it starts
    const int error = the_program.ended < 0 ? errno : take_signals_of_process();
    if (error != 0) give_up(error);
    auto* const runtime = new Runtime;
    auto* const main = new FiberThread;
    main->body = &call_main;
    std::strcpy(main->name, "main");
    main->signals.thread = main;
    const SpawnOptions options{.name = "main", .stack_size = runtime->main_stack_size()};
    auto* const core = weft::detail::make_fiber(runtime, options, [main] { run_main(*main); });
    main->fiber = Fiber<void>{core};
    begin_signals(main->signals, *core, signals_of(mask_of_program()));
    program.store(runtime, std::memory_order_release);
    weft::detail::start_fiber(core);
    hand_signals_out(the_program.ended);
    main->fiber.join();
    if (the_program.left_by_exit) {
        for (const FiberRef& each : runtime->fibers()) each.join();
        return 0;
    }
    // What exit() calls takes signals again.
    const sigset_t mask = set_of(main->signals.mask);
    WEFT_ORIGINAL(pthread_sigmask)(SIG_SETMASK, &mask, nullptr);
    return the_program.result;
}

}  // namespace

Runtime* runtime_of_new_threads() noexcept {
    return weft::detail::starts_own_thread() ? nullptr : program.load(std::memory_order_acquire);
}

int start_fiber_thread(Runtime& runtime, pthread_t* thread, const ThreadWishes& wishes) noexcept {
    try {
        auto made = std::make_unique<FiberThread>();
        made->body = wishes.body;
        made->c11_body = wishes.c11_body;
        made->argument = wishes.argument;
        FiberThread* const own = made.get();
        own->signals.thread = own;
        const std::size_t stack = wishes.stack_size > 0 ? wishes.stack_size : usual_stack_size();
        const SpawnOptions options{.stack_size = stack, .daemon = true};
        auto* const core = weft::detail::make_fiber(&runtime, options, [own] { run_thread(own); });
        own->fiber = Fiber<void>{core};
        (void)made.release();
        begin_signals(own->signals, *core, wishes.mask.value_or(signals_of(mask_of_caller())));
        // All before it runs: it may detach itself at once.
        *thread = reinterpret_cast<pthread_t>(own);
        if (wishes.detached) (void)detach_fiber_thread(*own);
        weft::detail::start_fiber(core);
        return 0;
    } catch (const std::exception&) {
        return EAGAIN;
    }
}

FiberThread* this_fiber_thread() noexcept {
    if (program.load(std::memory_order_acquire) == nullptr) return nullptr;
    Worker* const worker = Worker::current();
    if (worker == nullptr) {
        const ThreadSignals* const handled = handles_for();
        return handled == nullptr ? nullptr : handled->thread;
    }
    if (worker->fiber() == nullptr) return nullptr;
    return own_thread().has_value() ? own_thread().get() : nullptr;
}

bool leave_fiber(void* result) {
    FiberCore* const fiber = running_fiber();
    if (fiber == nullptr || !runs_on_its_stack(*fiber)) return false;
    if (FiberThread* const own = this_fiber_thread(); own != nullptr) leave_thread(*own, result);
    if ((patched.load(std::memory_order_relaxed) & c_threads) == 0) return false;
    throw Cancelled{};
}

void cancel_fiber_thread(FiberThread& thread) noexcept {
    constexpr std::uint8_t asked = FiberThread::has_begun;
    constexpr std::uint8_t others = FiberThread::is_cancelled | FiberThread::is_deaf;
    const auto before = thread.state.fetch_or(FiberThread::is_cancelled, std::memory_order_acq_rel);
    if ((before & (asked | others)) == asked) tell_fiber(thread);
}

void stop_to_listen(FiberThread& own) noexcept {
    const auto before = own.state.fetch_or(FiberThread::is_deaf, std::memory_order_acq_rel);
    if ((before & FiberThread::is_deaf) != 0 || (before & FiberThread::is_cancelled) == 0) return;
    // Who has seen it listen tells its fiber yet; that is to be over.
    while ((own.state.load(std::memory_order_acquire) & FiberThread::is_told) == 0) {
        std::this_thread::yield();
    }
    running_fiber()->clear_interrupts();
}

void listen_again(FiberThread& own) noexcept {
    const auto before = own.state.fetch_and(static_cast<std::uint8_t>(~FiberThread::is_deaf),
                                            std::memory_order_acq_rel);
    if ((before & FiberThread::is_cancelled) != 0) tell_fiber(own);
}

int detach_fiber_thread(FiberThread& thread) noexcept {
    switch (mark(thread, FiberThread::is_detached)) {
        case FiberThread::is_detached: return EINVAL;
        case 0: drop(thread); break;
        default: break;
    }
    return 0;
}

ThreadSignals* signals_of_thread(const FiberCore* fiber) noexcept {
    FiberThread* const own = fiber == nullptr ? nullptr : this_fiber_thread();
    return own == nullptr ? nullptr : &own->signals;
}

sigset_t mask_of_caller() noexcept {
    FiberThread* const own = this_fiber_thread();
    const FiberCore* const fiber = running_fiber();
    if (own == nullptr) return fiber == nullptr ? mask_of_program() : mask_of_fiber(*fiber);
    const bool in_handler = fiber == nullptr || !runs_on_its_stack(*fiber);
    return set_of(in_handler ? mask_in_handler(own->signals) : own->signals.mask);
}

FiberThread* fiber_thread_of(pthread_t thread) noexcept {
    if (program.load(std::memory_order_acquire) == nullptr) return nullptr;
    auto* const found = reinterpret_cast<FiberThread*>(thread);
    return found->mark == FiberThread::is_one ? found : nullptr;
}

int join_fiber_thread(FiberThread& thread, void** result, Deadline deadline) {
    leave_if_cancelled();
    const bool is_detached =
        (thread.state.load(std::memory_order_acquire) & FiberThread::is_detached) != 0;
    if (!is_detached && this_fiber_thread() == &thread) return EDEADLK;
    if (mark(thread, FiberThread::is_joined) != 0) return EINVAL;
    const int error = await_end(thread, deadline);
    if (error != 0) {
        give_join_up(thread);
        return leave_if_ended(error);
    }
    if (result != nullptr) *result = thread.result.load(std::memory_order_acquire);
    drop(thread);
    return 0;
}

void make_threads_fibers() noexcept {
    wanted.store(true, std::memory_order_relaxed);
    // Before any static object is made: threads run on while those are destroyed.
    weft::detail::halt_at_exit();
}

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

int hook___libc_start_main(int (*main)(int, char**, char**), int count, char** arguments,
                           void (*begin)(), void (*end)(), void (*loader_end)(), void* stack) {
    the_program.main = main;
    auto* const body = wanted.load(std::memory_order_relaxed) ? &run_program : main;
    return WEFT_ORIGINAL(__libc_start_main)(body, count, arguments, begin, end, loader_end, stack);
}

int hook_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                        void* argument) {
    if (weft::Runtime* const runtime = runtime_of_new_threads(); runtime != nullptr) {
        ThreadWishes wishes = wishes_of(attributes);
        wishes.body = body;
        wishes.argument = argument;
        return start_fiber_thread(*runtime, thread, wishes);
    }
    if (weft::detail::starts_own_thread() || Worker::current() == nullptr) {
        return WEFT_ORIGINAL(pthread_create)(thread, attributes, body, argument);
    }
    const MaskOfProgram mask{mask_of_caller()};  // a fiber: not to inherit its worker's
    return WEFT_ORIGINAL(pthread_create)(thread, attributes, body, argument);
}

int hook_pthread_tryjoin_np(pthread_t thread, void** result) {
    FiberThread* const own = fiber_thread_of(thread);
    if (own == nullptr) return WEFT_ORIGINAL(pthread_tryjoin_np)(thread, result);
    if (!own->fiber.done()) return EBUSY;
    return join_fiber_thread(*own, result, weft::Deadline::never());
}

int hook_pthread_detach(pthread_t thread) {
    FiberThread* const own = fiber_thread_of(thread);
    if (own == nullptr) return WEFT_ORIGINAL(pthread_detach)(thread);
    return detach_fiber_thread(*own);
}

void hook_pthread_exit(void* result) {
    if (is_child_that_was_fiber()) std::exit(EXIT_SUCCESS);  // the last thread's ends the process
    if (!leave_fiber(result)) WEFT_ORIGINAL(pthread_exit)(result);
}

// weft itself asks for the thread: in exit(), which of its workers it runs on.
pthread_t hook_pthread_self() {
    const bool foreign = !weft_text.has(__builtin_return_address(0));
    FiberThread* const own = foreign ? this_fiber_thread() : nullptr;
    return own != nullptr ? reinterpret_cast<pthread_t>(own) : WEFT_ORIGINAL(pthread_self)();
}

int hook_pthread_cancel(pthread_t thread) {
    FiberThread* const own = fiber_thread_of(thread);
    if (own != nullptr) {
        cancel_fiber_thread(*own);
        return 0;
    }
    const int error = WEFT_ORIGINAL(pthread_cancel)(thread);
    if (error == 0) wake_cancelled(thread);
    return error;
}

int hook_pthread_setname_np(pthread_t thread, const char* name) {
    FiberThread* const own = fiber_thread_of(thread);
    if (own == nullptr) return WEFT_ORIGINAL(pthread_setname_np)(thread, name);
    if (std::strlen(name) >= sizeof own->name) return ERANGE;
    std::strcpy(own->name, name);
    return 0;
}

int hook_pthread_getname_np(pthread_t thread, char* name, size_t room) {
    FiberThread* const own = fiber_thread_of(thread);
    if (own == nullptr) return WEFT_ORIGINAL(pthread_getname_np)(thread, name, room);
    if (room <= std::strlen(own->name)) return ERANGE;
    std::strcpy(name, own->name);
    return 0;
}

// Of the caller's own stack, which is what is asked for.
int hook_pthread_getattr_np(pthread_t thread, pthread_attr_t* attributes) {
    FiberThread* const own = fiber_thread_of(thread);
    if (own == nullptr) return WEFT_ORIGINAL(pthread_getattr_np)(thread, attributes);
    const bool in_handler = Worker::current() == nullptr;  // of the first thread
    if (own != this_fiber_thread() || in_handler) return ENOSYS;
    const weft::detail::Stack stack = Worker::current()->fiber()->running_stack();
    ::pthread_attr_init(attributes);
    return ::pthread_attr_setstack(attributes, stack.bottom(), stack.size());
}

int hook_pthread_setaffinity_np(pthread_t thread, size_t size, const cpu_set_t* cpus) {
    if (fiber_thread_of(thread) == nullptr) {
        return WEFT_ORIGINAL(pthread_setaffinity_np)(thread, size, cpus);
    }
    return 0;  // fibers run wherever a worker does
}

int hook_pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t* cpus) {
    if (fiber_thread_of(thread) == nullptr) {
        return WEFT_ORIGINAL(pthread_getaffinity_np)(thread, size, cpus);
    }
    return ::sched_getaffinity(::getpid(), size, cpus) == 0 ? 0 : errno;
}

int hook_pthread_setschedparam(pthread_t thread, int policy, const sched_param* parameters) {
    if (fiber_thread_of(thread) == nullptr) {
        return WEFT_ORIGINAL(pthread_setschedparam)(thread, policy, parameters);
    }
    return policy == SCHED_OTHER ? 0 : EPERM;
}

int hook_pthread_setschedprio(pthread_t thread, int priority) {
    if (fiber_thread_of(thread) == nullptr) {
        return WEFT_ORIGINAL(pthread_setschedprio)(thread, priority);
    }
    return priority == 0 ? 0 : EINVAL;
}

int hook_pthread_getschedparam(pthread_t thread, int* policy, sched_param* parameters) {
    if (fiber_thread_of(thread) == nullptr) {
        return WEFT_ORIGINAL(pthread_getschedparam)(thread, policy, parameters);
    }
    *policy = SCHED_OTHER;
    parameters->sched_priority = 0;
    return 0;
}

int hook_pthread_getcpuclockid(pthread_t thread, clockid_t* clock) {
    if (fiber_thread_of(thread) != nullptr) return ENOENT;  // a fiber has none
    return WEFT_ORIGINAL(pthread_getcpuclockid)(thread, clock);
}
