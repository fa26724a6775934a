#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/outcome.hpp>
#include <weft/detail/routine.hpp>
#include <weft/fiber.hpp>

#include <exception>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace weft {

template <class T>
class Future;
template <class T>
class Promise;

namespace detail {
template <class T>
Outcome* outcome_of(const Future<T>&) noexcept;
}

/// What will be the outcome of something: a value, an exception, or that it was
/// cancelled. From Promise::future(). (concurrent.futures.Future, gevent.AsyncResult,
/// std::shared_future.)
///
/// Copies stand for the same outcome; any number of fibers and threads wait for it.
/// What happened before it was set is visible to whoever saw it done.
///
/// Thread safety: const members may be called at once, also on one object.
/// Lifetime: needs no runtime, but that of whoever waits. A runtime that on_done() was called in
/// must not end before the outcome is there.
template <class T>
class Future {
    static constexpr bool is_void = std::is_void_v<T>;
    static constexpr bool is_reference = std::is_reference_v<T>;
    using Object = std::conditional_t<is_void, char, std::remove_reference_t<T>>;

public:
    /// What get() returns of a Future that goes on: a view of the value.
    using View =
        std::conditional_t<is_void, void, std::conditional_t<is_reference, T, const Object&>>;
    /// With a deadline: null when that passed first. Of void: whether it was done.
    using LateView =
        std::conditional_t<is_void, bool, std::conditional_t<is_reference, Object*, const Object*>>;
    /// Of a Future that goes away: the value itself.
    using LateValue = std::conditional_t<is_void || is_reference, LateView, std::optional<Object>>;

    /// Stands for no outcome. All below but the assignments and bool require one.
    Future() noexcept = default;
    explicit operator bool() const noexcept { return static_cast<bool>(outcome_); }

    /// Never blocks. Whether it was cancelled is a way of being done.
    bool done() const noexcept { return outcome_->done(); }
    bool cancelled() const noexcept { return outcome_->cancelled(); }

    /// Blocks: until it is done, however. Cancellation point.
    /// Returns whether it is, which it is not when `deadline` passes first.
    /// Throws Cancelled, when the caller is.
    bool wait(Deadline deadline = Deadline::never()) const { return outcome_->wait(deadline); }

    /// Waits, then returns the value, which lives as long as a Future or the Promise does.
    ///
    /// Blocks: until it is done; wait() takes a Deadline. Cancellation point.
    /// Throws what it failed with: for a Promise that is gone, std::future_error
    /// (broken_promise). Throws Cancelled when it, or the caller, was cancelled.
    View get() const& {
        wait();
        outcome_->rethrow();
        if constexpr (!is_void) return *address();
    }
    /// The same, but the value itself: a copy, or where there is no copying what
    /// take() returns.
    T get() && {
        if constexpr (is_void || is_reference) {
            return std::as_const(*this).get();
        } else if constexpr (std::is_copy_constructible_v<T>) {
            return T{std::as_const(*this).get()};
        } else {
            return take();
        }
    }

    /// get() that gives up at `deadline`, and then returns a null pointer.
    LateView get(Deadline deadline) const& {
        if (!wait(deadline)) return LateView{};
        outcome_->rethrow();
        if constexpr (is_void) {
            return true;
        } else {
            return address();
        }
    }
    LateValue get(Deadline deadline) && {
        if (!wait(deadline)) return LateValue{};
        if constexpr (is_void || is_reference) {
            return std::as_const(*this).get(deadline);
        } else {
            return LateValue{std::move(*this).get()};
        }
    }

    /// get(), moved out. Once, of all Futures of this outcome; nobody may look at the
    /// value meanwhile or after it.
    /// Throws std::future_error (future_already_retrieved) when it was taken before.
    T take() const requires(!is_void && !is_reference) {
        wait();
        outcome_->rethrow();
        outcome_->take();
        return std::move(outcome_->value());
    }

    /// What it failed with, Cancelled if it was cancelled; null if it has a value.
    /// Blocks as wait(); null also when `deadline` passes first.
    std::exception_ptr exception(Deadline deadline = Deadline::never()) const {
        return wait(deadline) ? outcome_->error() : nullptr;
    }

    /// Where what it failed with was thrown, or thrown again: the return addresses of the
    /// calls, the innermost first, as backtrace_symbols() takes them. Of a pool's task;
    /// else, and when it is not known, there are none. Never blocks.
    /// Lifetime: of a Future or the Promise.
    std::span<void* const> thrown_at() const noexcept {
        return done() ? outcome_->stack() : std::span<void* const>{};
    }

    /// Makes it done, as cancelled, unless it is done or its Promise was started.
    /// Never blocks. Returns whether it is cancelled now. What was to set it learns
    /// that from its Promise.
    bool cancel() const noexcept { return outcome_->cancel(); }

    /// Calls `callback(future)`, or `callback()`, when it is done, or at once if it
    /// is: in a new fiber of the calling fiber's runtime, whoever sets it. Those of
    /// one Future begin in the order they were given. What one throws goes to the
    /// runtime's handler of unhandled exceptions.
    ///
    /// Never blocks. Throws as spawn() does; then nothing was done.
    template <class F>
    void on_done(F&& callback) const {
        outcome_->start_when_done(detail::make_callback(*this, std::forward<F>(callback)));
    }

    /// Whether both stand for the same outcome.
    friend bool operator==(const Future& a, const Future& b) noexcept {
        return a.outcome_.get() == b.outcome_.get();
    }

private:
    friend class Promise<T>;
    template <class U>
    friend detail::Outcome* detail::outcome_of(const Future<U>&) noexcept;
    explicit Future(detail::OutcomeRef<T> outcome) noexcept : outcome_{std::move(outcome)} {}

    auto address() const noexcept {
        if constexpr (is_reference) {
            return outcome_->value();
        } else {
            return const_cast<const Object*>(std::addressof(outcome_->value()));
        }
    }

    detail::OutcomeRef<T> outcome_;
};

template <class T>
detail::Outcome* detail::outcome_of(const Future<T>& future) noexcept {
    return future.outcome_.get();
}

}  // namespace weft
