#pragma once

#include <weft/future.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace weft {

namespace detail {
template <class F>
class Job;
}

/// The side of a Future that sets it. `T` may be void, a reference, or move-only.
///
/// Move-only. One that goes without having set anything is broken: whoever waits gets
/// std::future_error (broken_promise). What happened before it was set is visible
/// to whoever saw it done.
///
/// Thread safety: one object is to be used by one fiber or thread at a time; it and
/// its Futures are independent.
template <class T>
class Promise {
public:
    /// Makes the outcome: one allocation, for good. Throws std::bad_alloc.
    Promise() : outcome_{new detail::OutcomeOf<T>} {}
    Promise(Promise&& other) noexcept : outcome_{std::move(other.outcome_)} {}
    Promise& operator=(Promise&& other) noexcept {
        if (this != &other) {
            give_up();
            outcome_ = std::move(other.outcome_);
        }
        return *this;
    }
    Promise(const Promise&) = delete;
    Promise& operator=(const Promise&) = delete;
    ~Promise() { give_up(); }

    /// Whether it was not moved from. All below require it.
    explicit operator bool() const noexcept { return static_cast<bool>(outcome_); }

    /// As many as wanted.
    Future<T> future() const noexcept { return Future<T>{outcome_}; }

    /// Makes the value of `args`, as its constructor would, and wakes everybody.
    /// Never blocks.
    ///
    /// Returns false if it was cancelled; then `args` were not touched.
    /// Throws std::future_error (promise_already_satisfied) when it was set before,
    /// and what making the value throws; then nothing was set.
    template <class... Args>
    bool set_value(Args&&... args) {
        static_assert(std::is_void_v<T> ? sizeof...(Args) == 0
                                        : std::is_constructible_v<T, Args...>);
        if (!outcome_->begin_value()) return false;
        try {
            outcome_->make_value(std::forward<Args>(args)...);
        } catch (...) {
            outcome_->abandon_value();
            throw;
        }
        outcome_->finish_value();
        return true;
    }

    /// The same with an exception: an object, or a std::exception_ptr, for which,
    /// when it holds nothing, this throws std::invalid_argument.
    template <class E>
    bool set_exception(E&& error) {
        if constexpr (std::is_same_v<std::remove_cvref_t<E>, std::exception_ptr>) {
            return outcome_->set_error(std::forward<E>(error));
        } else {
            return outcome_->set_error(std::make_exception_ptr(std::forward<E>(error)));
        }
    }

    /// From now on Future::cancel() is too late. Returns false if it came before.
    /// Never blocks.
    bool start() noexcept { return outcome_->start(); }

    /// As Future::cancel().
    bool cancel() noexcept { return outcome_->cancel(); }

    /// Whether nobody will ever see what would be set. Never blocks.
    bool cancelled() const noexcept { return outcome_->cancelled(); }

private:
    template <class F>
    friend class detail::Job;

    void run(void (*call)(void*), void* what) noexcept { outcome_->run(call, what); }
    void give_up() noexcept {
        if (outcome_) outcome_->break_promise();
    }

    detail::OutcomeRef<T> outcome_;
};

}  // namespace weft
