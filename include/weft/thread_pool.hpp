#pragma once

#include <weft/detail/action.hpp>
#include <weft/detail/export.hpp>
#include <weft/pool.hpp>

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace weft {

/// At most `size` OS threads beside the workers, for what blocks or computes long: a fiber that
/// waits for such a task only parks. (ThreadPoolExecutor, gevent.threadpool.ThreadPool.)
///
/// Threads are started as they are needed, and kept. In a task waits of weft's block the
/// thread; there is no fiber and no runtime. It takes no signals. See Pool.
class WEFT_API ThreadPool final : public Pool {
public:
    explicit ThreadPool(std::size_t size, const PoolOptions& options = {});
    /// `initializer()` is called by each thread as it starts. If that throws, the pool is
    /// closed, and its tasks fail with what was thrown.
    template <class F>
    requires std::is_invocable_v < std::decay_t<F>
    & > ThreadPool(std::size_t size, const PoolOptions& options, F&& initializer)
        : Pool{size},
    initializer_{std::forward<F>(initializer)}, state_{make(options)} {}
    ~ThreadPool() override;

    void close() override;
    void terminate() override;
    /// As Pool::join(), and for the threads to end.
    bool join(Deadline deadline = Deadline::never()) override;
    std::size_t unfinished() const noexcept override;

private:
    struct State;

    static State* make(const PoolOptions& options);
    bool take(std::unique_ptr<detail::PoolJob> job, Deadline deadline) override;
    void start_thread_if_needed();
    void serve(std::size_t number) noexcept;
    bool initialize() noexcept;
    void drop_waiting(std::exception_ptr error);

    detail::Action initializer_;  // called by many threads at once
    State* const state_;
};

}  // namespace weft
