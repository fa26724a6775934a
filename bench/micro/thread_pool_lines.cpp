// The plainest thread pool: a mutex, a condition variable and a deque, through
// the lines it can take part in. Layer: benchmarks, micro.
//
// Its tasks cannot wait without holding a thread, so it has spawning lines only.
#include "micro/lines.hpp"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>

namespace {

class Pool {
public:
    explicit Pool(unsigned threads) {
        for (unsigned i = 0; i < threads; ++i) {
            std::thread{[this] { work(); }}.detach();
        }
    }

    void submit(std::function<void()> function) {
        {
            const std::lock_guard lock{mutex_};
            functions_.push_back(std::move(function));
        }
        submitted_.notify_one();
    }

private:
    void work() {
        for (;;) take()();
    }

    std::function<void()> take() {
        std::unique_lock lock{mutex_};
        submitted_.wait(lock, [this] { return !functions_.empty(); });
        auto function = std::move(functions_.front());
        functions_.pop_front();
        return function;
    }

    std::mutex mutex_;
    std::condition_variable submitted_;
    std::deque<std::function<void()>> functions_;  // guarded by mutex_
};

struct PoolPeer {
    static std::string name(unsigned) { return "thread_pool"; }

    using Task = std::shared_ptr<std::atomic<int>>;  // 1 once the function returned
    template <class F>
    static Task spawn(F&& function) {
        auto done = std::make_shared<std::atomic<int>>(0);
        pool->submit([done, function = std::forward<F>(function)]() mutable {
            function();
            done->store(1, std::memory_order_release);
            done->notify_one();
        });
        return done;
    }
    static void join(Task& task) {
        task->wait(0, std::memory_order_acquire);
        task.reset();
    }
    static void pause() { usleep(1'000); }

    class Semaphore {
    public:
        explicit Semaphore(int units) : semaphore_{units} {}
        void acquire() { semaphore_.acquire(); }
        void release() { semaphore_.release(); }

    private:
        std::counting_semaphore<> semaphore_;
    };

    template <class F>
    static void foreign_spawn(F&& function) {
        pool->submit(std::forward<F>(function));
    }

    template <class Body>
    static void run(unsigned workers, Body body) {
        Pool mine{workers};
        pool = &mine;
        body();
    }

    static inline Pool* pool = nullptr;
};

}  // namespace

int main(int count, char** arguments) { return bench::main_of<PoolPeer>(count, arguments); }
