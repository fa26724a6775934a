// ThreadPool. Layer: task. Uses: sched, sync.
//
// The jobs are in a Queue, whose putters are the pool's callers and whose getters are its
// threads: it does the waiting, the order and the end.
//
// Invariant: there is a thread for each unfinished job, or there are `size`, or no more
// could be had. A job counts from before its thread is looked for until it is done, lest
// two givers at once make do with one thread.
#include <weft/thread_pool.hpp>

#include "base/own_thread.hpp"
#include "task/pool_of_process.hpp"

#include <weft/lock.hpp>
#include <weft/run_blocking.hpp>
#include <weft/wait_group.hpp>

#include <pthread.h>

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace weft {

struct ThreadPool::State {
    explicit State(const PoolOptions& options)
        : name{options.name.empty() ? "pool" : options.name}, jobs{options.waiting} {}

    const std::string name;
    // --- any thread ---
    Queue<std::unique_ptr<detail::PoolJob>> jobs;
    WaitGroup alive;                     // threads
    std::atomic<std::size_t> givers{0};  // who is about to put a job, or just did
    Lock lock;
    // --- guarded by lock ---
    std::vector<std::thread> threads;
    std::exception_ptr broken;  // what the initializer threw
};

namespace {

class Giving {
public:
    explicit Giving(std::atomic<std::size_t>& givers) noexcept : givers_{givers} { ++givers_; }
    Giving(const Giving&) = delete;
    Giving& operator=(const Giving&) = delete;
    ~Giving() { --givers_; }

private:
    std::atomic<std::size_t>& givers_;
};

}  // namespace

ThreadPool::State* ThreadPool::make(const PoolOptions& options) { return new State{options}; }

ThreadPool::ThreadPool(std::size_t size, const PoolOptions& options)
    : Pool{size}, state_{make(options)} {}

ThreadPool::~ThreadPool() {
    terminate();
    {
        const this_fiber::Shield shield;
        state_->alive.wait();
    }
    for (std::thread& thread : state_->threads) thread.join();
    delete state_;
}

bool ThreadPool::take(std::unique_ptr<detail::PoolJob> job, Deadline deadline) {
    const Giving giving{state_->givers};
    start_thread_if_needed();
    try {
        if (deadline == detail::at_once) return state_->jobs.try_put(std::move(job));
        return state_->jobs.put(std::move(job), deadline);
    } catch (const QueueClosed&) {
        const std::lock_guard hold{state_->lock};
        if (state_->broken != nullptr) std::rethrow_exception(state_->broken);
        throw PoolClosed{};
    }
}

void ThreadPool::start_thread_if_needed() {
    const std::lock_guard hold{state_->lock};
    const std::size_t number = state_->threads.size();
    if (number == size() || state_->jobs.closed()) return;
    // In this order: whose job is put is a giver no more.
    const std::size_t others = state_->givers - 1;
    if (number > others + state_->jobs.unfinished()) return;
    state_->threads.reserve(number + 1);
    state_->alive.add(1);
    try {
        state_->threads.push_back(detail::start_own_thread([this, number] { serve(number); }));
    } catch (const std::system_error&) {
        state_->alive.done();
        if (number == 0) throw;  // else those that are will do
    }
}

void ThreadPool::serve(std::size_t number) noexcept {
    const std::string name = state_->name.substr(0, 10) + '-' + std::to_string(number);
    pthread_setname_np(pthread_self(), name.c_str());
    if (initialize()) {
        for (auto& job : state_->jobs) {
            job->run();
            job.reset();  // before the pool is told that it is done
            state_->jobs.task_done();
        }
    }
    state_->alive.done();
}

bool ThreadPool::initialize() noexcept {
    if (!initializer_) return true;
    try {
        initializer_();
        return true;
    } catch (...) {
        const std::exception_ptr error = std::current_exception();
        {
            const std::lock_guard hold{state_->lock};
            if (state_->broken == nullptr) state_->broken = error;
        }
        drop_waiting(error);
        return false;
    }
}

void ThreadPool::drop_waiting(std::exception_ptr error) {
    auto waiting = state_->jobs.close_now();
    for (auto& job : waiting) job->drop(error);
}

void ThreadPool::close() { state_->jobs.close(); }

void ThreadPool::terminate() { drop_waiting(nullptr); }

bool ThreadPool::join(Deadline deadline) {
    if (!state_->jobs.closed()) {
        throw std::logic_error{"weft: join() of a pool that is not closed"};
    }
    return state_->jobs.join(deadline) && state_->alive.wait(deadline);
}

std::size_t ThreadPool::unfinished() const noexcept { return state_->jobs.unfinished(); }

namespace detail {

ThreadPool& blocking_pool() {
    static constinit PoolOfProcess pool{most_blocking_calls, "blocking", 0};
    return pool.get();
}

}  // namespace detail

}  // namespace weft
