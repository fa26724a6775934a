#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/invoke.hpp>
#include <weft/fiber.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace weft {

/// A fiber as an object: derive, override run(), call start(). (The subclass
/// style of Python's threading.Thread.)
///
/// What run() throws goes to the runtime's handler. A Thread must not be
/// destroyed while it runs, for run() uses it: the destructor then says which
/// it is and calls std::terminate(), as ~std::thread does. A derived class's
/// destructor may cancel() and join() it.
///
/// Thread safety: start() once, by whom it may be; after it every member but the
/// destructor, from any fiber or plain thread.
/// Lifetime: once started, must not outlive its Runtime.
class WEFT_API Thread {
public:
    /// Copies the name. Throws std::bad_alloc.
    explicit Thread(const SpawnOptions& options = {});
    Thread(const Thread&) = delete;
    Thread& operator=(const Thread&) = delete;
    virtual ~Thread();

    /// Starts the fiber, in the calling fiber's runtime. Never blocks.
    /// Throws std::logic_error when it was started before, or outside a runtime;
    /// std::system_error when there is no memory for it: then it was not started.
    void start() {
        start_with([](Thread& self) {
            self.run();
            detail::comes_back();
        });
    }

    /// Blocks: until run() is over or `deadline`. Cancellation point.
    /// Returns whether it is over. Throws std::logic_error before start();
    /// Cancelled; std::system_error(resource_deadlock_would_occur) in run().
    bool join(Deadline deadline = Deadline::never());

    /// Whether it was started and has not ended. Never blocks.
    bool is_alive() const noexcept { return fiber_ && !fiber_.done(); }

    /// Cancels the fiber, see Fiber::cancel(). Does nothing before start().
    void cancel() noexcept {
        if (fiber_) fiber_.cancel();
    }

    /// As given to the constructor.
    std::string_view name() const noexcept { return options_.name; }
    bool daemon() const noexcept { return options_.daemon; }

    /// The fiber's, or 0 before start().
    std::uint64_t id() const noexcept { return fiber_ ? fiber_.id() : 0; }

    /// The fiber; none before start().
    FiberRef fiber() const noexcept { return fiber_; }

protected:
    /// What the fiber does.
    virtual void run() = 0;

private:
    void start_with(void (*body)(Thread&));

    SpawnOptions options_;  // its name is new[]
    FiberRef fiber_;        // set before the fiber begins
};

}  // namespace weft
