// PoolOfProcess: a ThreadPool that all runtimes of a process share. Layer: task. Uses: std.
//
// Made when it is first asked for and never destroyed, for its calls may last longer than main().
// A forked child has none of its threads, so it makes one of its own.
#pragma once

#include <weft/thread_pool.hpp>

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <memory>

namespace weft::detail {

class PoolOfProcess {
public:
    constexpr PoolOfProcess(std::size_t size, const char* name, std::size_t waiting) noexcept
        : size_{size}, name_{name}, waiting_{waiting} {}
    PoolOfProcess(const PoolOfProcess&) = delete;
    PoolOfProcess& operator=(const PoolOfProcess&) = delete;

    /// Any thread. Throws std::bad_alloc.
    ThreadPool& get() {
        const pid_t me = ::getpid();
        Made* there = made_.load(std::memory_order_acquire);
        while (there == nullptr || there->owner != me) {
            auto fresh = std::make_unique<Made>(me, size_, name_, waiting_);
            if (made_.compare_exchange_strong(there, fresh.get())) there = fresh.release();
        }
        return there->pool;
    }

private:
    struct Made {
        Made(pid_t pid, std::size_t size, const char* name, std::size_t waiting)
            : owner{pid}, pool{size, {.name = name, .waiting = waiting}} {}
        const pid_t owner;
        ThreadPool pool;
    };

    const std::size_t size_;
    const char* const name_;
    const std::size_t waiting_;
    std::atomic<Made*> made_{nullptr};
};

}  // namespace weft::detail
