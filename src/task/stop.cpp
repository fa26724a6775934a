// Cancellation and std::stop_token, both ways. Layer: task. Uses: base, sched, park.
//
// A fiber's own stop_source is made when somebody first asks for its token.
// That may be while it is cancelled: the canceller sets the flag, then looks for
// a source; the maker publishes the source, then looks at the flag. One of the
// two sees the other. Both may: stopping twice is stopping once.
//
// What other tokens do to it lies in links, each with a std::stop_callback.
// Locking: FiberExtras::links by the fiber's joiners.lock(); links are made and
//  destroyed outside of it, for that calls, or waits for, a callback.
#include <weft/stop_token.hpp>

#include "task/stop.hpp"

#include "base/sanitizer.hpp"
#include "park/park.hpp"
#include "sched/worker.hpp"

#include <memory>

namespace weft {

namespace detail {

namespace {

// Its fiber outlives it, because it is gone when that has ended.
struct CancelFiber {
    FiberCore* fiber;
    void operator()() const noexcept { cancel(fiber); }
};

struct TokenLink final : StopLink {
    TokenLink(FiberCore* fiber, std::stop_token token)
        : callback{std::move(token), CancelFiber{fiber}} {}
    std::stop_callback<CancelFiber> callback;
};

std::stop_source& need_source(FiberCore& fiber) {
    auto& there = fiber.need_extras().stop;
    std::stop_source* source = there.load(std::memory_order_acquire);
    if (source != nullptr) return *source;
    auto made = std::make_unique<std::stop_source>();
    // seq_cst: pairs with stop_tokens() of park; the flag is read after it.
    if (there.compare_exchange_strong(source, made.get(), std::memory_order_seq_cst)) {
        source = made.release();
    }
    return *source;
}

}  // namespace

void drop_links(StopLink* links) noexcept {
    // What a thread's stop request wrote libstdc++ reads back on that thread without
    // an edge. TSan knows its fibers apart; the callback, which never suspends, is over.
    const Unobserved quiet;
    while (links != nullptr) {
        const std::unique_ptr<StopLink> first{links};
        links = first->next;
    }
}

}  // namespace detail

std::stop_token stop_token_of(const FiberRef& fiber) {
    detail::FiberCore& core = *detail::core_of(fiber);
    std::stop_source& source = detail::need_source(core);
    if (core.cancel_pending()) source.request_stop();  // see the head
    return source.get_token();
}

void cancel_on(const FiberRef& fiber, std::stop_token token) {
    detail::FiberCore& core = *detail::core_of(fiber);
    detail::FiberExtras& extras = core.need_extras();
    auto link = std::make_unique<detail::TokenLink>(&core, std::move(token));
    const detail::Held held{core.joiners.lock()};
    if (fiber.done()) return;  // the link goes as it came, once the lock is released
    link->next = extras.links;
    extras.links = link.release();
}

namespace this_fiber {

std::stop_token stop_token() {
    detail::Worker* const worker = detail::Worker::current();
    if (worker == nullptr || worker->fiber() == nullptr) return {};
    return stop_token_of(FiberRef{worker->fiber()});
}

}  // namespace this_fiber
}  // namespace weft
