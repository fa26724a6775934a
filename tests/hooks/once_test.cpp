#include "support/hooked.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>

#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

using namespace weft;
using test::on_hooked_workers;
using test::until_doing;

// ThreadSanitizer has functions of its own in the place of these, which never come to libc's.
#if !defined(__SANITIZE_THREAD__)

namespace {

constexpr const char* in_once = "pthread_once";
constexpr const char* in_guard = "initialisation of a static local";

int suspending(int& runs, Event* begun, Event* go_on) {
    ++runs;
    if (begun != nullptr) begun->set();
    if (go_on != nullptr) go_on->wait();
    this_fiber::yield();
    return 7;
}

}  // namespace

TEST_CASE("a std::call_once() that suspends is run once, and waited for", "[hooks]") {
    on_hooked_workers([] {
        std::once_flag flag;
        int runs = 0;
        std::atomic<int> late{0};
        std::vector<Fiber<>> fibers;
        for (int i = 0; i < 8; ++i) {
            fibers.push_back(spawn([&] {
                std::call_once(flag, [&] {
                    usleep(100);
                    ++runs;
                });
                late += runs == 1 ? 0 : 1;
            }));
        }
        join_all(fibers);
        CHECK(runs == 1);
        CHECK(late == 0);
    });
}

TEST_CASE("when a std::call_once() throws, the next one runs its own", "[hooks]") {
    on_hooked_workers([] {
        std::once_flag flag;
        Event fail;
        bool threw = false;
        auto first = spawn([&] {
            try {
                std::call_once(flag, [&] {
                    fail.wait();
                    throw std::runtime_error{"no"};
                });
            } catch (const std::runtime_error&) {
                threw = true;
            }
        });
        until_doing(first, "Event::wait");
        int run_by = 0;
        auto second = spawn([&] { std::call_once(flag, [&] { run_by = 2; }); });
        until_doing(second, in_once);
        // Leaves nothing of itself where the second looks for its function.
        auto other = spawn([&] {
            std::once_flag others;
            std::call_once(others, [] {});
        });
        other.join();
        fail.set();
        first.join();
        second.join();
        CHECK(threw);
        CHECK(run_by == 2);
    });
}

TEST_CASE("threads wait for a fiber's run of a std::call_once(), and fibers for theirs",
          "[hooks]") {
    on_hooked_workers([] {
        for (const bool fiber_runs : {true, false}) {
            INFO("the fiber runs it: " << fiber_runs);
            std::once_flag flag;
            Event begun;
            Event go_on;
            int result = 0;
            const auto run = [&] {
                std::call_once(flag, [&] {
                    begun.set();
                    go_on.wait();
                    result = 1;
                });
            };
            int seen = 0;
            const auto wait = [&] {
                std::call_once(flag, [&] { result = 2; });
                seen = result;
            };
            if (fiber_runs) {
                auto runner = spawn(run);
                begun.wait();
                std::thread waiter{wait};
                go_on.set();
                runner.join();
                waiter.join();
            } else {
                std::thread runner{run};
                begun.wait();
                auto waiter = spawn(wait);
                until_doing(waiter, in_once);
                go_on.set();
                waiter.join();
                runner.join();
            }
            CHECK(seen == 1);
        }
    });
}

TEST_CASE("a static local whose initialiser suspends is made once, and waited for", "[hooks]") {
    static int runs = 0;
    hooks::patch_all();
    test::on_workers([] {
        // One for each number of workers: of a type of its own each.
        static int round = -1;
        ++round;
        const auto get = []<int which>(std::integral_constant<int, which>) {
            static const int value = suspending(runs, nullptr, nullptr);
            return value;
        };
        std::vector<Fiber<int>> fibers;
        for (int i = 0; i < 8; ++i) {
            fibers.push_back(spawn([&] {
                if (round == 0) return get(std::integral_constant<int, 0>{});
                if (round == 1) return get(std::integral_constant<int, 1>{});
                return get(std::integral_constant<int, 2>{});
            }));
        }
        for (auto& each : fibers) CHECK(each.get() == 7);
        CHECK(runs == round + 1);
    });
}

TEST_CASE("threads wait for a fiber's initialiser, and fibers for a thread's", "[hooks]") {
    hooks::patch_all();
    weft::run([] {
        int runs = 0;
        Event begun;
        Event go_on;
        const auto get = [&](auto) {
            static const int value = suspending(runs, &begun, &go_on);
            return value;
        };
        int seen = 0;
        auto fiber = spawn([&] { return get(0); });
        begun.wait();
        std::thread thread{[&] { seen = get(0); }};
        go_on.set();
        CHECK(fiber.get() == 7);
        thread.join();
        CHECK(seen == 7);

        begun.clear();
        go_on.clear();
        std::thread runner{[&] { seen = get(0L); }};
        begun.wait();
        auto waiter = spawn([&] { return get(0L); });
        until_doing(waiter, in_guard);
        go_on.set();
        CHECK(waiter.get() == 7);
        runner.join();
        CHECK(runs == 2);
    });
}

TEST_CASE("an initialiser that throws leaves it to who waits", "[hooks]") {
    hooks::patch_all();
    weft::run([] {
        int runs = 0;
        Event fail;
        const auto make = [&] {
            if (++runs == 1) {
                fail.wait();
                throw std::runtime_error{"no"};
            }
            return runs;
        };
        const auto get = [&] {
            static const int value = make();
            return value;
        };
        auto first = spawn([&] { return get(); });
        until_doing(first, "Event::wait");
        auto second = spawn([&] { return get(); });
        until_doing(second, in_guard);
        fail.set();
        CHECK_THROWS_AS(first.get(), std::runtime_error);
        CHECK(second.get() == 2);
        CHECK(get() == 2);
    });
}

#endif
