// One kernel thread per "fiber", with the standard library's primitives,
// through the common lines. Layer: benchmarks, micro.
//
// "Workers" is the number of CPUs the process may run on. Threads are made by
// pthread_create, because std::thread cannot be given a stack size.
#include "micro/lines.hpp"

#include <pthread.h>
#include <sched.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

namespace {

const pthread_attr_t* thread_attributes() {
    static const pthread_attr_t attributes = [] {
        pthread_attr_t made;
        pthread_attr_init(&made);
        pthread_attr_setstacksize(&made, bench::stack_size());
        return made;
    }();
    return &attributes;
}

struct ThreadPeer {
    static std::string name(unsigned) { return "std_thread"; }

    using Task = pthread_t;
    template <class F>
    static Task spawn(F&& function) {
        using Function = std::decay_t<F>;
        auto owned = std::make_unique<Function>(std::forward<F>(function));
        Task task{};
        const int error = pthread_create(&task, thread_attributes(), &call<Function>, owned.get());
        if (error != 0) {
            std::fprintf(stderr, "pthread_create: %s\n",
                         std::system_category().message(error).c_str());
            std::_Exit(3);
        }
        owned.release();  // call() took it over
        return task;
    }
    template <class Function>
    static void* call(void* function) {
        const std::unique_ptr<Function> owned{static_cast<Function*>(function)};
        (*owned)();
        return nullptr;
    }
    static void join(Task& task) { pthread_join(task, nullptr); }

    static void yield() { sched_yield(); }
    static void sleep_us(std::uint64_t time) {
        std::this_thread::sleep_for(std::chrono::microseconds{time});
    }
    static void pause() { sleep_us(1'000); }

    using Mutex = std::mutex;

    class Condition {
    public:
        template <class Predicate>
        void wait(Mutex& mutex, Predicate predicate) {
            std::unique_lock lock{mutex, std::adopt_lock};
            condition_.wait(lock, predicate);
            lock.release();  // the caller unlocks
        }
        void notify_one() { condition_.notify_one(); }

    private:
        std::condition_variable condition_;
    };

    class Semaphore {
    public:
        explicit Semaphore(int units) : semaphore_{units} {}
        void acquire() { semaphore_.acquire(); }
        void release() { semaphore_.release(); }

    private:
        std::counting_semaphore<> semaphore_;
    };
    static constexpr bool foreign_release = true;

    template <class Body>
    static void run(unsigned workers, Body body) {
        // A second thread from the start: glibc leaves atomics out of the
        // mutexes of a process that has only one.
        std::thread{[] {
            for (;;) std::this_thread::sleep_for(std::chrono::hours{1});
        }}.detach();
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        for (unsigned i = 0; i < workers; ++i) CPU_SET(i, &cpus);
        sched_setaffinity(0, sizeof cpus, &cpus);
        body();
    }
};

}  // namespace

int main(int count, char** arguments) { return bench::main_of<ThreadPeer>(count, arguments); }
