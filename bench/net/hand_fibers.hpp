// Fibers for one thread, by hand: as little as a fiber per connection needs.
// Layer: benchmarks, net.
//
// The limit that a runtime is compared with: no work stealing, no cancellation,
// no deadlines, no exceptions across a switch. The thread that runs the loop
// jumps to a fiber; the fiber jumps back when it parks. So current_ is set
// exactly while a fiber runs, and everything belongs to that thread.
#pragma once

#include "net/sockets.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <sys/mman.h>

#include <cstddef>
#include <vector>

namespace bench {

class HandFibers {
public:
    struct Fiber {
        boost::context::detail::fcontext_t context = nullptr;
        void* argument = nullptr;
        std::byte* stack = nullptr;
    };

    /// Every fiber runs `body` on the argument it was spawned with.
    explicit HandFibers(void (*body)(void* argument)) noexcept : body_{body} {}
    HandFibers(const HandFibers&) = delete;
    HandFibers& operator=(const HandFibers&) = delete;

    void spawn(void* argument) {
        Fiber* fiber = take_fiber();
        fiber->argument = argument;
        fiber->context = boost::context::detail::make_fcontext(fiber->stack + stack_size,
                                                               stack_size, &HandFibers::enter);
        ready(*fiber);
    }

    void ready(Fiber& fiber) { ready_.push_back(&fiber); }

    /// The fiber that runs.
    Fiber& current() noexcept { return *current_; }

    /// Leaves the calling fiber until somebody calls ready() for it.
    void park() noexcept { loop_ = boost::context::detail::jump_fcontext(loop_, nullptr).fctx; }

    /// Runs fibers in order, those too that become ready meanwhile.
    void run_ready() {
        for (std::size_t next = 0; next < ready_.size(); ++next) resume(*ready_[next]);
        ready_.clear();
    }

private:
    static constexpr std::size_t stack_size = 32 * 1024;

    /// Fibers and stacks are kept for ever and used again.
    Fiber* take_fiber() {
        if (!spare_.empty()) {
            Fiber* fiber = spare_.back();
            spare_.pop_back();
            return fiber;
        }
        void* stack = mmap(nullptr, stack_size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (stack == MAP_FAILED) fail("mmap");
        return new Fiber{nullptr, nullptr, static_cast<std::byte*>(stack)};
    }

    void resume(Fiber& fiber) noexcept {
        current_ = &fiber;
        fiber.context = boost::context::detail::jump_fcontext(fiber.context, this).fctx;
    }

    static void enter(boost::context::detail::transfer_t from) {
        auto& self = *static_cast<HandFibers*>(from.data);
        self.loop_ = from.fctx;
        Fiber* fiber = self.current_;
        self.body_(fiber->argument);
        self.spare_.push_back(fiber);
        self.park();  // and never comes back: the next spawn makes a new context
    }

    void (*body_)(void*);
    boost::context::detail::fcontext_t loop_ = nullptr;  // of the loop, while a fiber runs
    Fiber* current_ = nullptr;
    std::vector<Fiber*> ready_;
    std::vector<Fiber*> spare_;
};

}  // namespace bench
