#pragma once

#include <weft/detail/action.hpp>
#include <weft/detail/export.hpp>
#include <weft/pool.hpp>

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace weft {

class Runtime;

/// At most `size` fibers at once, one for each task. (gevent.pool.Pool.)
///
/// submit() waits while all run: who comes first is let in first. See Pool.
///
/// Lifetime: must not outlive its runtime.
class WEFT_API FiberPool final : public Pool {
public:
    /// Its fibers are of the runtime of whoever gives it work, who must be a fiber.
    explicit FiberPool(std::size_t size, const PoolOptions& options = {});
    /// Its fibers are of `runtime`, also for plain threads.
    FiberPool(Runtime& runtime, std::size_t size, const PoolOptions& options = {});
    /// `initializer()` is called in each fiber, before its task, which fails if that throws.
    template <class F>
    requires std::is_invocable_v < std::decay_t<F>
    & > FiberPool(std::size_t size, const PoolOptions& options, F&& initializer)
        : Pool{size},
    initializer_{std::forward<F>(initializer)}, state_{make(nullptr, size, options)} {}
    ~FiberPool() override;

    void close() override;
    void terminate() override;
    bool join(Deadline deadline = Deadline::never()) override;
    std::size_t unfinished() const noexcept override;

private:
    struct State;
    class Task;

    static State* make(Runtime* runtime, std::size_t size, const PoolOptions& options);
    bool take(std::unique_ptr<detail::PoolJob> job, Deadline deadline) override;
    void run(detail::PoolJob& job) noexcept;

    detail::Action initializer_;  // called by many fibers at once
    State* const state_;
};

}  // namespace weft
