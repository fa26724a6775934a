// FiberPool. Layer: task. Uses: sync.
//
// A Task is one of `size` places, a job and the fiber for it. It gives its place back
// when it is destroyed, that is when its fiber has ended or never will have run.
//
// Invariants
//  1. slots has a unit for each place nobody has, and more once the pool is closed: as
//     many as it takes to wake all who wait for one, who then see `closed`.
//  2. tasks counts the Tasks; it is raised under `lock` while not `closed` only. So
//     once join() has seen `closed`, zero is for good.
#include <weft/fiber_pool.hpp>

#include <weft/fiber_ref.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>
#include <weft/semaphore.hpp>
#include <weft/wait_group.hpp>

#include <atomic>
#include <limits>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>

namespace weft {

struct FiberPool::State {
    struct Running {
        FiberRef fiber;
        bool cancelled = false;  // all behind it are then, too
    };

    State(Runtime* of, std::size_t size, const PoolOptions& options)
        : runtime{of}, name{options.name}, slots{static_cast<std::ptrdiff_t>(size)} {}

    // --- fixed after construction ---
    Runtime* const runtime;  // null: the caller's
    const std::string name;
    // --- any thread ---
    Semaphore slots;
    WaitGroup tasks;
    std::atomic<std::size_t> unfinished{0};
    Lock lock;
    // --- guarded by lock ---
    bool closed = false;
    bool terminated = false;
    std::list<Running> running;
};

namespace {

void run_unless_it_throws(detail::PoolJob& job, detail::Action& initializer) noexcept {
    try {
        if (initializer) initializer();
    } catch (...) {
        return job.drop(std::current_exception());
    }
    job.run();
}

}  // namespace

class FiberPool::Task {
public:
    Task(FiberPool& pool, std::unique_ptr<detail::PoolJob> job) noexcept
        : pool_{&pool}, job_{std::move(job)} {
        pool_->state_->unfinished.fetch_add(1, std::memory_order_relaxed);
    }
    Task(Task&&) noexcept = default;
    ~Task() {
        if (job_ == nullptr) return;
        job_->drop(nullptr);  // unless it was run
        job_.reset();
        State& state = *pool_->state_;
        state.unfinished.fetch_sub(1, std::memory_order_relaxed);
        state.slots.release();
        state.tasks.done();  // last: the pool may be gone after it
    }
    void operator()() noexcept { pool_->run(*job_); }

private:
    FiberPool* pool_;
    std::unique_ptr<detail::PoolJob> job_;
};

FiberPool::State* FiberPool::make(Runtime* runtime, std::size_t size, const PoolOptions& options) {
    return new State{runtime, size, options};
}

FiberPool::FiberPool(std::size_t size, const PoolOptions& options)
    : Pool{size}, state_{make(nullptr, size, options)} {}

FiberPool::FiberPool(Runtime& runtime, std::size_t size, const PoolOptions& options)
    : Pool{size}, state_{make(&runtime, size, options)} {}

FiberPool::~FiberPool() {
    terminate();
    {
        const this_fiber::Shield shield;
        state_->tasks.wait();
    }
    delete state_;
}

bool FiberPool::take(std::unique_ptr<detail::PoolJob> job, Deadline deadline) {
    State& state = *state_;
    const bool has_place =
        deadline == detail::at_once ? state.slots.try_acquire() : state.slots.acquire(deadline);
    if (!has_place) return false;
    {
        const std::lock_guard hold{state.lock};
        if (state.closed) throw PoolClosed{};
        state.tasks.add(1);
    }
    Task task{*this, std::move(job)};
    detail::spawn_on(state.runtime, SpawnOptions{.name = state.name}, std::move(task)).detach();
    return true;
}

void FiberPool::run(detail::PoolJob& job) noexcept {
    State& state = *state_;
    std::unique_lock hold{state.lock};
    if (state.terminated) return;
    const auto me = state.running.insert(state.running.begin(), {current()});
    hold.unlock();
    run_unless_it_throws(job, initializer_);
    hold.lock();
    state.running.erase(me);
}

void FiberPool::close() {
    {
        const std::lock_guard hold{state_->lock};
        if (std::exchange(state_->closed, true)) return;
    }
    state_->slots.release(std::numeric_limits<std::ptrdiff_t>::max() / 2);
}

void FiberPool::terminate() {
    close();
    std::unique_lock hold{state_->lock};
    state_->terminated = true;
    auto& running = state_->running;
    while (!running.empty() && !running.front().cancelled) {
        running.front().cancelled = true;
        FiberRef fiber = running.front().fiber;
        running.splice(running.end(), running, running.begin());
        // Who watches for its cancellation may ask the pool for something.
        hold.unlock();
        fiber.cancel();
        hold.lock();
    }
}

bool FiberPool::join(Deadline deadline) {
    {
        const std::lock_guard hold{state_->lock};
        if (!state_->closed) throw std::logic_error{"weft: join() of a pool that is not closed"};
    }
    return state_->tasks.wait(deadline);
}

std::size_t FiberPool::unfinished() const noexcept {
    return state_->unfinished.load(std::memory_order_relaxed);
}

}  // namespace weft
