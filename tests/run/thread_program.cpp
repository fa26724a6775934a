// A program that knows nothing of weft and does what programs do with threads. It is run
// as it is and by weft-run, and says the same.
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

void say(const char* what, long value) { std::printf("%s %ld\n", what, value); }

void count_under_a_mutex() {
    std::mutex mutex;
    long count = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 50; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < 100; ++k) {
                const std::lock_guard hold{mutex};
                const long before = count;
                if (k % 10 == 0) std::this_thread::sleep_for(10us);  // held meanwhile
                count = before + 1;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    say("count", count);
}

void use_futures() {
    auto sum = std::async(std::launch::async, [] {
        std::this_thread::sleep_for(1ms);
        return 40L;
    });
    std::promise<long> promise;
    std::thread setter{[&] { promise.set_value(2); }};
    say("future", sum.get() + promise.get_future().get());
    setter.join();
    auto failed = std::async(std::launch::async, []() -> long { throw std::runtime_error{"no"}; });
    try {
        say("failed", failed.get());
    } catch (const std::runtime_error&) {
        say("caught", 1);
    }
}

void hand_over() {
    std::mutex mutex;
    std::condition_variable changed;
    int turn = 0;
    std::thread other{[&] {
        for (int i = 0; i < 100; ++i) {
            std::unique_lock hold{mutex};
            changed.wait(hold, [&] { return turn == 1; });
            turn = 0;
            changed.notify_one();
        }
    }};
    for (int i = 0; i < 100; ++i) {
        std::unique_lock hold{mutex};
        changed.wait(hold, [&] { return turn == 0; });
        turn = 1;
        changed.notify_one();
    }
    other.join();
    std::unique_lock hold{mutex};
    say("late", changed.wait_for(hold, 1ms, [] { return false; }) ? 1 : 0);
}

void share_a_lock() {
    std::shared_mutex mutex;
    std::recursive_mutex again;
    long value = 0;
    std::atomic<long> seen{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 10; ++i) {
        threads.emplace_back([&, i] {
            if (i % 2 == 0) {
                const std::unique_lock hold{mutex};
                const std::lock_guard outer{again};
                const std::lock_guard inner{again};
                const long before = value;
                std::this_thread::sleep_for(100us);
                value = before + 1;
            } else {
                const std::shared_lock hold{mutex};
                seen += value >= 0 ? 1 : 0;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    say("shared", value * 100 + seen);
}

int slow_to_make() {
    std::this_thread::sleep_for(5ms);
    static std::atomic<int> made{0};
    return ++made;
}

void make_once() {
    std::once_flag once;
    std::atomic<int> calls{0};
    std::atomic<long> sum{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i) {
        threads.emplace_back([&] {
            std::call_once(once, [&] {
                std::this_thread::sleep_for(5ms);
                ++calls;
            });
            static const int value = slow_to_make();
            sum += value;
        });
    }
    for (auto& thread : threads) thread.join();
    say("once", calls * 1000 + sum);
}

std::atomic<long> destroyed{0};

void keep_for_each_thread() {
    pthread_key_t key;
    pthread_key_create(&key, [](void* value) { destroyed += reinterpret_cast<long>(value); });
    std::vector<std::thread> threads;
    std::atomic<long> wrong{0};
    for (long i = 1; i <= 20; ++i) {
        threads.emplace_back([&, i] {
            if (pthread_getspecific(key) != nullptr) ++wrong;
            pthread_setspecific(key, reinterpret_cast<void*>(i));
            std::this_thread::sleep_for(100us);
            if (reinterpret_cast<long>(pthread_getspecific(key)) != i) ++wrong;
        });
    }
    for (auto& thread : threads) thread.join();
    pthread_key_delete(key);
    say("keys", destroyed * 10 + wrong);
}

void* leave(void* result) {
    const std::string destroyed_on_the_way = "by pthread_exit";
    pthread_exit(result);
}

void name_and_leave() {
    pthread_t thread;
    pthread_create(&thread, nullptr, &leave, reinterpret_cast<void*>(7L));
    void* result = nullptr;
    pthread_join(thread, &result);
    say("exit", reinterpret_cast<long>(result));
    pthread_setname_np(pthread_self(), "renamed");
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    say("name", std::strcmp(name, "renamed"));
    say("deadlock", pthread_join(pthread_self(), nullptr) == EDEADLK ? 1 : 0);
    std::set<std::thread::id> ids{std::this_thread::get_id()};
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i) {
        threads.emplace_back([&] {
            const std::lock_guard hold{mutex};
            ids.insert(std::this_thread::get_id());
        });
    }
    for (auto& each : threads) each.join();
    say("ids", static_cast<long>(ids.size()));
}

/// Until it is cancelled: there libc leaves the thread, and weft-run says ECANCELED.
void* wait_for_ever(void* told) {
    struct Tell {
        sem_t* whom;
        ~Tell() { sem_post(whom); }
    };
    const Tell at_end{static_cast<sem_t*>(told)};
    sem_post(at_end.whom);
    pause();
    pthread_exit(PTHREAD_CANCELED);
}

void cancel_threads() {
    sem_t told;
    sem_init(&told, 0, 0);
    pthread_t thread;
    void* result = nullptr;
    pthread_create(&thread, nullptr, &wait_for_ever, &told);
    pthread_cancel(thread);  // maybe before it has begun
    pthread_join(thread, &result);
    say("cancelled at once", result == PTHREAD_CANCELED ? 1 : 0);
    sem_wait(&told);
    sem_wait(&told);
    pthread_create(&thread, nullptr, &wait_for_ever, &told);
    pthread_detach(thread);
    sem_wait(&told);
    pthread_cancel(thread);
    sem_wait(&told);
    say("cancelled, detached", 1);
    sem_destroy(&told);
}

void* wait_until_told(void* told) {
    sem_wait(static_cast<sem_t*>(told));
    return nullptr;
}

/// What a server does whose threads are detached already.
void* detach_myself(void* told) {
    say("detached by itself", pthread_detach(pthread_self()));
    sem_post(static_cast<sem_t*>(told));
    return nullptr;
}

void detach_threads() {
    static sem_t told;  // these outlive the threads
    static sem_t other;
    sem_init(&told, 0, 0);
    pthread_t thread;
    pthread_create(&thread, nullptr, &wait_until_told, &told);
    say("detached", pthread_detach(thread));
    say("detached twice", pthread_detach(thread));
    say("joined though detached", pthread_join(thread, nullptr));
    say("tried though detached", pthread_tryjoin_np(thread, nullptr));
    sem_post(&told);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sem_init(&other, 0, 0);
    pthread_create(&thread, &detached, &detach_myself, &other);
    sem_wait(&other);
    pthread_attr_destroy(&detached);
}

void* cancel_and_join(void* thread) {
    void* result = nullptr;
    pthread_t its;
    std::memcpy(&its, thread, sizeof its);
    pthread_cancel(its);
    say("joined", pthread_join(its, &result));
    say("was cancelled", result == PTHREAD_CANCELED ? 1 : 0);
    return nullptr;
}

/// main(), whose thread another one cancels and joins. Never returns.
void be_cancelled() {
    static const pthread_t own = pthread_self();
    pthread_t thread;
    pthread_create(&thread, nullptr, &cancel_and_join, const_cast<pthread_t*>(&own));
    pause();
    pthread_exit(PTHREAD_CANCELED);
}

/// The way of many programs: a queue, who fills it now and then, and who gives up in the end.
void produce_and_consume() {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<long> queue;
    bool ended = false;
    std::vector<std::future<long>> consumers;
    for (int i = 0; i < 4; ++i) {
        consumers.push_back(std::async(std::launch::async, [&] {
            long sum = 0;
            std::unique_lock hold{mutex};
            for (;;) {
                changed.wait_for(hold, 1ms, [&] { return ended || !queue.empty(); });
                if (queue.empty() && ended) break;
                if (queue.empty()) continue;
                sum += queue.front();
                queue.pop_front();
            }
            return sum;
        }));
    }
    std::thread producer{[&] {
        for (long i = 1; i <= 100; ++i) {
            if (i % 10 == 0) std::this_thread::sleep_for(1ms);
            const std::lock_guard hold{mutex};
            queue.push_back(i);
            changed.notify_one();
        }
        const std::lock_guard hold{mutex};
        ended = true;
        changed.notify_all();
    }};
    producer.join();
    long sum = 0;
    for (auto& each : consumers) sum += each.get();
    say("consumed", sum);
}

long fail_in(int depth) {
    const auto on_the_way = std::make_shared<int>(depth);
    if (depth == 0) throw std::out_of_range{"deep"};
    return std::async(std::launch::async, [=] { return fail_in(*on_the_way - 1); }).get();
}

void pass_exceptions_on() {
    std::vector<std::future<long>> all;
    for (int i = 0; i < 10; ++i) all.push_back(std::async(std::launch::async, &fail_in, i));
    long caught = 0;
    for (auto& each : all) {
        try {
            each.get();
        } catch (const std::out_of_range&) {
            ++caught;
        }
    }
    say("exceptions", caught);
}

int leave_early(void* result) {
    thrd_exit(static_cast<int>(reinterpret_cast<std::intptr_t>(result)));
}

void use_c11_threads() {
    thrd_t thread;
    int result = 0;
    thrd_create(
        &thread, [](void* seen) { return thrd_equal(*static_cast<thrd_t*>(seen), thrd_current()); },
        &thread);
    thrd_join(thread, &result);
    say("c11, itself", result != 0);
    thrd_create(&thread, &leave_early, reinterpret_cast<void*>(7L));
    thrd_join(thread, &result);
    say("c11, exit", result);
    std::promise<long> told;
    thrd_create(
        &thread,
        [](void* promise) {
            const timespec brief{0, 1'000'000};
            thrd_yield();
            static_cast<std::promise<long>*>(promise)->set_value(thrd_sleep(&brief, nullptr));
            return 0;
        },
        &told);
    thrd_detach(thread);
    say("c11, detached", told.get_future().get());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1 && std::strcmp(argv[1], "cancelled") == 0) be_cancelled();
    count_under_a_mutex();
    use_futures();
    hand_over();
    share_a_lock();
    make_once();
    keep_for_each_thread();
    name_and_leave();
    cancel_threads();
    detach_threads();
    produce_and_consume();
    pass_exceptions_on();
    use_c11_threads();
    return argc > 1 ? std::atoi(argv[1]) : 0;
}
