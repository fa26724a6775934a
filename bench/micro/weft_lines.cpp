// weft, through the common lines. Layer: benchmarks, micro.
#include "micro/lines.hpp"

#include <weft/channel.hpp>
#include <weft/condition.hpp>
#include <weft/fiber.hpp>
#include <weft/generator.hpp>
#include <weft/lock.hpp>
#include <weft/queue.hpp>
#include <weft/runtime.hpp>
#include <weft/select.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace {

struct WeftPeer {
    static std::string name(unsigned) { return "weft"; }

    using Task = weft::Fiber<>;
    template <class F>
    static Task spawn(F&& function) {
        return weft::spawn(std::forward<F>(function));
    }
    static void join(Task& task) { task.join(); }

    static void yield() { weft::this_fiber::yield(); }
    static void sleep_us(std::uint64_t time) {
        weft::this_fiber::sleep_for(std::chrono::microseconds{time});
    }
    static void pause() { sleep_us(1'000); }

    using Mutex = weft::Lock;

    class Condition {
    public:
        template <class Predicate>
        void wait(Mutex& mutex, Predicate predicate) {
            condition_.wait(mutex, predicate);
        }
        void notify_one() { condition_.notify_one(); }

    private:
        weft::Condition condition_;
    };

    class Semaphore {
    public:
        explicit Semaphore(int units) : semaphore_{units} {}
        void acquire() { semaphore_.acquire(); }
        void release() { semaphore_.release(); }

    private:
        weft::Semaphore semaphore_;
    };

    class Channel {
    public:
        explicit Channel(std::size_t capacity = 0) : channel_{capacity} {}
        void push(std::uint64_t value) { channel_.send(value); }
        std::uint64_t pop() { return *channel_.recv(); }

    private:
        friend WeftPeer;
        weft::Channel<std::uint64_t> channel_;
    };
    using Meeting = Channel;

    static std::uint64_t pop_any(Meeting (&m)[8]) {
        std::uint64_t got = 0;
        const auto take = [&got](std::optional<std::uint64_t> value) { got = *value; };
        using weft::on_recv;
        weft::select(on_recv(m[0].channel_, take), on_recv(m[1].channel_, take),
                     on_recv(m[2].channel_, take), on_recv(m[3].channel_, take),
                     on_recv(m[4].channel_, take), on_recv(m[5].channel_, take),
                     on_recv(m[6].channel_, take), on_recv(m[7].channel_, take));
        return got;
    }

    class Queue {
    public:
        explicit Queue(std::size_t capacity) : queue_{capacity} {}
        void put(std::uint64_t item) { queue_.put(item); }
        std::uint64_t get() { return queue_.get(); }

    private:
        weft::Queue<std::uint64_t> queue_;
    };

    class Counting {
    public:
        long next() { return *numbers_.next(); }

    private:
        weft::Generator<long> numbers_{[](auto& yield) {
            for (long i = 0;; ++i) yield(i);
        }};
    };

    struct Timeout {
        explicit Timeout(std::uint64_t us) : scope{std::chrono::microseconds{us}} {}
        weft::Timeout scope;
    };

    template <class F>
    static void foreign_spawn(F&& function) {
        runtime->spawn(std::forward<F>(function)).detach();
    }
    static constexpr bool foreign_release = true;

    template <class Body>
    static void run(unsigned workers, Body body) {
        weft::Options options;
        options.workers = workers;
        options.stack_size = bench::stack_size();
        weft::Runtime mine{options};
        runtime = &mine;
        mine.spawn(weft::SpawnOptions{.name = "main", .stack_size = 1 << 20}, body).join();
    }

    static inline weft::Runtime* runtime = nullptr;
};

}  // namespace

int main(int count, char** arguments) { return bench::main_of<WeftPeer>(count, arguments); }
