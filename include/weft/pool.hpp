#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/invoke.hpp>
#include <weft/detail/pool_job.hpp>
#include <weft/detail/pool_mapped.hpp>
#include <weft/fiber.hpp>
#include <weft/future.hpp>
#include <weft/queue.hpp>
#include <weft/results.hpp>
#include <weft/this_fiber.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

namespace weft {

/// Thrown by what gives a pool work once it is closed.
class WEFT_API PoolClosed : public std::exception {
public:
    const char* what() const noexcept override;
};

/// How a pool is made.
struct PoolOptions {
    std::string_view name = {};  ///< copied; of its fibers, and with a number of its threads
    /// Of a ThreadPool: how many tasks may wait for a thread; 0: any number. A FiberPool
    /// takes no more tasks than it has fibers.
    std::size_t waiting = 1024;
};

/// A limited number of fibers or threads that run tasks: FiberPool and ThreadPool have this
/// face. (gevent.pool.Pool, multiprocessing.pool.ThreadPool, ThreadPoolExecutor.)
///
/// Who gives a pool work waits while it is full. What a task throws is kept in its Future, with
/// where it was thrown (thrown_at()). Its cancel() keeps a task from beginning, but does not
/// end one.
///
/// At its end, as in Python: close() or terminate(), then join(). A pool that is destroyed is
/// terminated and waited for.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its calls and what imap() returned; not to be destroyed by its own
/// tasks. A task that gives the pool work and waits for it may wait for ever.
class WEFT_API Pool {
public:
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    virtual ~Pool();

    /// Has `fn(args...)` called, and returns a Future of what it returns. Copies or moves
    /// the callable and its arguments, as spawn() does.
    ///
    /// Blocks: while the pool is full. Cancellation point.
    /// Throws PoolClosed if the pool is closed, or is meanwhile; Cancelled; std::system_error
    /// when there is no memory for a fiber, or no thread. Then nothing will be called.
    template <class F, class... Args>
    auto submit(F&& fn, Args&&... args) {
        return submit_by(Deadline::never(), std::forward<F>(fn), std::forward<Args>(args)...);
    }
    /// The same; returns a Future that stands for nothing if `deadline` passes first.
    template <class F, class... Args>
    auto submit_by(Deadline deadline, F&& fn, Args&&... args) {
        return give(deadline, detail::bind(std::forward<F>(fn), std::forward<Args>(args)...));
    }
    /// The same if there is room now. Does not wait for room.
    template <class F, class... Args>
    auto try_submit(F&& fn, Args&&... args) {
        return submit_by(detail::at_once, std::forward<F>(fn), std::forward<Args>(args)...);
    }

    /// submit() and get(). Interrupted while the task runs, it waits for its end all the
    /// same: the task may use what lies on the caller's stack. So it takes no Deadline; a
    /// Timeout ends the wait for the task's turn, and then it is never run.
    template <class F, class... Args>
    decltype(auto) apply(F&& fn, Args&&... args) {
        auto future = submit(std::forward<F>(fn), std::forward<Args>(args)...);
        try {
            future.wait();
        } catch (...) {
            keep_or_wait(future);
            throw;
        }
        return std::move(future).get();
    }

    /// submit() that calls `callback(value)`, or `callback()` without one, when the task has
    /// returned, and `error_callback(std::exception_ptr)` when it threw or was cancelled: in
    /// a fiber of its own of the caller's runtime. What they throw goes to the runtime's
    /// handler. Throws std::logic_error on a plain thread; the task is run then.
    template <class F, class Callback, class ErrorCallback>
    auto apply_async(F&& fn, Callback callback, ErrorCallback error_callback) {
        auto future = submit(std::forward<F>(fn));
        future.on_done([callback = std::move(callback),
                        error_callback = std::move(error_callback)](const auto& done) mutable {
            if (auto error = done.exception()) {
                error_callback(error);
            } else if constexpr (std::is_void_v<decltype(done.get())>) {
                callback();
            } else {
                callback(done.get());
            }
        });
        return future;
    }
    template <class F, class Callback>
    auto apply_async(F&& fn, Callback callback) {
        return apply_async(std::forward<F>(fn), std::move(callback), [](const auto&) {});
    }

    /// Calls `fn(item)` for each item of `range`: as many at once as the pool runs. Each task
    /// has copies of both. Returns the Results in the order of the items, or void.
    ///
    /// Blocks: until all are there. Cancellation point; a Timeout limits it.
    /// Throws what the first of the items that failed did; then, and when interrupted, tasks
    /// that have not begun never do, and those that have are waited for.
    template <class F, class Range>
    auto map(const F& fn, Range&& range) {
        return map_by([&fn](auto&& item) { return detail::bind_item(fn, item); }, range);
    }
    /// The same with `fn(parts...)`, for items that are tuples or pairs.
    template <class F, class Range>
    auto starmap(const F& fn, Range&& range) {
        return map_by([&fn](auto&& item) { return bind_parts(fn, item); }, range);
    }

    /// map() bit by bit: returns a range of the results, which takes items of `range` as the
    /// pool has room, at most twice its size ahead. Refers to `range` if that is an lvalue.
    /// Each step throws what its item's task did. Those in the making when it goes run on.
    template <class F, class Range>
    auto imap(F fn, Range&& range) {
        return detail::Mapped<Pool, F, Range, detail::InOrder>{*this, std::move(fn),
                                                               std::forward<Range>(range)};
    }
    /// The same, in the order in which the results come.
    template <class F, class Range>
    auto imap_unordered(F fn, Range&& range) {
        return detail::Mapped<Pool, F, Range, detail::AsTheyCome>{*this, std::move(fn),
                                                                  std::forward<Range>(range)};
    }

    /// No more tasks are taken; those that were will be run. Idempotent. Never blocks.
    virtual void close() = 0;
    /// close(); tasks that have not begun are cancelled, and those that run are if they are
    /// fibers: threads end theirs. Idempotent. Never blocks. Throws std::bad_alloc.
    virtual void terminate() = 0;
    /// Blocks: until all tasks have ended, or `deadline`. Cancellation point.
    /// Returns whether they have. Throws std::logic_error before close() or terminate();
    /// Cancelled.
    virtual bool join(Deadline deadline = Deadline::never()) = 0;

    /// How many tasks it runs at once.
    std::size_t size() const noexcept { return size_; }
    /// How many tasks there are, running or waiting. Momentary, as is the next.
    virtual std::size_t unfinished() const noexcept = 0;
    /// How many tasks more it would begin at once.
    std::size_t free_count() const noexcept {
        const std::size_t busy = unfinished();
        return busy < size_ ? size_ - busy : 0;
    }

protected:
    /// Throws std::invalid_argument when `size` is 0.
    explicit Pool(std::size_t size);

private:
    /// Takes the job, to be run or dropped. False at the deadline; then, and when it throws,
    /// the job is not taken.
    virtual bool take(std::unique_ptr<detail::PoolJob> job, Deadline deadline) = 0;

    template <class Call>
    auto give(Deadline deadline, Call&& call) {
        using Job = detail::Job<std::decay_t<Call>>;
        auto job = std::make_unique<Job>(std::forward<Call>(call));
        auto future = job->future();
        if (!take(std::move(job), deadline)) future = decltype(future){};
        return future;
    }

    // A task that has not begun never will; one that has is waited for.
    template <class T>
    static void keep_or_wait(const Future<T>& future) {
        if (future.cancel()) return;
        const this_fiber::Shield shield;
        future.wait();
    }

    template <class Bind, class Range>
    auto map_by(Bind bind, Range& range) {
        using R = std::invoke_result_t<decltype(bind(*std::begin(range)))&>;
        Queue<Future<R>> futures;
        try {
            for (auto&& item : range) futures.put(submit(bind(item)));
            if constexpr (std::is_void_v<R>) {
                while (auto future = futures.try_get()) future->get();
            } else {
                Results<R> results{futures.size()};
                while (auto future = futures.try_get()) {
                    results.add([&future] { return future->take(); });
                }
                return results;
            }
        } catch (...) {
            while (auto future = futures.try_get()) keep_or_wait(*future);
            throw;
        }
    }

    template <class F, class Item>
    static auto bind_parts(const F& fn, Item&& item) {
        using Parts = std::decay_t<Item>;
        return [fn = fn, parts = Parts(std::forward<Item>(item))]() mutable {
            return call_with(fn, std::move(parts),
                             std::make_index_sequence<std::tuple_size_v<Parts>>{});
        };
    }
    template <class F, class Parts, std::size_t... i>
    static auto call_with(F& fn, Parts&& parts, std::index_sequence<i...>) {
        using std::get;
        return detail::invoke(fn, get<i>(std::move(parts))...);
    }

    const std::size_t size_;
};

}  // namespace weft
