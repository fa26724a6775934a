// What future.hpp and promise.hpp promise, each promise once.
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/everywhere.hpp"
#include "support/journal.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/future.hpp>
#include <weft/promise.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Future;
using weft::Promise;
using weft::test::everywhere;
using weft::test::Journal;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::seeds;
using weft::test::under_sanitizer;
using weft::test::until_waiting;

namespace {

constexpr int rounds = under_sanitizer ? 100 : 1000;

/// The code of the std::future_error that `body` throws; none if it does not throw.
template <class Body>
std::error_code future_error_of(Body&& body) {
    try {
        body();
    } catch (const std::future_error& error) {
        return error.code();
    }
    return {};
}

bool is(std::error_code code, std::future_errc errc) { return code == errc; }

// Can be copied as often as `copies` said.
struct Fragile {
    explicit Fragile(int& copies) : left{&copies} {}
    Fragile(const Fragile& other) : left{other.left} {
        if ((*left)-- == 0) throw std::runtime_error{"worn out"};
    }
    int* left;
};

std::atomic<int> reports{0};

void count_report(std::uint64_t, std::string_view, std::exception_ptr) { ++reports; }

}  // namespace

TEST_CASE("every waiter gets the value that was set", "[future]") {
    everywhere([] {
        Promise<std::string> promise;
        std::vector<weft::Fiber<std::string>> fibers;
        for (int i = 0; i < 20; ++i) {
            fibers.push_back(weft::spawn([future = promise.future()] { return future.get(); }));
        }
        until_waiting(fibers.back());
        CHECK_FALSE(promise.future().done());
        CHECK(promise.set_value("the value"));
        CHECK(promise.future().done());
        for (auto& fiber : fibers) CHECK(fiber.get() == "the value");
        CHECK(promise.future().get() == "the value");
    });
}

TEST_CASE("a value may be nothing, a reference, or move-only", "[future]") {
    everywhere([] {
        Promise<void> nothing;
        CHECK(nothing.set_value());
        nothing.future().get();
        CHECK(nothing.future().get(0ms));

        int object = 1;
        Promise<int&> reference;
        CHECK(reference.set_value(object));
        reference.future().get() = 2;
        CHECK(object == 2);
        CHECK(reference.future().get(0ms) == &object);

        Promise<std::unique_ptr<int>> pointer;
        CHECK(pointer.set_value(std::make_unique<int>(3)));
        const auto future = pointer.future();
        CHECK(*future.get() == 3);
        CHECK(**future.get(0ms) == 3);
        const std::unique_ptr<int> taken = future.take();
        CHECK(*taken == 3);
        CHECK(is(future_error_of([&] { future.take(); }),
                 std::future_errc::future_already_retrieved));
    });
}

TEST_CASE("of a Future that goes away the value is copied, or taken", "[future]") {
    Promise<std::string> promise;
    promise.set_value("long enough to lie on the heap");
    std::string first = promise.future().get();
    CHECK(first == *promise.future().get(0ms));
    CHECK(promise.future().get() == first);

    Promise<std::unique_ptr<int>> pointer;
    pointer.set_value(std::make_unique<int>(4));
    CHECK(*pointer.future().get() == 4);
    CHECK(is(future_error_of([&] { pointer.future().get(0ms); }),
             std::future_errc::future_already_retrieved));
}

TEST_CASE("an exception that was set is thrown to every waiter", "[future]") {
    everywhere([] {
        Promise<int> promise;
        const auto future = promise.future();
        auto early = weft::spawn([&] { return future.get(); });
        until_waiting(early);
        CHECK(promise.set_exception(std::runtime_error{"failed"}));
        CHECK_THROWS_WITH(early.get(), "failed");
        CHECK_THROWS_WITH(future.get(), "failed");
        CHECK_THROWS_WITH(future.get(0ms), "failed");
        CHECK(future.wait());
        CHECK(future.exception() != nullptr);
        CHECK(promise.future().exception() == future.exception());
    });
    Promise<int> promise;
    CHECK_THROWS_AS(promise.set_exception(std::exception_ptr{}), std::invalid_argument);
    CHECK(promise.set_value(1));
    CHECK(promise.future().exception() == nullptr);
}

TEST_CASE("a promise that is dropped is broken, and nobody waits for ever", "[future]") {
    everywhere([] {
        Future<int> future;
        CHECK_FALSE(future);
        weft::Semaphore made{0};
        auto owner = weft::spawn([&] {
            Promise<int> promise;
            future = promise.future();
            made.release();
            weft::this_fiber::sleep_for(1ms);
        });
        made.acquire();
        CHECK(is(future_error_of([&] { future.get(); }), std::future_errc::broken_promise));

        Promise<int> other;
        future = other.future();
        Promise<int> moved = std::move(other);
        CHECK_FALSE(other);
        CHECK_FALSE(future.done());
        moved = Promise<int>{};
        CHECK(is(future_error_of([&] { future.get(); }), std::future_errc::broken_promise));
        owner.join();
    });
}

TEST_CASE("a promise is set once", "[future]") {
    Promise<int> promise;
    CHECK(promise.set_value(1));
    const auto again = [&](auto&& set) {
        CHECK(is(future_error_of(set), std::future_errc::promise_already_satisfied));
    };
    again([&] { promise.set_value(2); });
    again([&] { promise.set_exception(2); });
    CHECK_FALSE(promise.cancel());
    CHECK(promise.future().get() == 1);
}

TEST_CASE("a value whose making throws was not set", "[future]") {
    int copies = 0;
    Promise<Fragile> promise;
    const Fragile worn_out{copies};
    CHECK_THROWS_WITH(promise.set_value(worn_out), "worn out");
    CHECK_FALSE(promise.future().done());
    CHECK(promise.set_value(copies));
    CHECK(promise.future().done());
}

TEST_CASE("a get that gives up leaves all as it was", "[future][deadline]") {
    everywhere([] {
        Promise<int> promise;
        const auto future = promise.future();
        CHECK_FALSE(future.wait(1ms));
        CHECK(future.get(1ms) == nullptr);
        CHECK(promise.future().get(1ms) == std::nullopt);
        CHECK(future.exception(1ms) == nullptr);
        promise.set_value(5);
        CHECK(*future.get(0ms) == 5);
        CHECK(promise.future().get(0ms) == 5);
    });
}

TEST_CASE("a Future is cancelled unless it is done or started", "[future][cancel]") {
    everywhere([] {
        Promise<int> promise;
        const auto future = promise.future();
        auto waiter = weft::spawn([&] { future.get(); });
        until_waiting(waiter);
        CHECK(future.cancel());
        CHECK(future.cancel());
        CHECK(future.cancelled());
        CHECK(future.done());
        CHECK_THROWS_AS(waiter.get(), weft::Cancelled);
        CHECK_THROWS_AS(std::rethrow_exception(future.exception()), weft::Cancelled);
        CHECK(promise.cancelled());
        CHECK_FALSE(promise.start());
        CHECK_FALSE(promise.set_value(1));
        CHECK_FALSE(promise.set_exception(1));

        Promise<int> started;
        CHECK(started.start());
        CHECK_FALSE(started.future().cancel());
        CHECK(started.set_value(2));
        CHECK_FALSE(started.future().cancel());
        CHECK(started.future().get() == 2);
    });
}

TEST_CASE("of set and cancel one wins, and everybody is told the same", "[future][cancel]") {
    int cancelled = 0;
    int set = 0;
    const auto race = [&](std::uint64_t turn) {
        Promise<int> promise;
        const auto future = promise.future();
        auto waiter = weft::spawn([&] {
            try {
                return future.get();
            } catch (const weft::Cancelled&) {
                return 0;
            }
        });
        auto canceller = weft::spawn([&] { return future.cancel(); });
        if (turn % 3 != 0) weft::this_fiber::yield();
        const bool was_set = promise.set_value(1);
        CHECK(canceller.get() != was_set);
        CHECK(waiter.get() == (was_set ? 1 : 0));
        ++(was_set ? set : cancelled);
    };
    on_seeds(seeds, race);
    CHECK(cancelled > 0);
    CHECK(set > 0);
    on_workers([&] {
        for (std::uint64_t i = 0; i < rounds; ++i) race(i);
    });
}

TEST_CASE("callbacks run in a fiber each, in the order they were given", "[future][callback]") {
    weft::run(
        [] {
            Journal<int> order;
            Promise<int> promise;
            for (int i = 0; i < 5; ++i) {
                promise.future().on_done([&order, i] { order.add(i); });
            }
            promise.set_value(1);
            promise.future().on_done([&] { order.add(5); });
            while (order.entries().size() < 6) weft::this_fiber::yield();
            CHECK(order.entries() == std::vector{0, 1, 2, 3, 4, 5});
        },
        {.workers = 1});
}

TEST_CASE("a callback gets its Future, however that ended, and may wait", "[future][callback]") {
    everywhere([] {
        weft::Semaphore called{0};
        const auto expect = [&](const Future<int>& future, auto&& check) {
            future.on_done([&called, check](Future<int> done) {
                CHECK(weft::this_fiber::is_fiber());
                weft::this_fiber::sleep_for(1us);
                check(done);
                called.release();
            });
        };
        Promise<int> value;
        expect(value.future(), [](const Future<int>& f) { CHECK(f.get() == 1); });
        Promise<int> error;
        expect(error.future(), [](const Future<int>& f) { CHECK_THROWS_AS(f.get(), int); });
        Promise<int> cancelled;
        expect(cancelled.future(), [](const Future<int>& f) { CHECK(f.cancelled()); });
        {
            Promise<int> broken;
            expect(broken.future(),
                   [](const Future<int>& f) { CHECK_THROWS_AS(f.get(), std::future_error); });
        }
        value.set_value(1);
        error.set_exception(1);
        cancelled.future().cancel();
        for (int i = 0; i < 4; ++i) called.acquire();
    });
}

TEST_CASE("what a callback throws goes to the runtime's handler, and the others run",
          "[future][callback]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        reports = 0;
        int last = 0;
        weft::run(
            [&] {
                Promise<int> promise;
                promise.future().on_done([] { throw std::runtime_error{"in a callback"}; });
                promise.future().on_done([&](const Future<int>& done) { last = done.get(); });
                CHECK(promise.set_value(7));
            },
            {.workers = workers, .on_unhandled = &count_report});
        CHECK(reports == 1);
        CHECK(last == 7);
    }
}

TEST_CASE("a callback runs in the runtime of who gave it, whoever sets the outcome",
          "[future][callback][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        Promise<int> promise;
        std::atomic<bool> inside{false};
        runtime
            .spawn([&] {
                promise.future().on_done([&](const Future<int>& done) {
                    inside = &weft::Runtime::current() == &runtime && done.get() == 3;
                });
            })
            .join();
        std::thread{[&] { promise.set_value(3); }}.join();
        runtime.wait();
        CHECK(inside);
        CHECK_THROWS_AS(promise.future().on_done([] {}), std::logic_error);
    }
}

TEST_CASE("plain threads and fibers wait for each other's promises", "[future][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        for (int i = 0; i < 30; ++i) {
            Promise<int> there;
            Promise<int> back;
            auto fiber = runtime.spawn([&] { back.set_value(there.future().get() + 1); });
            int answer = 0;
            std::thread thread{[&] {
                there.set_value(i);
                answer = back.future().get();
            }};
            thread.join();
            CHECK(answer == i + 1);
            fiber.join();
        }
    }
    Promise<int> nobodys;
    CHECK(nobodys.future().get(1ms) == std::nullopt);
}

TEST_CASE("the last of promise and futures takes the value along", "[future]") {
    on_workers([] {
        for (int i = 0; i < rounds; ++i) {
            auto promise = std::make_unique<Promise<std::shared_ptr<int>>>();
            const auto value = std::make_shared<int>(i);
            auto waiter = weft::spawn([future = promise->future()] { return *future.get(); });
            weft::spawn([future = promise->future()] { future.wait(); }).detach();
            promise->set_value(value);
            promise.reset();
            CHECK(waiter.get() == i);
            while (value.use_count() > 1) weft::this_fiber::yield();
        }
    });
}

TEST_CASE("a promise takes one piece of memory, and nothing else any", "[future][allocations]") {
    weft::run(
        [] {
            Promise<int> promise;
            auto waiter = weft::spawn([&] { return promise.future().get(); });
            until_waiting(waiter);
            CHECK(weft::test::allocations_in([&] {
                      CHECK_FALSE(promise.future().wait(1us));
                      promise.set_value(1);
                      waiter.get();
                      promise.future().get();
                  }) == 0);
            const long made = weft::test::allocations_in([] { Promise<int>{}.set_value(1); });
            CHECK(made == (under_sanitizer ? 0 : 1));
        },
        {.workers = 1});
}
