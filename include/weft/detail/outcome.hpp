// What a Promise and its Futures share: the outcome, or who waits for it.
//
// pending -> setting -> value / error; pending -> cancelled, error. One of them makes
// the step out of pending; from the last on nothing changes but `taken_`.
#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/wait_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace weft::detail {

class FiberCore;
struct Follower;

class WEFT_API Outcome {
public:
    Outcome() noexcept = default;
    Outcome(const Outcome&) = delete;
    Outcome& operator=(const Outcome&) = delete;

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept;

    // --- the promise's ---

    bool start() noexcept;
    /// True: the caller makes a value, then calls finish_value() or abandon_value().
    /// False: it was cancelled. Throws std::future_error when it was set before.
    bool begin_value();
    void finish_value() noexcept;
    void abandon_value() noexcept;
    bool set_error(std::exception_ptr error);
    /// Calls; what that throws is the error, of which is noted where it was thrown.
    void run(void (*call)(void*), void* what) noexcept;
    /// Nobody will set it any more.
    void break_promise() noexcept;

    // --- the futures' ---

    bool cancel() noexcept;
    bool done() const noexcept { return phase() >= Phase::value; }
    bool cancelled() const noexcept { return phase() == Phase::cancelled; }
    bool wait(Deadline deadline);
    /// The error, also of a cancellation; null when there is a value. Requires: done.
    std::exception_ptr error() const noexcept;
    /// Where it was thrown, if that is known. Requires: done.
    std::span<void* const> stack() const noexcept { return {stack_.get(), stack_size_}; }
    /// Throws the error, if it is one. Requires: done.
    void rethrow() const;
    /// Throws std::future_error when it is not the first.
    void take();
    /// Whether it was an exception. False while it is not done.
    bool failed() const noexcept { return phase() == Phase::error; }
    /// Tells it when it is done. False: it is.
    bool add_follower(Follower& follower) noexcept;
    void remove_follower(Follower& follower) noexcept;
    /// A fiber that was not started, to be started when it is done. Takes its handle.
    void start_when_done(FiberCore* callback) noexcept;

protected:
    virtual ~Outcome();
    bool has_value() const noexcept { return phase() == Phase::value; }

private:
    enum class Phase : std::uint8_t { pending, setting, value, error, cancelled };

    Phase phase() const noexcept { return phase_.load(std::memory_order_acquire); }
    /// Changes phase and tells everybody. Requires: waiters_.lock() is held; releases it.
    void finish(Phase phase) noexcept;

    std::atomic<std::uint32_t> references_{1};
    WaitQueue waiters_;
    std::atomic<Phase> phase_{Phase::pending};  // written under waiters_.lock()
    bool started_ = false;                      // guarded by waiters_.lock()
    std::atomic<bool> taken_{false};
    Follower* followers_ = nullptr;   // guarded by waiters_.lock()
    FiberCore* callbacks_ = nullptr;  // guarded by waiters_.lock(); the last comes first
    // --- written before the phase says so, read after ---
    std::exception_ptr error_;
    std::unique_ptr<void*[]> stack_;
    std::size_t stack_size_ = 0;
};

/// With a place for the value.
template <class T>
class OutcomeOf final : public Outcome {
public:
    static constexpr bool is_void = std::is_void_v<T>;
    static constexpr bool is_reference = std::is_reference_v<T>;
    using Kept =
        std::conditional_t<is_void, char,
                           std::conditional_t<is_reference, std::remove_reference_t<T>*, T>>;

    OutcomeOf() noexcept {}

    template <class... Args>
    void make_value(Args&&... args) {
        if constexpr (is_reference) {
            value_ = std::addressof(args...);
        } else {
            ::new (static_cast<void*>(std::addressof(value_))) Kept(std::forward<Args>(args)...);
        }
    }
    Kept& value() noexcept { return value_; }

private:
    ~OutcomeOf() override {
        if (has_value()) value_.~Kept();
    }
    union {
        Kept value_;
    };
};

/// One share in an outcome, or none.
template <class T>
class OutcomeRef {
public:
    OutcomeRef() noexcept = default;
    /// Takes over a reference.
    explicit OutcomeRef(OutcomeOf<T>* outcome) noexcept : outcome_{outcome} {}
    OutcomeRef(const OutcomeRef& other) noexcept : outcome_{other.outcome_} {
        if (outcome_ != nullptr) outcome_->retain();
    }
    OutcomeRef(OutcomeRef&& other) noexcept : outcome_{std::exchange(other.outcome_, nullptr)} {}
    OutcomeRef& operator=(OutcomeRef other) noexcept {
        std::swap(outcome_, other.outcome_);
        return *this;
    }
    ~OutcomeRef() {
        if (outcome_ != nullptr) outcome_->release();
    }

    explicit operator bool() const noexcept { return outcome_ != nullptr; }
    OutcomeOf<T>* operator->() const noexcept { return outcome_; }
    OutcomeOf<T>* get() const noexcept { return outcome_; }

private:
    OutcomeOf<T>* outcome_ = nullptr;
};

}  // namespace weft::detail
