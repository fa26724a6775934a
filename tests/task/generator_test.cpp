// What generator.hpp promises, each promise once. What of it CPython's suite asks, and
// where it is asked here, is in README.md.
#include "task/generator.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/journal.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/generator.hpp>
#include <weft/local.hpp>
#include <weft/lock.hpp>
#include <weft/runtime.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <signal.h>

using namespace std::chrono_literals;
using weft::Generator;
using weft::GeneratorExit;
using weft::Yield;
using weft::test::also_migrating;
using weft::test::Child;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::under_sanitizer;
using weft::test::until_waiting;

namespace {

constexpr int rounds = under_sanitizer ? 50 : 1000;

// On a plain thread, and in fibers.
template <class Body>
void everywhere(Body&& body) {
    const auto before = weft::detail::generator_stacks().in_use();
    body();
    also_migrating(body);
    on_seeds(20, [&](std::uint64_t) { body(); });
    CHECK(weft::detail::generator_stacks().in_use() == before);
}

Generator<int> count_to(int end) {
    return Generator<int>{[end](auto& yield) {
        for (int i = 0; i < end; ++i) yield(i);
    }};
}

template <class Y, class S, class R>
std::vector<Y> all_of(Generator<Y, S, R>& generator) {
    std::vector<Y> items;
    for (Y& item : generator) items.push_back(std::move(item));
    return items;
}

/// What `body` throws, as text.
template <class Body>
std::string what_of(Body&& body) {
    try {
        body();
    } catch (const std::exception& error) {
        return error.what();
    }
    return {};
}

/// Notes its end.
struct Guard {
    explicit Guard(int& ended) : count{&ended} {}
    Guard(Guard&& other) noexcept : count{std::exchange(other.count, nullptr)} {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
        if (count != nullptr) ++*count;
    }
    int* count;
};

}  // namespace

// --- items ---

TEST_CASE("the body begins with the first item that is asked for", "[generator]") {
    everywhere([] {
        int begun = 0;
        Generator<int> generator{[&](auto& yield) {
            ++begun;
            yield(1);
        }};
        CHECK(begun == 0);
        CHECK_FALSE(generator.done());
        CHECK(generator.next() == 1);
        CHECK(begun == 1);
    });
}

TEST_CASE("items come in order, and after the end there are none", "[generator]") {
    everywhere([] {
        auto generator = count_to(3);
        CHECK(generator.next() == 0);
        CHECK(generator.next() == 1);
        CHECK(generator.next() == 2);
        CHECK_FALSE(generator.done());
        CHECK(generator.next() == std::nullopt);
        CHECK(generator.done());
        CHECK(generator.next() == std::nullopt);
        auto empty = count_to(0);
        CHECK(empty.next() == std::nullopt);
    });
}

TEST_CASE("a generator is a range", "[generator]") {
    everywhere([] {
        auto generator = count_to(4);
        CHECK(all_of(generator) == std::vector{0, 1, 2, 3});
        auto others = count_to(1000);
        int sum = 0;
        for (const int i :
             others | std::views::filter([](int n) { return n % 2 == 1; }) | std::views::take(3)) {
            sum += i;
        }
        CHECK(sum == 1 + 3 + 5);
    });
}

TEST_CASE("items may be move-only, and are made and destroyed once", "[generator]") {
    everywhere([] {
        Generator<std::unique_ptr<int>> pointers{[](auto& yield) {
            for (int i = 0; i < 3; ++i) yield(std::make_unique<int>(i));
        }};
        CHECK(**pointers.next() == 0);
        int sum = 0;
        for (const auto& pointer : pointers) sum += *pointer;
        CHECK(sum == 3);

        int ended = 0;
        Generator<Guard> guards{[&](auto& yield) { yield(Guard{ended}); }};
        {
            const auto guard = guards.next();
            CHECK(guards.next() == std::nullopt);
            CHECK(ended == 0);
        }
        CHECK(ended == 1);
    });
}

namespace {
bool operator==(const std::optional<Guard>& guard, std::nullopt_t) { return !guard.has_value(); }
}  // namespace

TEST_CASE("two generators do not mix", "[generator]") {
    everywhere([] {
        auto one = count_to(100);
        auto other = count_to(100);
        for (int i = 0; i < 100; ++i) {
            CHECK(one.next() == i);
            if (i % 2 == 0) CHECK(other.next() == i / 2);
        }
    });
}

TEST_CASE("a moved generator goes on where it stopped", "[generator]") {
    everywhere([] {
        auto one = count_to(5);
        one.next();
        auto moved = std::move(one);
        CHECK(moved.next() == 1);
        one = count_to(2);
        moved = std::move(one);
        CHECK(all_of(moved) == std::vector{0, 1});
    });
}

TEST_CASE("what the body returns is kept until it is asked for", "[generator][result]") {
    everywhere([] {
        Generator<int, void, std::unique_ptr<std::string>> generator{[](auto& yield) {
            yield(1);
            return std::make_unique<std::string>("returned");
        }};
        CHECK_THROWS_AS(generator.result(), std::logic_error);
        CHECK(all_of(generator) == std::vector{1});
        CHECK(*generator.result() == "returned");
        CHECK_THROWS_AS(generator.result(), std::logic_error);

        Generator<int, void, std::string> dropped{[](auto&) { return std::string(100, 'x'); }};
        CHECK(dropped.next() == std::nullopt);
        Generator<int, void, int> failed{[](auto&) -> int { throw 1; }};
        CHECK_THROWS_AS(failed.next(), int);
        CHECK_THROWS_AS(failed.result(), std::logic_error);
    });
}

TEST_CASE("a large or much aligned body has its place", "[generator]") {
    everywhere([] {
        struct alignas(256) Aligned {
            int value;
        };
        std::array<char, 300'000> large{};
        large[299'999] = 7;
        Generator<int> generator{[large, aligned = Aligned{5}](auto& yield) {
            yield(large[299'999]);
            yield(reinterpret_cast<std::uintptr_t>(&aligned) % 256 == 0 ? aligned.value : 0);
        }};
        CHECK(all_of(generator) == std::vector{7, 5});
    });
}

TEST_CASE("a body whose copy throws leaves nothing behind", "[generator]") {
    struct Uncopyable {
        Uncopyable() = default;
        Uncopyable(const Uncopyable&) { throw std::runtime_error{"not copied"}; }
        void operator()(Yield<int>&) const {}
    };
    everywhere([] {
        const Uncopyable body;
        CHECK_THROWS_WITH(Generator<int>{body}, "not copied");
        CHECK_THROWS_AS((Generator<int>{weft::GeneratorOptions{.stack_size = std::size_t{1} << 60},
                                        [](auto&) {}}),
                        std::invalid_argument);
    });
}

// --- sending ---

TEST_CASE("what is sent is what the yield returns, and next sends an empty one",
          "[generator][send]") {
    everywhere([] {
        Generator<std::string, std::string> echo{[](auto& yield) {
            std::string received = yield("ready");
            for (;;) received = yield("got " + received);
        }};
        CHECK(echo.next() == "ready");
        CHECK(echo.send("one") == "got one");
        CHECK(echo.send("two") == "got two");
        CHECK(echo.next() == "got ");
    });
}

TEST_CASE("what is sent may be move-only, and may end the body", "[generator][send]") {
    everywhere([] {
        Generator<int, std::unique_ptr<int>> generator{[](auto& yield) {
            int last = 0;
            while (const auto pointer = yield(last)) last = *pointer;
        }};
        CHECK(generator.next() == 0);
        CHECK(generator.send(std::make_unique<int>(7)) == 7);
        CHECK(generator.next() == std::nullopt);
        CHECK(generator.send(nullptr) == std::nullopt);
    });
}

TEST_CASE("nothing can be sent to a body that has not begun", "[generator][send]") {
    everywhere([] {
        Generator<int, int> generator{[](auto& yield) { yield(yield(1)); }};
        CHECK_THROWS_AS(generator.send(5), std::logic_error);
        CHECK(generator.next() == 1);
        CHECK(generator.send(5) == 5);
    });
}

// --- exceptions ---

TEST_CASE("what leaves the body is thrown to who asked, and then it has ended",
          "[generator][throw]") {
    everywhere([] {
        Generator<int> generator{[](auto& yield) {
            yield(1);
            throw std::runtime_error{"in the body"};
        }};
        CHECK(generator.next() == 1);
        CHECK_THROWS_WITH(generator.next(), "in the body");
        CHECK(generator.done());
        CHECK(generator.next() == std::nullopt);
    });
}

TEST_CASE("what is thrown in comes out of the yield", "[generator][throw]") {
    everywhere([] {
        Generator<std::string> generator{[](auto& yield) {
            for (;;) {
                try {
                    yield("waits");
                } catch (const std::exception& error) {
                    yield(error.what());
                }
            }
        }};
        CHECK(generator.next() == "waits");
        CHECK(generator.throw_in(std::runtime_error{"one"}) == "one");
        CHECK(generator.next() == "waits");
        CHECK(generator.throw_in(std::make_exception_ptr(std::logic_error{"two"})) == "two");
        CHECK_THROWS_WITH(generator.throw_in(std::runtime_error{"three"}), "three");
        CHECK(generator.done());
        CHECK_THROWS_WITH(generator.throw_in(std::runtime_error{"four"}), "four");
        CHECK_THROWS_AS(generator.throw_in(std::exception_ptr{}), std::invalid_argument);
    });
}

TEST_CASE("what is thrown into a body that has not begun ends it unrun", "[generator][throw]") {
    everywhere([] {
        int ran = 0;
        int ended = 0;
        Generator<int> generator{[&ran, guard = Guard{ended}](auto& yield) { yield(++ran); }};
        CHECK_THROWS_AS(generator.throw_in(7), int);
        CHECK(ended == 1);
        CHECK(generator.done());
        CHECK(generator.next() == std::nullopt);
        CHECK(ran == 0);
    });
}

TEST_CASE("exceptions being handled belong to the stack that handles them", "[generator][throw]") {
    everywhere([] {
        Generator<int> generator{[](auto& yield) {
            CHECK(std::current_exception() == nullptr);
            CHECK(std::uncaught_exceptions() == 0);
            try {
                throw std::runtime_error{"the body's"};
            } catch (...) {
                yield(1);
                CHECK(what_of([] { throw; }) == "the body's");
                yield(2);
                CHECK(what_of([] { throw; }) == "the body's");
            }
            CHECK(std::current_exception() == nullptr);
            yield(3);
        }};
        try {
            throw std::runtime_error{"the consumer's"};
        } catch (...) {
            CHECK(generator.next() == 1);
            CHECK(what_of([] { throw; }) == "the consumer's");
        }
        CHECK(std::current_exception() == nullptr);
        CHECK(generator.next() == 2);
        try {
            throw std::runtime_error{"another"};
        } catch (...) {
            CHECK(generator.next() == 3);
            CHECK(what_of([] { throw; }) == "another");
        }
    });
}

// --- closing ---

TEST_CASE("closing unwinds the body and destroys it", "[generator][close]") {
    everywhere([] {
        int ended = 0;
        Generator<int> generator{[&, captured = Guard{ended}](auto& yield) {
            const Guard local{ended};
            for (int i = 0;; ++i) yield(i);
        }};
        generator.next();
        generator.close();
        CHECK(ended == 2);
        CHECK(generator.done());
        generator.close();
        CHECK(generator.next() == std::nullopt);

        Generator<int> fresh{[guard = Guard{ended}](auto&) { FAIL("it has begun"); }};
        fresh.close();
        CHECK(ended == 3);
        CHECK(fresh.next() == std::nullopt);
    });
}

TEST_CASE("a closed body may see to things, and return or throw", "[generator][close]") {
    everywhere([] {
        Generator<int, void, int> returns{[](auto& yield) {
            try {
                yield(1);
            } catch (const GeneratorExit&) {
            }
            return 5;
        }};
        returns.next();
        returns.close();
        CHECK(returns.result() == 5);

        Generator<int> throws{[](auto& yield) {
            try {
                yield(1);
            } catch (const GeneratorExit&) {
                throw std::runtime_error{"on the way out"};
            }
        }};
        throws.next();
        CHECK_THROWS_WITH(throws.close(), "on the way out");
        CHECK(throws.done());
    });
}

TEST_CASE("a body that goes on yielding when it is closed is an error", "[generator][close]") {
    everywhere([] {
        Generator<int> generator{[](auto& yield) {
            try {
                yield(1);
            } catch (const GeneratorExit&) {
                yield(2);
            }
        }};
        generator.next();
        CHECK_THROWS_AS(generator.close(), std::logic_error);
        CHECK_FALSE(generator.done());
        generator.close();
        CHECK(generator.done());
    });
}

TEST_CASE("a generator dropped half way releases everything", "[generator][close]") {
    everywhere([] {
        int ended = 0;
        for (int i = 0; i < 10; ++i) {
            Generator<int> generator{[&, captured = Guard{ended}](auto& yield) {
                const Guard local{ended};
                yield.from(std::vector<int>(3, 1));
            }};
            for (int n = 0; n < i % 6; ++n) generator.next();
        }
        CHECK(ended == 18);
        Generator<int> stubborn{[&](auto& yield) {
            const Guard local{ended};
            for (int i = 0; i < 5; ++i) {
                try {
                    yield(i);
                } catch (const GeneratorExit&) {
                }
            }
        }};
        stubborn.next();
    });
}

TEST_CASE("a generator is dropped while its owner unwinds", "[generator][close]") {
    everywhere([] {
        int ended = 0;
        const auto body = [&](auto& yield) {
            const Guard guard{ended};
            try {
                yield(1);
            } catch (const GeneratorExit&) {
                CHECK(std::uncaught_exceptions() == 0);
                CHECK(what_of([] { throw std::runtime_error{"inside"}; }) == "inside");
                weft::this_fiber::sleep_for(1us);
                throw;
            }
        };
        CHECK(what_of([&] {
                  Generator<int> generator{body};
                  generator.next();
                  throw std::runtime_error{"the owner's"};
              }) == "the owner's");
        CHECK(ended == 1);
    });
}

namespace {

std::atomic<int> reports{0};
void count_report(std::uint64_t, std::string_view, std::exception_ptr) { ++reports; }

}  // namespace

TEST_CASE("what a dropped body throws is reported, not thrown", "[generator][close]") {
    reports = 0;
    weft::run(
        [] {
            Generator<int> generator{[](auto& yield) {
                try {
                    yield(1);
                } catch (const GeneratorExit&) {
                    throw std::runtime_error{"too late"};
                }
            }};
            generator.next();
        },
        {.on_unhandled = &count_report});
    CHECK(reports == 1);
}

// --- who runs the body ---

TEST_CASE("a generator that runs already cannot be resumed", "[generator][running]") {
    everywhere([] {
        Generator<int>* self = nullptr;
        Generator<int> generator{[&](auto& yield) {
            CHECK_THROWS_WITH(self->next(), "weft: generator already executing");
            CHECK_THROWS_AS(self->throw_in(1), std::logic_error);
            CHECK_THROWS_AS(self->close(), std::logic_error);
            yield(1);
        }};
        self = &generator;
        CHECK(generator.next() == 1);
    });
}

TEST_CASE("while the body waits another fiber cannot resume it", "[generator][running]") {
    also_migrating([] {
        weft::Semaphore go{0};
        weft::Semaphore begun{0};
        Generator<int> generator{[&](auto& yield) {
            begun.release();
            go.acquire();
            yield(1);
        }};
        auto other = weft::spawn([&] { return generator.next(); });
        begun.acquire();
        CHECK_THROWS_WITH(generator.next(), "weft: generator already executing");
        go.release();
        CHECK(other.get() == 1);
    });
}

TEST_CASE("the body is the fiber that asks", "[generator][fiber]") {
    also_migrating([] {
        weft::FiberLocal<int> local;
        *local = 5;
        Generator<int> generator{[&, id = weft::this_fiber::id()](auto& yield) {
            CHECK(weft::this_fiber::id() == id);
            weft::this_fiber::sleep_for(1us);
            CHECK(weft::this_fiber::id() == id);
            CHECK(weft::this_fiber::name() == "main");
            yield(*local);
            *local = 6;
        }};
        CHECK(generator.next() == 5);
        generator.next();
        CHECK(*local == 6);
    });
}

TEST_CASE("a body that waits suspends its consumer alone", "[generator][fiber]") {
    everywhere([] {
        if (!weft::this_fiber::is_fiber()) return;
        weft::Semaphore items{0};
        weft::Lock lock;
        auto consumer = weft::spawn([&] {
            Generator<int> generator{[&](auto& yield) {
                for (int i = 0; i < 50; ++i) {
                    items.acquire();
                    const std::lock_guard hold{lock};
                    weft::this_fiber::yield();
                    yield(i);
                }
            }};
            int sum = 0;
            for (const int i : generator) sum += i;
            return sum;
        });
        for (int i = 0; i < 50; ++i) {
            items.release();
            weft::this_fiber::yield();
            // Of the consumer's: it holds the lock across a yield.
        }
        CHECK(consumer.get() == 49 * 50 / 2);
    });
}

TEST_CASE("many fibers with generators that wait get each their own items",
          "[generator][fiber][stress]") {
    also_migrating([] {
        std::vector<weft::Fiber<long>> fibers;
        for (int f = 0; f < 20; ++f) {
            fibers.push_back(weft::spawn([f] {
                Generator<long> inner{[f](auto& yield) {
                    for (long i = 0; i < 20; ++i) {
                        if (i % 3 == f % 3) weft::this_fiber::yield();
                        yield(i * f);
                        if (i % 5 == f % 5) weft::this_fiber::sleep_for(1us);
                    }
                }};
                Generator<long> outer{[&](auto& yield) { yield.from(inner); }};
                long sum = 0;
                for (const long i : outer) {
                    sum += i;
                    weft::this_fiber::yield();
                }
                return sum;
            }));
        }
        for (int f = 0; f < 20; ++f) CHECK(fibers[static_cast<std::size_t>(f)].get() == 190L * f);
    });
}

TEST_CASE("a fiber that is cancelled in a body unwinds body and consumer", "[generator][cancel]") {
    also_migrating([] {
        int ended = 0;
        auto fiber = weft::spawn([&] {
            const Guard consumer{ended};
            Generator<int> generator{[&](auto& yield) {
                const Guard body{ended};
                weft::this_fiber::sleep_until(weft::Deadline::never());
                yield(1);
            }};
            generator.next();
        });
        until_waiting(fiber);
        fiber.cancel();
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        CHECK(ended == 2);
    });
}

TEST_CASE("a consumer's Timeout ends the body's wait", "[generator][timeout]") {
    everywhere([] {
        Generator<int> generator{[](auto& yield) {
            yield(1);
            weft::this_fiber::sleep_until(weft::Deadline::never());
        }};
        CHECK(generator.next() == 1);
        CHECK_FALSE(weft::with_timeout(1ms, [&] { generator.next(); }));
        CHECK(generator.done());
    });
}

TEST_CASE("a Timeout of the body's holds while the body runs", "[generator][timeout]") {
    everywhere([] {
        Generator<int> generator{[](auto& yield) {
            weft::Timeout limit{1ms};
            try {
                yield(1);
                weft::this_fiber::sleep_for(1h);
            } catch (const weft::TimedOut& timed_out) {
                yield(timed_out.is(limit) ? 2 : 3);
            }
            weft::Timeout second{1h};
            weft::Timeout third{2h};
            yield(4);
        }};
        CHECK(generator.next() == 1);
        weft::Timeout mine{1h};
        weft::this_fiber::sleep_for(2ms);  // not ended by the body's
        CHECK(generator.next() == 2);
        CHECK(generator.next() == 4);
        CHECK_FALSE(mine.expired());
    });
}

TEST_CASE("a Shield of the body's holds while the body runs", "[generator][cancel]") {
    also_migrating([] {
        weft::Semaphore go{0};
        Generator<int> generator{[&](auto& yield) {
            const weft::this_fiber::Shield shield;
            yield(1);
            go.acquire();
            yield(2);
        }};
        auto fiber = weft::spawn([&] {
            generator.next();
            weft::current().cancel();
            CHECK_THROWS_AS(weft::this_fiber::check_cancelled(), weft::Cancelled);
            CHECK(generator.next() == 2);
            CHECK_THROWS_AS(weft::this_fiber::check_cancelled(), weft::Cancelled);
        });
        until_waiting(fiber);
        go.release();
        fiber.get();
        generator.close();  // closes the Shield in this fiber
        weft::this_fiber::check_cancelled();
    });
}

TEST_CASE("a body that is dropped or unwound over is not interrupted", "[generator][cancel]") {
    also_migrating([] {
        int ended = 0;
        auto fiber = weft::spawn([&] {
            Generator<int> generator{[&](auto& yield) {
                try {
                    yield(1);
                } catch (const GeneratorExit&) {
                    weft::this_fiber::sleep_for(1ms);
                    ++ended;
                }
            }};
            generator.next();
            weft::current().cancel();
        });
        fiber.join();
        CHECK(ended == 1);
    });
}

TEST_CASE("a body that is resumed by a destructor while its owner unwinds is not interrupted",
          "[generator][cancel]") {
    also_migrating([] {
        int item = 0;
        struct Last {
            ~Last() { *item = *generator->next(); }
            Generator<int>* generator;
            int* item;
        };
        auto fiber = weft::spawn([&] {
            Generator<int> generator{[](auto& yield) {
                yield(1);
                weft::this_fiber::sleep_for(1ms);
                weft::this_fiber::check_cancelled();
                yield(2);
            }};
            generator.next();
            const Last last{&generator, &item};
            weft::current().cancel();
            weft::this_fiber::check_cancelled();
        });
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
        CHECK(item == 2);
    });
}

TEST_CASE("a generator is resumed by one fiber after the other, and by plain threads",
          "[generator][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        Generator<int> generator{[](auto& yield) {
            std::mutex mutex;
            for (int i = 0; i < 30; ++i) {
                const std::lock_guard hold{mutex};
                weft::Timeout limit{1h};
                weft::this_fiber::sleep_for(1us);
                try {
                    throw i;
                } catch (int caught) {
                    yield(caught);
                }
            }
        }};
        {
            weft::Runtime runtime{{.workers = workers}};
            for (int i = 0; i < 10; ++i) {
                CHECK(generator.next() == 3 * i);
                std::optional<int> item;
                std::thread{[&] { item = generator.next(); }}.join();
                CHECK(item == 3 * i + 1);
                CHECK(runtime.spawn([&] { return generator.next(); }).get() == 3 * i + 2);
            }
            generator = weft::Generator<int>{[](auto& yield) {
                for (int i = 0; i < 3; ++i) yield(i);
            }};
            CHECK(runtime.spawn([&] { return generator.next(); }).get() == 0);
        }
        CHECK(generator.next() == 1);
    }
}

TEST_CASE("a yield outside of its body throws and harms nothing", "[generator]") {
    also_migrating([] {
        Generator<int> generator{[](auto& yield) {
            auto other = weft::spawn([&] { yield(7); });
            CHECK_THROWS_AS(other.get(), std::logic_error);
            Generator<int> inner{[&](auto&) { yield(8); }};
            CHECK_THROWS_AS(inner.next(), std::logic_error);
            yield(1);
        }};
        CHECK(all_of(generator) == std::vector{1});
    });
}

// --- yield.from ---

TEST_CASE("from yields all of a range or another generator", "[generator][from]") {
    everywhere([] {
        Generator<int> generator{[](auto& yield) {
            yield.from(std::vector{1, 2});
            auto inner = count_to(3);
            CHECK(inner.next() == 0);
            yield.from(inner);
            yield.from(count_to(1));
        }};
        CHECK(all_of(generator) == std::vector{1, 2, 1, 2, 0});
    });
}

namespace {

struct Tree {
    int value;
    std::unique_ptr<Tree> left;
    std::unique_ptr<Tree> right;
};

std::unique_ptr<Tree> tree(int first, int end) {
    if (first == end) return nullptr;
    const int middle = (first + end) / 2;
    return std::make_unique<Tree>(Tree{middle, tree(first, middle), tree(middle + 1, end)});
}

Generator<int> in_order(const Tree* node) {
    return Generator<int>{[node](auto& yield) {
        if (node == nullptr) return;
        yield.from(in_order(node->left.get()));
        yield(node->value);
        yield.from(in_order(node->right.get()));
    }};
}

}  // namespace

TEST_CASE("generators recurse", "[generator][from]") {
    everywhere([] {
        const auto root = tree(0, 15);
        auto generator = in_order(root.get());
        int expected = 0;
        for (const int value : generator) CHECK(value == expected++);
        CHECK(expected == 15);
    });
}

TEST_CASE("from passes on what is sent and thrown in, and returns the result",
          "[generator][from]") {
    everywhere([] {
        using Inner = Generator<std::string, std::string, std::string>;
        Generator<std::string, std::string> outer{[](auto& yield) {
            Inner inner{[](auto& inner_yield) {
                std::string all;
                for (std::string got = inner_yield("begin"); got != "end";) {
                    all += got;
                    try {
                        got = inner_yield("after " + got);
                    } catch (const std::exception& error) {
                        got = error.what();
                    }
                }
                return all;
            }};
            yield("all: " + yield.from(inner));
        }};
        CHECK(outer.next() == "begin");
        CHECK(outer.send("a") == "after a");
        CHECK(outer.throw_in(std::runtime_error{"b"}) == "after b");
        CHECK(outer.send("end") == "all: ab");
    });
}

TEST_CASE("closing the outer generator closes the inner one first", "[generator][from]") {
    everywhere([] {
        weft::test::Journal<int> order;
        struct Note {
            ~Note() { order->add(number); }
            weft::test::Journal<int>* order;
            int number;
        };
        Generator<int> outer{[&](auto& yield) {
            const Note note{&order, 2};
            yield.from(Generator<int>{[&](auto& inner_yield) {
                const Note inner_note{&order, 1};
                inner_yield(1);
            }});
        }};
        outer.next();
        outer.close();
        CHECK(order.entries() == std::vector{1, 2});
    });
}

TEST_CASE("closing tells how the inner generator took it", "[generator][from][close]") {
    everywhere([] {
        enum class Takes { returning, throwing, yielding };
        const auto outer = [](Takes takes) {
            return Generator<int>{[takes](auto& yield) {
                yield.from(Generator<int>{[takes](auto& inner_yield) {
                    try {
                        inner_yield(1);
                    } catch (const GeneratorExit&) {
                        if (takes == Takes::throwing) throw std::runtime_error{"inner"};
                        if (takes == Takes::yielding) inner_yield(2);
                    }
                }});
                FAIL("the outer one goes on");
            }};
        };
        auto returning = outer(Takes::returning);
        returning.next();
        returning.close();
        CHECK(returning.done());
        auto throwing = outer(Takes::throwing);
        throwing.next();
        CHECK_THROWS_WITH(throwing.close(), "inner");
        auto yielding = outer(Takes::yielding);
        yielding.next();
        CHECK_THROWS_AS(yielding.close(), std::logic_error);
        CHECK(yielding.done());
    });
}

TEST_CASE("a generator cannot yield from itself", "[generator][from][running]") {
    everywhere([] {
        Generator<int>* self = nullptr;
        Generator<int> generator{[&](auto& yield) { yield.from(*self); }};
        self = &generator;
        CHECK_THROWS_WITH(generator.next(), "weft: generator already executing");
    });
}

TEST_CASE("an exception of the inner generator is thrown out of from", "[generator][from]") {
    everywhere([] {
        Generator<int> outer{[](auto& yield) {
            try {
                yield.from(Generator<int>{[](auto& inner_yield) {
                    inner_yield(1);
                    throw std::runtime_error{"inner"};
                }});
            } catch (const std::runtime_error&) {
                yield(2);
            }
        }};
        CHECK(all_of(outer) == std::vector{1, 2});
    });
}

// --- its stack ---

namespace {

volatile bool endless = true;

[[gnu::noinline]] int recurse(int depth) {
    volatile char frame[512];
    frame[0] = static_cast<char>(depth);
    return endless ? recurse(depth + 1) + frame[0] : 0;
}

const Child overflow{"a generator's overflow", [] {
                         weft::run([] {
                             Generator<int> generator{weft::GeneratorOptions{.stack_size = 65536},
                                                      [](auto& yield) { yield(recurse(0)); }};
                             generator.next();
                         });
                         return 0;
                     }};

const Child refusal{"a generator that never ends", [] {
                        Generator<int> generator{[](auto& yield) {
                            for (;;) {
                                try {
                                    yield(1);
                                } catch (...) {
                                }
                            }
                        }};
                        generator.next();
                        return 0;
                    }};

}  // namespace

TEST_CASE("an overflow of the body's stack is told as one", "[generator][stack]") {
    const auto outcome = overflow.run();
    if (!under_sanitizer) {
        CHECK(outcome.killed_by(SIGSEGV));
        CHECK(outcome.says("fiber \"main\""));
        CHECK(outcome.says("overflowed a generator's 64 KiB stack"));
        CHECK(outcome.says("GeneratorOptions::stack_size"));
    }
}

TEST_CASE("a body that does not end when it is dropped ends the process", "[generator][stack]") {
    const auto outcome = refusal.run();
    CHECK(outcome.says("goes on yielding"));
    CHECK(outcome.killed_by(SIGABRT));
}

TEST_CASE("stacks are used again", "[generator][stack]") {
    on_workers([] {
        for (int i = 0; i < rounds; ++i) {
            auto generator = count_to(3);
            CHECK(generator.next() == 0);
        }
    });
}

TEST_CASE("neither items nor generators take memory but their stacks", "[generator][allocations]") {
    weft::run([] {
        const auto use = [] {
            Generator<int, int> generator{[](auto& yield) {
                Generator<int, int> inner{[](auto& inner_yield) {
                    for (int i = 0; i < 100;) i += inner_yield(i);
                }};
                yield.from(inner);
            }};
            for (auto item = generator.next(); item; item = generator.send(1)) {
            }
        };
        use();
        CHECK(weft::test::allocations_in([&] {
                  for (int i = 0; i < 10; ++i) use();
              }) == 0);
    });
}
