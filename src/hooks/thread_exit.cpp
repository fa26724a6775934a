// Layer: hooks. Uses: sched.
#include "hooks/thread_exit.hpp"

#include "hooks/caller.hpp"
#include "hooks/descriptor.hpp"
#include "hooks/fiber_thread.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>

namespace weft::hooks::detail {

namespace {

/// The calling thread if it is a fiber and no handler of a signal; else null.
FiberThread* thread_on_its_stack() noexcept {
    FiberCore* const fiber = running_fiber();
    if (fiber == nullptr || !runs_on_its_stack(*fiber)) return nullptr;
    return this_fiber_thread();
}

/// What libc keeps of the one that was pushed before.
__pthread_unwind_buf_t*& before(__pthread_unwind_buf_t& pushed) noexcept {
    return reinterpret_cast<__pthread_unwind_buf_t*&>(pushed.__pad[0]);
}

void was_swallowed(_Unwind_Reason_Code, _Unwind_Exception*) {
    std::fputs("weft-run: what pthread_exit() or pthread_cancel() throws was not thrown on\n",
               stderr);
    std::abort();
}

/// Before each frame: `context` has the lower end of its.
_Unwind_Reason_Code look_at_frame(int, _Unwind_Action actions, _Unwind_Exception_Class,
                                  _Unwind_Exception*, _Unwind_Context* context, void* leaving) {
    ThreadFrames& frames = *static_cast<ThreadFrames*>(leaving);
    const bool is_last = (actions & _UA_END_OF_STACK) != 0;
    const auto end = static_cast<std::uintptr_t>(_Unwind_GetCFA(context));
    const auto is_past = [&](const void* in_frame) {
        return is_last || end > reinterpret_cast<std::uintptr_t>(in_frame);
    };
    if (__pthread_unwind_buf_t* const pushed = frames.cleanups; pushed != nullptr) {
        if (is_past(pushed)) {
            frames.cleanups = before(*pushed);
            ::_longjmp(reinterpret_cast<__jmp_buf_tag*>(pushed->__cancel_jmp_buf), 1);
        }
    } else if (is_past(frames.body)) {
        ::_longjmp(*frames.body, 1);
    }
    return _URC_NO_REASON;
}

[[noreturn]] void unwind(ThreadFrames& frames) {
    frames.unwinding = {};
    frames.unwinding.exception_cleanup = &was_swallowed;
    _Unwind_ForcedUnwind(&frames.unwinding, &look_at_frame, &frames);
    std::abort();  // the stack is broken
}

void begin_to_leave(FiberThread& thread) noexcept {
    const bool is_child = running_fiber() == nullptr;  // of fork()
    if (!is_child && !std::exchange(thread.frames.is_left, true)) stop_to_listen(thread);
}

void set_cancel_disabled(FiberThread& thread, bool is_disabled) noexcept {
    if (std::exchange(thread.frames.is_cancel_disabled, is_disabled) == is_disabled) return;
    if (thread.frames.is_left) return;
    is_disabled ? stop_to_listen(thread) : listen_again(thread);
}

}  // namespace

[[gnu::noinline]] void* call_until_left(FiberThread& thread, void* (*body)(FiberThread&)) {
    std::jmp_buf here;
    thread.frames.body = &here;
    if (::_setjmp(here) == 0) thread.frames.result = body(thread);
    thread.frames.body = nullptr;
    thread.frames.cleanups = nullptr;
    begin_to_leave(thread);  // what comes now, as its keys' destructors, is not ended
    return thread.frames.result;
}

void leave_thread(FiberThread& thread, void* result) {
    if (thread.frames.body == nullptr) std::terminate();  // by a destructor of its keys
    thread.frames.result = result;
    begin_to_leave(thread);
    unwind(thread.frames);
}

weft::detail::Cancellable of_threads() noexcept {
    using weft::detail::Cancellable;
    if (program.load(std::memory_order_relaxed) == nullptr) return Cancellable::no;
    if (thread_on_its_stack() == nullptr) return Cancellable::no;
    const bool by_others = running_fiber()->may_be_interrupted() && !is_asked();
    return by_others ? Cancellable::no : Cancellable::yes;
}

bool is_asked() noexcept {
    const FiberThread* const own = thread_on_its_stack();
    if (own == nullptr) return false;
    const auto state = own->state.load(std::memory_order_acquire);
    return (state & (FiberThread::is_cancelled | FiberThread::is_deaf)) ==
           FiberThread::is_cancelled;
}

void leave_if_asked() {
    if (is_asked()) leave_thread(*thread_on_its_stack(), PTHREAD_CANCELED);
}

}  // namespace weft::hooks::detail

using namespace weft::hooks::detail;

// --- the hooks ---

void hook_pthread_testcancel() {
    WEFT_ORIGINAL(pthread_testcancel)();  // a worker is never cancelled
    if (thread_on_its_stack() == nullptr) return;
    leave_if_cancelled();
    succeeded();  // who only asks must let run who cancels it
}

int hook_pthread_setcancelstate(int state, int* before) {
    FiberThread* const own = thread_on_its_stack();
    if (own == nullptr) return WEFT_ORIGINAL(pthread_setcancelstate)(state, before);
    if (state != PTHREAD_CANCEL_ENABLE && state != PTHREAD_CANCEL_DISABLE) return EINVAL;
    const bool was_disabled = own->frames.is_cancel_disabled;
    if (before != nullptr) *before = was_disabled ? PTHREAD_CANCEL_DISABLE : PTHREAD_CANCEL_ENABLE;
    set_cancel_disabled(*own, state == PTHREAD_CANCEL_DISABLE);
    return 0;
}

int hook_pthread_setcanceltype(int type, int* before) {
    FiberThread* const own = thread_on_its_stack();
    if (own == nullptr) return WEFT_ORIGINAL(pthread_setcanceltype)(type, before);
    if (type != PTHREAD_CANCEL_DEFERRED && type != PTHREAD_CANCEL_ASYNCHRONOUS) return EINVAL;
    const int was = std::exchange(own->frames.cancel_type, type);
    if (before != nullptr) *before = was;
    return 0;
}

// --- what pthread_cleanup_push() and pthread_cleanup_pop() are in C ---

#define WEFT_DEFINE_PUSH(name)                                         \
    void hook_##name(__pthread_unwind_buf_t* pushed) {                 \
        FiberThread* const own = thread_on_its_stack();                \
        if (own == nullptr) return WEFT_ORIGINAL(name)(pushed);        \
        before(*pushed) = std::exchange(own->frames.cleanups, pushed); \
    }
#define WEFT_DEFINE_POP(name)                                   \
    void hook_##name(__pthread_unwind_buf_t* pushed) {          \
        FiberThread* const own = thread_on_its_stack();         \
        if (own == nullptr) return WEFT_ORIGINAL(name)(pushed); \
        own->frames.cleanups = before(*pushed);                 \
    }
WEFT_DEFINE_PUSH(__pthread_register_cancel)
WEFT_DEFINE_POP(__pthread_unregister_cancel)
// With _defer_np, which also asks for PTHREAD_CANCEL_DEFERRED meanwhile.
WEFT_DEFINE_PUSH(__pthread_register_cancel_defer)
WEFT_DEFINE_POP(__pthread_unregister_cancel_restore)

void hook___pthread_unwind_next(__pthread_unwind_buf_t* pushed) {
    FiberThread* const own = thread_on_its_stack();
    // A handler made a child and came back there: with its last thread the process ends.
    if (own == nullptr && is_child_that_was_fiber()) std::exit(EXIT_SUCCESS);
    if (own == nullptr) WEFT_ORIGINAL(__pthread_unwind_next)(pushed);
    unwind(own->frames);
}
