#pragma once

#include <weft/cancelled.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/invoke.hpp>
#include <weft/detail/wait_queue.hpp>
#include <weft/fiber.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

class TaskGroup;

namespace detail {

struct Child;

/// Of one that is to be started. Throws std::logic_error when the group is closed.
WEFT_API Child* prepare_child(TaskGroup& group);
/// There will be no such child.
WEFT_API void forget_child(Child*) noexcept;
/// Throws std::system_error; then there is none.
WEFT_API void start_child(Child*, FiberCore* core);
/// In the child.
WEFT_API void child_failed(Child*, std::exception_ptr error) noexcept;
WEFT_API void run_task_group(void (*body)(void*, TaskGroup&), void* context);

/// What a child runs.
template <class F>
struct ChildBody {
    decltype(auto) operator()() {
        try {
            return function();
        } catch (...) {
            child_failed(child, std::current_exception());
            throw;
        }
    }
    F function;
    Child* child;
};

}  // namespace detail

/// Fibers that end before their scope does. (Trio's nursery, asyncio.TaskGroup.)
///
///     task_group([&](TaskGroup& group) {
///         group.start_soon(serve, first);
///         group.start_soon(serve, second);
///     });
///
/// The first failure, which is an exception other than Cancelled that leaves a child,
/// cancels all others, and what task_group() runs; it is thrown when all have ended.
/// Whatever interrupts the owner, a cancellation or a Timeout, first ends the children.
/// So a time limit around a group is one for them all. Nothing in a group cancels what
/// is outside of it.
///
/// As an object, for a scope that is no function, it does not interrupt its owner
/// out of join(): that throws when it comes to it.
///
/// Thread safety: start_soon(), cancel() and the questions from any fiber, cancel() also
///  from a plain thread, as long as the group is open; the others for its owner.
/// Lifetime: of a fiber's scope, which is its owner. The destructor waits.
class WEFT_API TaskGroup {
public:
    /// Throws std::logic_error outside a fiber.
    TaskGroup();
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;
    /// Without a join() before it: cancels the children and waits for them, whatever
    /// comes. Failures nobody was told of go to the runtime's handler.
    ~TaskGroup();

    /// spawn(), as a child: run at the next opportunity. The handle may be kept for its
    /// result, cancelled, which is no failure, waited for, or dropped; what it throws
    /// is the group's in any case. In a group that was cancelled the child never runs.
    ///
    /// Never blocks. Throws as spawn() does, and std::logic_error when the group is
    /// closed; then nothing was started.
    template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, SpawnOptions>) auto start_soon(
        F&& fn, Args&&... args) {
        return start_soon(SpawnOptions{}, std::forward<F>(fn), std::forward<Args>(args)...);
    }
    template <class F, class... Args>
    auto start_soon(const SpawnOptions& options, F&& fn, Args&&... args) {
        auto bound = detail::bind(std::forward<F>(fn), std::forward<Args>(args)...);
        using Callable = decltype(bound);
        detail::Child* const child = detail::prepare_child(*this);
        detail::FiberCore* core = nullptr;
        try {
            core = detail::make_fiber(nullptr, options,
                                      detail::ChildBody<Callable>{std::move(bound), child});
        } catch (...) {
            detail::forget_child(child);
            throw;
        }
        detail::start_child(child, core);
        return Fiber<std::invoke_result_t<Callable&>>{core};
    }

    /// Cancels the children, those to come, and what task_group() runs, which then
    /// returns as if all had ended. No failure. Idempotent. Never blocks.
    void cancel() noexcept;
    bool cancelled() const noexcept;

    /// Children that have not ended, at this moment. Never blocks.
    std::size_t size() const noexcept;

    /// Waits for all children, and for those they start, then closes the group. When it is
    /// interrupted, cancels them, waits on, and throws that at last.
    ///
    /// Blocks: until all have ended. Cancellation point. Takes no Deadline, for nobody is left
    /// behind: a Timeout around it has the children cancelled.
    /// Throws the first failure; failures() has them all. Else what interrupted it.
    void join();

    /// What failed, in order, the first of which join() throws. After join().
    std::size_t failures() const noexcept { return failure_count_; }
    std::exception_ptr failure(std::size_t index) noexcept;

private:
    friend struct detail::Child;
    friend detail::Child* detail::prepare_child(TaskGroup&);
    friend void detail::forget_child(detail::Child*) noexcept;
    friend void detail::start_child(detail::Child*, detail::FiberCore*);
    friend void detail::child_failed(detail::Child*, std::exception_ptr) noexcept;
    friend void detail::run_task_group(void (*)(void*, TaskGroup&), void*);

    void note_failure(detail::Child& whose, std::exception_ptr error) noexcept;
    void end_all() noexcept;
    detail::FiberCore* condemn_one() noexcept;
    void interrupt_owner() noexcept;
    void release() noexcept;
    std::exception_ptr wait_for_children(std::exception_ptr interrupted) noexcept;
    bool close_or_park(bool may_throw);
    void run_body(void (*body)(void*, TaskGroup&), void* context);
    void set_interrupts_owner(bool does) noexcept;
    void throw_outcome(std::exception_ptr interrupted);
    void report_failures() noexcept;

    detail::FiberCore* const owner_;
    mutable detail::WaitQueue waiters_;  // the owner, in join()

    // --- guarded by waiters_.lock() ---
    std::size_t alive_ = 0;               // children, and who is in cancel()
    detail::Child* active_ = nullptr;     // those not cancelled by the group
    detail::Child* condemned_ = nullptr;  // those that are
    detail::Child* spent_ = nullptr;      // nodes without a child
    detail::Child* first_failed_ = nullptr;
    detail::Child* last_failed_ = nullptr;
    std::size_t failure_count_ = 0;
    bool cancelled_ = false;
    bool closed_ = false;
    bool interrupts_owner_ = false;  // it is in the body
    bool interrupted_owner_ = false;

    // --- owner only ---
    detail::Child* const body_;  // the node of the body's failure
    std::exception_ptr interrupt_;
    std::size_t told_ = 0;  // failures that somebody was told of
};

/// Calls `body(group)` and waits for all that is started in that group, whatever
/// happens. Returns what `body` returns.
///
/// Blocks: until body and children have ended; a Timeout limits it as TaskGroup::join().
/// Cancellation point.
/// Throws the first failure, of a child or of `body`; the others go to the runtime's
/// handler (a TaskGroup of one's own has them all). Else what interrupted it; Cancelled
/// when the group was cancelled before `body` had a result to return.
template <class F>
auto task_group(F&& body) {
    using Result = std::invoke_result_t<F&, TaskGroup&>;
    if constexpr (std::is_void_v<Result>) {
        detail::run_task_group(
            [](void* f, TaskGroup& group) {
                (*static_cast<std::remove_reference_t<F>*>(f))(group);
                detail::comes_back();
            },
            const_cast<void*>(static_cast<const void*>(std::addressof(body))));
    } else {
        std::optional<Result> result;
        auto keep = [&](TaskGroup& group) {
            result.emplace(body(group));
            detail::comes_back();
        };
        detail::run_task_group(
            [](void* f, TaskGroup& group) { (*static_cast<decltype(keep)*>(f))(group); }, &keep);
        if (!result) throw Cancelled{};
        return std::move(*result);
    }
}

}  // namespace weft
