// What a fiber runs and leaves behind, seen from the header's side.
//
// A Routine is the erased form of one callable type: how large its storage is,
// how to run it there, how to throw it away. The storage lies in the fiber's
// control block when it is small, else on the heap; it holds the callable
// before and the result after the run.
#pragma once

#include <weft/detail/export.hpp>
#include <weft/detail/invoke.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft {

struct SpawnOptions;
class Deadline;
class FiberRef;
class Runtime;

namespace detail {

class FiberCore;

struct Routine {
    std::size_t size;
    std::size_t align;
    void (*run)(void* storage);                        // calls; the result stays in the storage
    void (*discard_callable)(void* storage) noexcept;  // never ran, or ran and is spent
    void (*discard_result)(void* storage) noexcept;
};

/// Where a callable F and its result R lie. Both exist at once for a moment:
/// the result is constructed in place while the callable is still running.
template <class F, class R>
struct Frame {
    static constexpr bool is_void = std::is_void_v<R>;
    static constexpr bool is_reference = std::is_reference_v<R>;
    using Kept =
        std::conditional_t<is_void, char,
                           std::conditional_t<is_reference, std::remove_reference_t<R>*, R>>;
    union Result {
        Result() noexcept {}
        ~Result() {}
        Kept value;
    };
    union Callable {
        Callable() noexcept {}
        ~Callable() {}
        F value;
    };
    // The result comes first, so that a Fiber<R> finds it without knowing F.
    Result result;
    Callable callable;

    static void run(void* storage) {
        auto& self = *static_cast<Frame*>(storage);
        if constexpr (is_void) {
            self.callable.value();
        } else if constexpr (is_reference) {
            self.result.value = &self.callable.value();
        } else {
            ::new (static_cast<void*>(&self.result.value)) R(self.callable.value());
        }
        comes_back();
    }
    static void discard_callable(void* storage) noexcept {
        static_cast<Frame*>(storage)->callable.value.~F();
        comes_back();
    }
    static void discard_result(void* storage) noexcept {
        static_cast<Frame*>(storage)->result.value.~Kept();
        comes_back();
    }
    static constexpr Routine routine{sizeof(Frame), alignof(Frame), &run, &discard_callable,
                                     &discard_result};
};

/// The result of a Frame, from its storage.
template <class R>
R moved_out(void* storage) {
    if constexpr (std::is_reference_v<R>) {
        return static_cast<R>(**static_cast<std::remove_reference_t<R>**>(storage));
    } else if constexpr (!std::is_void_v<R>) {
        return std::move(*static_cast<R*>(storage));
    }
}

/// Reserves a control block and storage for `routine`. `runtime` null means the
/// runtime of the calling fiber. Throws std::system_error; then nothing leaks.
WEFT_API FiberCore* create_fiber(Runtime* runtime, const SpawnOptions& options,
                                 const Routine& routine);
WEFT_API void* storage_of(FiberCore*) noexcept;
/// Gives the memory of a fiber that was never started back.
WEFT_API void abandon_fiber(FiberCore*) noexcept;
/// Makes it runnable. The caller's reference stays the caller's.
WEFT_API void start_fiber(FiberCore*) noexcept;
/// Makes it runnable when the time has come. Throws std::system_error; then the
/// fiber is abandoned.
WEFT_API void start_fiber_at(FiberCore*, Deadline when);

WEFT_API void retain(FiberCore*) noexcept;
WEFT_API void release(FiberCore*) noexcept;
/// release() by a FiberRef.
WEFT_API void drop_reference(FiberCore*) noexcept;
/// release() by a Fiber<R>, after which nobody can ask for the fiber's exception.
WEFT_API void drop_handle(FiberCore*) noexcept;
WEFT_API bool is_done(const FiberCore*) noexcept;
WEFT_API bool join(FiberCore*, Deadline deadline);
WEFT_API void cancel(FiberCore*) noexcept;
WEFT_API void throw_in(FiberCore*, std::exception_ptr error);
WEFT_API bool is_cancelled(const FiberCore*) noexcept;
WEFT_API unsigned cancellations_swallowed(const FiberCore*) noexcept;
WEFT_API bool is_daemon(const FiberCore*) noexcept;
WEFT_API std::string_view doing(FiberCore*) noexcept;
FiberCore* core_of(const FiberRef&) noexcept;
WEFT_API std::uint64_t id_of(const FiberCore*) noexcept;
WEFT_API std::string_view name_of(const FiberCore*) noexcept;
/// By a Timer's fiber: false if the timer was called off.
WEFT_API bool begin_timer(FiberCore*) noexcept;
/// Starts a fiber that was not started when the other one has ended. Takes its handle.
/// Throws std::system_error; then it is abandoned.
WEFT_API void start_at_end(FiberCore*, FiberCore* callback);
/// Waits for the end, then throws what the fiber ended with, if anything;
/// throws std::logic_error when the result was taken before.
WEFT_API void* take_result(FiberCore*);

/// A fiber with its callable, to be started.
template <class F>
FiberCore* make_fiber(Runtime* runtime, const SpawnOptions& options, F&& callable) {
    using Callable = std::decay_t<F>;
    using Frame = detail::Frame<Callable, std::invoke_result_t<Callable&>>;
    FiberCore* core = create_fiber(runtime, options, Frame::routine);
    try {
        auto* frame = static_cast<Frame*>(storage_of(core));
        ::new (static_cast<void*>(&frame->callable.value)) Callable(std::forward<F>(callable));
    } catch (...) {
        abandon_fiber(core);
        throw;
    }
    return core;
}

}  // namespace detail
}  // namespace weft
