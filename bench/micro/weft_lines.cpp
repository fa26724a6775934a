// weft, through the common lines. Layer: benchmarks, micro.
#include "micro/lines.hpp"

#include <weft/condition.hpp>
#include <weft/fiber.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <chrono>
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
