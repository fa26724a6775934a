#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/routine.hpp>
#include <weft/fiber_ref.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft {

/// How to spawn. The defaults are those of the runtime's Options.
struct SpawnOptions {
    std::string_view name = {};  ///< copied; shown in dumps and reports
    std::size_t stack_size = 0;  ///< usable bytes; 0: Options::stack_size
    bool daemon = false;         ///< does not keep run() waiting; cancelled when it leaves
    bool pinned = false;         ///< runs on its spawner's worker only; a plain thread's on any one
};

namespace detail {

/// A fiber to be started, which calls `callback(subject)`, or `callback()`.
template <class T, class F>
FiberCore* make_callback(T subject, F&& callback) {
    if constexpr (std::is_invocable_v<std::decay_t<F>&, T>) {
        return make_fiber(nullptr, SpawnOptions{},
                          [subject = std::move(subject),
                           callback = std::decay_t<F>(std::forward<F>(callback))]() mutable {
                              callback(std::move(subject));
                          });
    } else {
        return make_fiber(nullptr, SpawnOptions{}, std::forward<F>(callback));
    }
}

}  // namespace detail

/// The handle of a spawned fiber, and the way to its result.
///
/// Move-only. Dropping it detaches: the fiber runs on, and what it throws is
/// reported by the runtime's handler instead of being kept for get().
///
/// Thread safety: a handle is one object, to be used by one fiber or thread at
/// a time; several handles' fibers may be joined and cancelled from anywhere.
/// Lifetime: must not outlive its Runtime.
template <class R = void>
class Fiber {
public:
    Fiber() noexcept = default;
    explicit Fiber(detail::FiberCore* core) noexcept : core_{core} {}
    Fiber(Fiber&& other) noexcept : core_{std::exchange(other.core_, nullptr)} {}
    Fiber& operator=(Fiber&& other) noexcept {
        if (this != &other) {
            detach();
            core_ = std::exchange(other.core_, nullptr);
        }
        return *this;
    }
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    ~Fiber() { detach(); }

    /// Whether the handle stands for a fiber. All below but detach() require it.
    explicit operator bool() const noexcept { return core_ != nullptr; }

    /// Gives the handle up; the fiber runs on. Never blocks.
    void detach() noexcept {
        if (core_ != nullptr) detail::drop_handle(std::exchange(core_, nullptr));
    }

    /// Waits for the fiber's end, however it ends. Never throws its exception.
    ///
    /// Blocks: until the fiber ended or `deadline`. Cancellation point.
    /// Returns whether it ended. Of one that does not, though cancelled, FiberRef tells why.
    /// Throws Cancelled; std::system_error(resource_deadlock_would_occur) when
    /// a fiber joins itself; Deadlock with Options::detect_cycles when, without a
    /// deadline, the fiber waits for the caller through joins and locks. The joined fiber is
    /// unharmed by any.
    bool join(Deadline deadline = Deadline::never()) { return detail::join(core_, deadline); }

    /// Waits for the end and takes the result, moved out.
    ///
    /// Blocks: until the fiber ended; join() takes a Deadline. Cancellation point.
    /// Throws what the fiber threw; Cancelled if it was cancelled, or if the
    /// caller is; Deadlock, as join(); std::logic_error when the result was taken before.
    /// (A caller that ends by the Cancelled of another fiber has failed, and is
    /// reported like one; this_fiber::check_cancelled() tells whose it is.)
    R get() { return detail::moved_out<R>(detail::take_result(core_)); }

    /// Asks the fiber to end: from now on each of its cancellation points
    /// outside a Shield throws Cancelled. One that never started never runs.
    /// Idempotent; nothing on a fiber that has ended. Never blocks. Any thread.
    void cancel() noexcept { detail::cancel(core_); }

    /// Throws `error` out of the fiber's next cancellation point outside a Shield,
    /// or out of the one where it waits: once. Several come in order of their
    /// throws; Cancelled goes before. A fiber that never started ends with it;
    /// to one that ends before such a point nothing happens. Never blocks. Any
    /// thread. Throws std::bad_alloc; std::invalid_argument when `error` is a
    /// std::exception_ptr to nothing; then nothing happened.
    template <class E>
    void throw_in(E&& error) {
        if constexpr (std::is_same_v<std::remove_cvref_t<E>, std::exception_ptr>) {
            detail::throw_in(core_, std::forward<E>(error));
        } else {
            detail::throw_in(core_, std::make_exception_ptr(std::forward<E>(error)));
        }
    }

    /// Calls `callback(FiberRef)`, or `callback()`, when the fiber has ended, or at once
    /// if it has: in a new fiber of the calling fiber's runtime. Those of one fiber
    /// begin in the order they were given. What one throws goes to the runtime's
    /// handler. Does not count as taking what the fiber throws.
    ///
    /// Never blocks. Throws as spawn() does; then nothing was done.
    template <class F>
    void on_done(F&& callback) const {
        detail::start_at_end(core_,
                             detail::make_callback(FiberRef{core_}, std::forward<F>(callback)));
    }

    /// Whether the fiber has ended. Never blocks.
    bool done() const noexcept { return detail::is_done(core_); }

    /// Unique in the process, never 0.
    std::uint64_t id() const noexcept { return detail::id_of(core_); }

    /// The name given at the spawn, or empty. Lives as long as the handle.
    std::string_view name() const noexcept { return detail::name_of(core_); }

    /// The fiber without its type, for as many as need to know it.
    operator FiberRef() const noexcept { return FiberRef{core_}; }

private:
    detail::FiberCore* core_ = nullptr;
};

/// Runs `fn(args...)` in a new fiber of the calling fiber's runtime. Copies or
/// moves the callable and its arguments, as std::thread does.
///
/// Never blocks; the new fiber has not run when this returns, unless another
/// worker was idle. Throws std::system_error when there is no memory for the
/// fiber; then nothing was spawned. Throws std::logic_error outside a runtime
/// (a plain thread spawns by Runtime::spawn).
template <class F, class... Args>
requires(!std::is_same_v<std::remove_cvref_t<F>, SpawnOptions>) auto spawn(F&& fn, Args&&... args);

/// The same, with a name, a stack size, or as a daemon.
template <class F, class... Args>
auto spawn(const SpawnOptions& options, F&& fn, Args&&... args);

/// spawn() at a time to come: `spawn_later(50ms, fn)`. What is captured lives
/// from now on. While it waits to begin, the fiber takes a control block and a
/// reserved stack, of which no page is touched. Cancelled before, it never runs.
/// run() waits for it as for any other, unless it is a daemon.
///
/// Never blocks. Throws as spawn() does, also when called from a plain thread.
template <class F, class... Args>
auto spawn_later(Deadline when, F&& fn, Args&&... args);
template <class F, class... Args>
auto spawn_later(const SpawnOptions& options, Deadline when, F&& fn, Args&&... args);

/// Waits for all of them to end. Cancellation point; the fibers are unharmed.
/// Returns whether all ended before `deadline`.
template <class R>
bool join_all(std::span<Fiber<R>> fibers, Deadline deadline = Deadline::never()) {
    for (auto& fiber : fibers) {
        if (!fiber.join(deadline)) return false;
    }
    return true;
}
template <class Fibers>
requires requires(Fibers& f) { std::span{f}; }
bool join_all(Fibers&& fibers, Deadline deadline = Deadline::never()) {
    return join_all(std::span{fibers}, deadline);
}

/// Cancels all of them. Never blocks.
template <class Fibers>
void cancel_all(Fibers& fibers) noexcept {
    for (auto& fiber : fibers) fiber.cancel();
}

namespace detail {

/// Whether spawn(f, args...) may call it so. See bind().
template <class F, class... Args>
inline constexpr bool is_spawnable =
    sizeof...(Args) == 0 ? std::is_invocable_v<std::decay_t<F>&>
                         : std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>;

/// Calls F with a std::stop_token before its arguments: <weft/stop_token.hpp>,
/// which who spawns such a callable must include.
template <class F>
class TokenFirst;

template <class F, class... Args>
auto bind_arguments(F&& fn, Args&&... args) {
    return [fn = std::decay_t<F>(std::forward<F>(fn)),
            ... args = std::decay_t<Args>(std::forward<Args>(args))]() mutable -> decltype(auto) {
        return detail::invoke(std::move(fn), std::move(args)...);
    };
}

/// A callable without arguments, from one with.
template <class F, class... Args>
decltype(auto) bind(F&& fn, Args&&... args) {
    constexpr bool has_arguments = sizeof...(Args) > 0;
    if constexpr (is_spawnable<F, Args...> && !has_arguments) {
        return std::forward<F>(fn);
    } else if constexpr (is_spawnable<F, Args...>) {
        return bind_arguments(std::forward<F>(fn), std::forward<Args>(args)...);
    } else if constexpr (!has_arguments) {
        return TokenFirst<std::decay_t<F>>{std::forward<F>(fn)};
    } else {
        return bind_arguments(TokenFirst<std::decay_t<F>>{std::forward<F>(fn)},
                              std::forward<Args>(args)...);
    }
}

template <class F>
auto spawn_bound(Runtime* runtime, const SpawnOptions& options, F&& fn) {
    using Result = std::invoke_result_t<std::decay_t<F>&>;
    FiberCore* const core = make_fiber(runtime, options, std::forward<F>(fn));
    start_fiber(core);
    return Fiber<Result>{core};
}

template <class F>
auto spawn_bound_at(Deadline when, const SpawnOptions& options, F&& fn) {
    using Result = std::invoke_result_t<std::decay_t<F>&>;
    FiberCore* const core = make_fiber(nullptr, options, std::forward<F>(fn));
    start_fiber_at(core, when);
    return Fiber<Result>{core};
}

template <class F, class... Args>
auto spawn_on(Runtime* runtime, const SpawnOptions& options, F&& fn, Args&&... args) {
    return spawn_bound(runtime, options,
                       detail::bind(std::forward<F>(fn), std::forward<Args>(args)...));
}

}  // namespace detail

template <class F, class... Args>
requires(!std::is_same_v<std::remove_cvref_t<F>, SpawnOptions>) auto spawn(F&& fn, Args&&... args) {
    return detail::spawn_on(nullptr, SpawnOptions{}, std::forward<F>(fn),
                            std::forward<Args>(args)...);
}

template <class F, class... Args>
auto spawn(const SpawnOptions& options, F&& fn, Args&&... args) {
    return detail::spawn_on(nullptr, options, std::forward<F>(fn), std::forward<Args>(args)...);
}

template <class F, class... Args>
auto spawn_later(Deadline when, F&& fn, Args&&... args) {
    return detail::spawn_bound_at(when, SpawnOptions{},
                                  detail::bind(std::forward<F>(fn), std::forward<Args>(args)...));
}

template <class F, class... Args>
auto spawn_later(const SpawnOptions& options, Deadline when, F&& fn, Args&&... args) {
    return detail::spawn_bound_at(when, options,
                                  detail::bind(std::forward<F>(fn), std::forward<Args>(args)...));
}

}  // namespace weft
