#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/fiber_pool.hpp>
#include <weft/future.hpp>
#include <weft/io/process.hpp>

#include <cstddef>
#include <type_traits>
#include <utility>

namespace weft::io {

/// At most `size` commands at once, each run() in a fiber of its own. (What
/// multiprocessing.Pool is to functions.)
///
/// A FiberPool of such fibers: who gives it work waits while it is full, the results are
/// Futures, and at its end it is closed or terminated, and joined. terminate() kills the
/// commands that run, as does the destructor; their Futures throw Cancelled.
///
/// Thread safety, lifetime: as Pool and FiberPool.
class WEFT_API ProcessPool {
public:
    /// Its fibers are of the runtime of whoever gives it work, who must be a fiber.
    explicit ProcessPool(std::size_t size) : pool_{size, options} {}
    /// Its fibers are of `runtime`, also for plain threads.
    ProcessPool(Runtime& runtime, std::size_t size) : pool_{runtime, size, options} {}

    /// Has the command run, and returns a Future of what it left, or of what run() throws.
    ///
    /// Blocks: while the pool is full. Cancellation point.
    /// Throws PoolClosed, Cancelled, std::system_error as Pool::submit().
    Future<Completed> submit(Arguments arguments, RunOptions how = {}) {
        return pool_.submit(Command{std::move(how)}, std::move(arguments));
    }
    /// The same; returns a Future that stands for nothing if `deadline` passes first.
    Future<Completed> submit_by(Deadline deadline, Arguments arguments, RunOptions how = {}) {
        return pool_.submit_by(deadline, Command{std::move(how)}, std::move(arguments));
    }
    /// The same if there is room now. Does not wait for room.
    Future<Completed> try_submit(Arguments arguments, RunOptions how = {}) {
        return pool_.try_submit(Command{std::move(how)}, std::move(arguments));
    }

    /// Runs a command for each of a range of Arguments. See Pool::map(): here, too, those
    /// that run when one throws are waited for.
    template <class Range>
    auto map(Range&& range, RunOptions how = {}) {
        return pool_.map(Command{std::move(how)}, std::forward<Range>(range));
    }
    /// See Pool::imap() and imap_unordered().
    template <class Range>
    auto imap(Range&& range, RunOptions how = {}) {
        return pool_.imap(Command{std::move(how)}, std::forward<Range>(range));
    }
    template <class Range>
    auto imap_unordered(Range&& range, RunOptions how = {}) {
        return pool_.imap_unordered(Command{std::move(how)}, std::forward<Range>(range));
    }

    // As Pool's.
    void close() { pool_.close(); }
    void terminate() { pool_.terminate(); }
    bool join(Deadline deadline = Deadline::never()) { return pool_.join(deadline); }
    std::size_t size() const noexcept { return pool_.size(); }
    std::size_t unfinished() const noexcept { return pool_.unfinished(); }
    std::size_t free_count() const noexcept { return pool_.free_count(); }

private:
    static constexpr PoolOptions options{.name = "process"};

    struct Command {
        Completed operator()(const Arguments& arguments) const { return run(arguments, how); }
        RunOptions how;
    };

    FiberPool pool_;
};

}  // namespace weft::io
