// What a pool runs.
#pragma once

#include <weft/promise.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace weft::detail {

/// One task. It is run or dropped, once; or destroyed, when no pool took it.
class PoolJob {
public:
    PoolJob() noexcept = default;
    PoolJob(const PoolJob&) = delete;
    PoolJob& operator=(const PoolJob&) = delete;
    virtual ~PoolJob() = default;
    virtual void run() noexcept = 0;
    /// Its outcome is `error`; null: it was cancelled.
    virtual void drop(std::exception_ptr error) noexcept = 0;
};

/// A callable with a `dropped(std::exception_ptr) noexcept`, which is called instead of it
/// when it fails without being called.
struct KnowsOfDrop {};

template <class F>
class Job final : public PoolJob {
public:
    using Result = std::invoke_result_t<F&>;

    template <class From>
    explicit Job(From&& function) : function_(std::forward<From>(function)) {}

    Future<Result> future() const noexcept { return promise_.future(); }

    void run() noexcept override {
        if (!promise_.start()) return;
        promise_.run([](void* job) { static_cast<Job*>(job)->call(); }, this);
    }
    void drop(std::exception_ptr error) noexcept override {
        if (error == nullptr) {
            promise_.cancel();
        } else if (promise_.start()) {
            if constexpr (std::is_base_of_v<KnowsOfDrop, F>) function_.dropped(error);
            promise_.set_exception(std::move(error));
        }
    }

private:
    void call() {
        if constexpr (std::is_void_v<Result>) {
            function_();
            promise_.set_value();
        } else {
            promise_.set_value(function_());
        }
    }

    F function_;
    Promise<Result> promise_;
};

}  // namespace weft::detail
