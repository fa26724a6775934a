// What thread.hpp promises, each promise once.
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>
#include <weft/thread.hpp>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

using namespace std::chrono_literals;
using weft::test::Child;
using weft::test::on_workers;
using weft::test::Outcome;

namespace {

std::atomic<int> reports{0};
std::string last_report;  // written before reports, read after

void keep_report(std::uint64_t, std::string_view name, std::exception_ptr) {
    last_report = name;
    ++reports;
}

class Summer final : public weft::Thread {
public:
    explicit Summer(int n, const weft::SpawnOptions& options = {}) : Thread{options}, n_{n} {}
    int sum = 0;

private:
    void run() override {
        for (int i = 1; i <= n_; ++i) sum += i;
    }
    const int n_;
};

class Waiter final : public weft::Thread {
public:
    using Thread::Thread;
    weft::Event started;
    weft::Event go;
    bool cancelled = false;

private:
    void run() override {
        started.set();
        try {
            go.wait();
        } catch (const weft::Cancelled&) {
            cancelled = true;
            throw;
        }
    }
};

class Thrower final : public weft::Thread {
public:
    using Thread::Thread;

private:
    void run() override { throw std::runtime_error{"lost"}; }
};

// Uses nothing of its own, which would go before the Thread in it does.
class Sleeper final : public weft::Thread {
public:
    using Thread::Thread;
    static inline weft::Event sleeps;

private:
    void run() override {
        sleeps.set();
        weft::this_fiber::sleep_until(weft::Deadline::never());
    }
};

// Sees in run() what start() has not yet returned to tell.
class Introvert final : public weft::Thread {
public:
    using Thread::Thread;
    bool knows_itself = false;
    bool may_not_join_itself = false;

private:
    void run() override {
        knows_itself = is_alive() && id() == weft::this_fiber::id() && name() == "introvert" &&
                       weft::this_fiber::name() == "introvert" && fiber() == weft::current();
        try {
            join();
        } catch (const std::system_error&) {
            may_not_join_itself = true;
        }
    }
};

const Child destroyed{"a Thread destroyed while it runs", [] {
                          weft::run(
                              [] {
                                  Sleeper sleeper{{.name = "orphan"}};
                                  sleeper.start();
                                  Sleeper::sleeps.wait();
                              },
                              {.workers = 2});
                          return 1;
                      }};

const Child halted{"a static Thread that runs at exit", [] {
                       static Sleeper sleeper;
                       weft::run(
                           [] {
                               sleeper.start();
                               std::exit(7);
                           },
                           {.workers = 2});
                       return 1;
                   }};

}  // namespace

TEST_CASE("start runs run() in a fiber, and join waits for it", "[thread]") {
    const auto body = [] {
        Summer summer{100};
        CHECK_FALSE(summer.is_alive());
        CHECK(summer.id() == 0);
        CHECK_FALSE(summer.fiber());
        summer.start();
        CHECK(summer.id() != 0);
        CHECK(summer.join());
        CHECK_FALSE(summer.is_alive());
        CHECK(summer.sum == 5050);
    };
    on_workers(body);
    for (std::uint64_t seed = 0; seed < 50; ++seed) weft::simulate(seed, body);
}

TEST_CASE("in run() a Thread knows its own fiber", "[thread]") {
    on_workers([] {
        Introvert introvert{{.name = "introvert"}};
        introvert.start();
        introvert.join();
        CHECK(introvert.knows_itself);
        CHECK(introvert.may_not_join_itself);
    });
}

TEST_CASE("name, daemon and stack size are the options'", "[thread]") {
    on_workers([] {
        std::string name{"temporary"};
        Waiter waiter{{.name = name, .stack_size = 1 << 20, .daemon = true}};
        name = "overwritten";
        CHECK(waiter.name() == "temporary");
        CHECK(waiter.daemon());
        waiter.start();
        CHECK(waiter.fiber().name() == "temporary");
        CHECK(waiter.fiber().daemon());
        waiter.go.set();
        waiter.join();
        CHECK(Waiter{}.name().empty());
    });
}

TEST_CASE("a Thread is started once, and joined after that", "[thread]") {
    on_workers([] {
        Summer summer{1};
        CHECK_THROWS_AS(summer.join(), std::logic_error);
        summer.cancel();
        summer.start();
        CHECK_THROWS_AS(summer.start(), std::logic_error);
        summer.join();
        CHECK_THROWS_AS(summer.start(), std::logic_error);
        CHECK(summer.sum == 1);
    });
    Summer outside{1};
    CHECK_THROWS_AS(outside.start(), std::logic_error);
    CHECK_FALSE(outside.is_alive());
}

TEST_CASE("join gives up at its deadline, and cancel ends run()", "[thread][cancel]") {
    on_workers([] {
        Waiter waiter;
        waiter.start();
        CHECK_FALSE(waiter.join(1ms));
        CHECK(waiter.is_alive());
        waiter.started.wait();
        waiter.cancel();
        CHECK(waiter.join());
        CHECK(waiter.cancelled);
    });
}

TEST_CASE("what run() throws goes to the runtime's handler at once", "[thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        reports = 0;
        weft::run(
            [] {
                Thrower thrower{{.name = "thrower"}};
                thrower.start();
                thrower.join();
                CHECK(reports == 1);
                CHECK(last_report == "thrower");
                Waiter waiter;
                waiter.start();
                waiter.cancel();
                waiter.join();
            },
            {.workers = workers, .on_unhandled = &keep_report});
        CHECK(reports == 1);
    }
}

TEST_CASE("a plain thread joins a Thread", "[thread]") {
    on_workers([] {
        Waiter waiter;
        waiter.start();
        std::thread plain{[&] { waiter.join(); }};
        waiter.go.set();
        waiter.join();
        plain.join();
    });
}

TEST_CASE("destroying a Thread that runs says which it is and terminates", "[thread]") {
    const Outcome outcome = destroyed.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGABRT));
    CHECK(outcome.says("\"orphan\" is destroyed while it runs"));
}

TEST_CASE("a Thread that exit() destroys is let go", "[thread]") {
    const Outcome outcome = halted.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(7));
}
