// Boost.Fiber through the common lines: round robin with one worker, work
// stealing with more. Layer: benchmarks, micro.
//
// It has no semaphore, so one is made of its mutex and condition variable, as
// its users do; and a plain thread cannot spawn, so a dispatcher fiber takes
// functions out of a channel. That is the idiom of its documentation.
#include "micro/lines.hpp"

#include <boost/fiber/all.hpp>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace fibers = boost::fibers;
using Functions = fibers::buffered_channel<std::function<void()>>;

fibers::fixedsize_stack& stacks() {
    static fibers::fixedsize_stack allocator{bench::stack_size()};
    return allocator;
}

void use_algorithm(unsigned workers) {
    if (workers == 1) return fibers::use_scheduling_algorithm<fibers::algo::round_robin>();
    fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(workers,
                                                                  true);  // idle ones sleep
}

/// The threads beside the first. They run fibers while they wait, for ever:
/// the process ends without them.
class OtherWorkers {
public:
    explicit OtherWorkers(unsigned workers) {
        for (unsigned i = 1; i < workers; ++i) {
            threads_.emplace_back([this, workers] {
                use_algorithm(workers);
                std::unique_lock lock{mutex_};
                never_.wait(lock, [] { return false; });
            });
        }
    }

private:
    std::mutex mutex_;
    fibers::condition_variable_any never_;
    std::vector<std::thread> threads_;
};

struct BoostFiberPeer {
    static std::string name(unsigned workers) { return workers == 1 ? "bf_rr" : "bf_ws"; }

    using Task = fibers::fiber;
    template <class F>
    static Task spawn(F&& function) {
        return fibers::fiber(fibers::launch::post, std::allocator_arg, stacks(),
                             std::forward<F>(function));
    }
    static void join(Task& task) { task.join(); }

    static void yield() { boost::this_fiber::yield(); }
    static void sleep_us(std::uint64_t time) {
        boost::this_fiber::sleep_for(std::chrono::microseconds{time});
    }
    static void pause() { sleep_us(1'000); }

    using Mutex = fibers::mutex;

    class Condition {
    public:
        template <class Predicate>
        void wait(Mutex& mutex, Predicate predicate) {
            while (!predicate()) condition_.wait(mutex);
        }
        void notify_one() { condition_.notify_one(); }

    private:
        fibers::condition_variable_any condition_;
    };

    class Semaphore {
    public:
        explicit Semaphore(long units) : units_{units} {}
        void acquire() {
            mutex_.lock();
            while (units_ == 0) released_.wait(mutex_);
            --units_;
            mutex_.unlock();
        }
        void release() {
            mutex_.lock();
            ++units_;
            released_.notify_one();
            mutex_.unlock();
        }

    private:
        Mutex mutex_;
        fibers::condition_variable_any released_;
        long units_;  // guarded by mutex_
    };

    template <class Queue>
    class AnyChannel {
    public:
        template <class... Capacity>
        explicit AnyChannel(Capacity... capacity) : queue_{capacity...} {}
        void push(std::uint64_t value) { queue_.push(value); }
        std::uint64_t pop() {
            std::uint64_t value = 0;
            queue_.pop(value);
            return value;
        }

    private:
        Queue queue_;
    };
    class Channel : public AnyChannel<fibers::buffered_channel<std::uint64_t>> {
    public:
        explicit Channel(std::size_t capacity) : AnyChannel{capacity} {}
    };
    using Meeting = AnyChannel<fibers::unbuffered_channel<std::uint64_t>>;

    class Queue {
    public:
        explicit Queue(std::size_t capacity) : channel_{capacity} {}
        void put(std::uint64_t item) { channel_.push(item); }
        std::uint64_t get() { return channel_.value_pop(); }

    private:
        fibers::buffered_channel<std::uint64_t> channel_;
    };

    template <class F>
    static void foreign_spawn(F&& function) {
        functions->push(std::function<void()>{std::forward<F>(function)});
    }
    static constexpr bool foreign_release = true;

    static void dispatch() {
        std::function<void()> function;
        while (functions->pop(function) == fibers::channel_op_status::success) {
            spawn(std::move(function)).detach();
        }
    }

    template <class Body>
    static void run(unsigned workers, Body body) {
        OtherWorkers others{workers};
        use_algorithm(workers);
        Functions channel{1024};
        functions = &channel;
        spawn(dispatch).detach();
        fibers::fiber first(fibers::launch::post, std::allocator_arg,
                            fibers::fixedsize_stack{1 << 20}, body);
        first.join();
    }

    static inline Functions* functions = nullptr;
};

}  // namespace

int main(int count, char** arguments) { return bench::main_of<BoostFiberPeer>(count, arguments); }
