// Layer: hooks. Uses: task.
#include "hooks/thread_call.hpp"

namespace weft::hooks::detail {

namespace {

std::atomic<ThreadPool*> threads{nullptr};

}  // namespace

ThreadPool& call_threads() {
    if (ThreadPool* const there = threads.load(std::memory_order_acquire)) return *there;
    ThreadPool* first = nullptr;
    auto made =
        std::make_unique<ThreadPool>(most_thread_calls, PoolOptions{.name = "hooks", .waiting = 0});
    return threads.compare_exchange_strong(first, made.get()) ? *made.release() : *first;
}

void forget_call_threads() noexcept { threads.store(nullptr, std::memory_order_relaxed); }

}  // namespace weft::hooks::detail
