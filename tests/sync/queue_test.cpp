// What queue.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/queue.hpp>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/everywhere.hpp"
#include "support/journal.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

using namespace std::chrono_literals;
using weft::Queue;
using weft::QueueClosed;
using weft::test::allocations_in;
using weft::test::everywhere;
using weft::test::Journal;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::until_waiting;

namespace {

// A PriorityQueue gives least first what the others take as it comes.
using Kinds = std::tuple<Queue<int>, weft::LifoQueue<int>, weft::PriorityQueue<int>>;

template <class Kind>
std::vector<int> drained(Kind& queue) {
    std::vector<int> items;
    while (auto item = queue.try_get()) items.push_back(*item);
    return items;
}

std::vector<int> sorted(std::vector<int> items) {
    std::sort(items.begin(), items.end());
    return items;
}

}  // namespace

// --- order ---

TEST_CASE("items leave a queue in the order they came", "[queue]") {
    Queue<int> queue;
    for (int i = 0; i < 100; ++i) CHECK(queue.put(i));
    CHECK(queue.size() == 100);
    for (int i = 0; i < 100; ++i) CHECK(queue.get() == i);
    CHECK(queue.empty());
}

TEST_CASE("the last item leaves a LifoQueue first", "[queue]") {
    weft::LifoQueue<int> queue;
    for (int i = 0; i < 3; ++i) queue.put(i);
    CHECK(queue.get() == 2);
    queue.put(7);
    CHECK(drained(queue) == std::vector{7, 1, 0});
}

TEST_CASE("the least item leaves a PriorityQueue first, or the one that says so", "[queue]") {
    weft::PriorityQueue<int> queue;
    for (const int i : {111, 333, 222, 5, 444, 1, 333}) queue.put(i);
    CHECK(drained(queue) == std::vector{1, 5, 111, 222, 333, 333, 444});

    const auto by_last_digit = [factor = 10](int a, int b) { return a % factor < b % factor; };
    weft::PriorityQueue<int, decltype(by_last_digit)> other{0, by_last_digit};
    for (const int i : {19, 22, 31, 48}) other.put(i);
    CHECK(drained(other) == std::vector{31, 22, 48, 19});
}

TEST_CASE("a PriorityQueue of thousands gives all in order", "[queue]") {
    weft::PriorityQueue<int> queue;
    std::vector<int> expected;
    std::uint32_t chance = 1;
    for (int i = 0; i < 5000; ++i) {
        chance = chance * 1664525u + 1013904223u;
        expected.push_back(static_cast<int>(chance >> 20));
        queue.put(expected.back());
        if (i % 3 != 0) continue;
        const auto least = std::min_element(expected.begin(), expected.end());
        CHECK(queue.get() == *least);
        expected.erase(least);
    }
    CHECK(drained(queue) == sorted(expected));
}

TEST_CASE("equal items leave a PriorityQueue in the order they came", "[queue]") {
    struct Job {
        int urgency;
        int number;
        bool operator<(const Job& other) const { return urgency < other.urgency; }
    };
    weft::PriorityQueue<Job> queue;
    for (int i = 0; i < 300; ++i) queue.put(Job{i % 3, i});
    for (int urgency = 0; urgency < 3; ++urgency) {
        for (int i = urgency; i < 300; i += 3) CHECK(queue.get().number == i);
    }
}

TEST_CASE("every kind can be used as a Queue", "[queue]") {
    weft::LifoQueue<int> lifo;
    weft::PriorityQueue<int> priority;
    const auto fill = [](Queue<int>& queue) {
        for (const int i : {2, 1, 3}) queue.put(i);
        return queue.get();
    };
    CHECK(fill(lifo) == 3);
    CHECK(fill(priority) == 1);
}

// --- full and empty ---

TEMPLATE_LIST_TEST_CASE("a queue holds as many as its maxsize, without limit if that is 0",
                        "[queue]", Kinds) {
    TestType queue{3};
    CHECK(queue.maxsize() == 3);
    CHECK(queue.empty());
    for (int i = 0; i < 3; ++i) {
        CHECK_FALSE(queue.full());
        CHECK(queue.try_put(i));
        CHECK(queue.size() == static_cast<std::size_t>(i) + 1);
    }
    CHECK(queue.full());
    CHECK_FALSE(queue.try_put(3));
    CHECK_FALSE(queue.put(3, 0ms));
    CHECK(sorted(drained(queue)) == std::vector{0, 1, 2});
    CHECK_FALSE(queue.try_get());
    CHECK_FALSE(queue.get(0ms));

    TestType endless;
    CHECK(endless.maxsize() == 0);
    for (int i = 0; i < 3000; ++i) CHECK(endless.try_put(i));
    CHECK_FALSE(endless.full());
    CHECK(drained(endless).size() == 3000);
}

TEMPLATE_LIST_TEST_CASE("a getter waits for an item and a putter for room", "[queue]", Kinds) {
    everywhere([] {
        TestType queue{1};
        auto getter = weft::spawn([&] { return queue.get(); });
        until_waiting(getter);
        queue.put(1);
        CHECK(getter.get() == 1);
        queue.put(2);
        auto putter = weft::spawn([&] { return queue.put(3); });
        until_waiting(putter);
        CHECK(queue.size() == 1);
        CHECK(queue.get() == 2);
        CHECK(putter.get());
        CHECK(queue.get() == 3);
    });
}

TEST_CASE("an item is the first getter's, not a passer-by's", "[queue][order]") {
    weft::run(
        [] {
            Queue<int> queue;
            auto getter = weft::spawn([&] { return queue.get(); });
            until_waiting(getter);
            queue.put(1);
            CHECK_FALSE(queue.try_get());  // before the getter has run
            CHECK(queue.empty());
            CHECK(getter.get() == 1);
        },
        {.workers = 1});
}

TEST_CASE("room is the first putter's, not a passer-by's", "[queue][order]") {
    weft::run(
        [] {
            Queue<int> queue{1};
            queue.put(1);
            auto putter = weft::spawn([&] { queue.put(2); });
            until_waiting(putter);
            CHECK(queue.get() == 1);
            CHECK(queue.full());  // before the putter has run
            CHECK_FALSE(queue.try_put(3));
            CHECK(queue.get() == 2);
        },
        {.workers = 1});
}

TEST_CASE("getters get items in order of arrival, and putters put them", "[queue][order]") {
    everywhere([] {
        Queue<int> queue{1};
        std::vector<weft::Fiber<int>> getters;
        for (int i = 0; i < 10; ++i) {
            getters.push_back(weft::spawn([&] { return queue.get(); }));
            until_waiting(getters.back());
        }
        for (int i = 0; i < 10; ++i) queue.put(i);
        for (int i = 0; i < 10; ++i) CHECK(getters[static_cast<std::size_t>(i)].get() == i);

        queue.put(-1);
        std::vector<weft::Fiber<>> putters;
        for (int i = 0; i < 10; ++i) {
            putters.push_back(weft::spawn([&, i] { queue.put(i); }));
            until_waiting(putters.back());
        }
        for (int i = -1; i < 10; ++i) CHECK(queue.get() == i);
    });
}

TEST_CASE("an item of a getter that left is the next one's", "[queue][cancel]") {
    everywhere([] {
        Queue<int> queue;
        auto late = weft::spawn([&] { return queue.get(1ms); });
        auto cancelled = weft::spawn([&] { return queue.get(); });
        until_waiting(cancelled);
        cancelled.cancel();
        CHECK_FALSE(late.get());
        CHECK_THROWS_AS(cancelled.get(), weft::Cancelled);
        auto getter = weft::spawn([&] { return queue.get(); });
        until_waiting(getter);
        queue.put(1);
        queue.put(2);
        CHECK(getter.get() == 1);
        CHECK(queue.get() == 2);
    });
}

TEST_CASE("a putter that left put nothing, and has its item still", "[queue][cancel]") {
    everywhere([] {
        Queue<std::unique_ptr<int>> queue{1};
        queue.put(std::make_unique<int>(1));
        auto late = weft::spawn([&] {
            auto item = std::make_unique<int>(2);
            return !queue.put(std::move(item), 1ms) && *item == 2;
        });
        auto cancelled = weft::spawn([&] {
            auto item = std::make_unique<int>(3);
            try {
                queue.put(std::move(item));
            } catch (const weft::Cancelled&) {
                return *item == 3;
            }
            return false;
        });
        until_waiting(cancelled);
        cancelled.cancel();
        CHECK(late.get());
        CHECK(cancelled.get());
        CHECK(*queue.get() == 1);
        CHECK_FALSE(queue.try_get());
        auto item = std::make_unique<int>(4);
        CHECK(queue.try_put(std::move(item)));
        item = std::make_unique<int>(5);
        CHECK_FALSE(queue.try_put(std::move(item)));
        CHECK(*item == 5);
    });
}

// --- what T may be ---

namespace {

struct alignas(256) Wide {
    explicit Wide(int number) : value{number} { check(); }
    Wide(Wide&& other) noexcept : value{other.value} { check(); }
    ~Wide() { check(); }
    void check() const {
        if (reinterpret_cast<std::uintptr_t>(this) % 256 != 0) ++misplaced;
    }
    int value;
    static inline std::atomic<int> misplaced{0};
};

}  // namespace

TEST_CASE("items that are aligned to more than memory is lie right everywhere", "[queue]") {
    everywhere([] {
        Queue<Wide> queue{2};
        auto getter = weft::spawn([&] { return queue.get().value; });
        until_waiting(getter);
        for (int i = 0; i < 3; ++i) queue.put(Wide{i});
        auto putter = weft::spawn([&] { queue.put(Wide{3}); });
        until_waiting(putter);
        CHECK(getter.get() == 0);
        CHECK(queue.get().value == 1);
        CHECK(queue.get(1ms)->value == 2);
        CHECK(queue.try_get()->value == 3);
        CHECK(Wide::misplaced == 0);
    });
}

namespace {

// How many moves go well yet; then they throw, and leave all as it was.
std::atomic<long> moves_left{1'000'000'000};

struct TooManyMoves {};

// One that counts itself. Its move throws when it is told to, or by its own choice.
class Fickle {
public:
    explicit Fickle(int number) : value_{number} { ++alive; }
    Fickle(Fickle&& other) : value_{other.value_} {
        if (--moves_left < 0) throw TooManyMoves{};
        other.value_ = 0;
        ++alive;
    }
    ~Fickle() { --alive; }
    int value() const noexcept { return value_; }
    bool operator<(const Fickle& other) const {
        if (--moves_left < 0) throw TooManyMoves{};
        return value_ < other.value_;
    }
    static inline std::atomic<int> alive{0};

private:
    int value_;  // 0: moved from
};

using FickleKinds = std::tuple<Queue<Fickle>, weft::LifoQueue<Fickle>, weft::PriorityQueue<Fickle>>;

// Puts 1, 2, ... until `moves` moves and comparisons were made, taking one for two put;
// then drains. Whatever throws must leave all where it was.
template <class Kind>
void use_until_it_throws(long moves) {
    std::set<int> inside;
    {
        Kind queue{4};
        bool threw = false;
        moves_left = moves;
        for (int i = 1; !threw && i < 20; ++i) {
            Fickle item{i};
            try {
                if (queue.put(std::move(item), 0ms)) inside.insert(i);
                if (i % 2 == 0) {
                    const Fickle taken = queue.get();
                    inside.erase(taken.value());
                }
            } catch (const TooManyMoves&) {
                threw = true;
                if (inside.count(i) == 0) CHECK(item.value() == i);
            }
        }
        moves_left = 1'000'000'000;
        CHECK(queue.size() == inside.size());
        while (auto taken = queue.try_get()) CHECK(inside.erase(taken->value()) == 1);
        CHECK(inside.empty());
    }
    CHECK(Fickle::alive == 0);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("an item whose move or comparison throws stays where it was",
                        "[queue][throws]", FickleKinds) {
    for (long moves = 0; moves < 80; ++moves) use_until_it_throws<TestType>(moves);
}

TEST_CASE("an item that cannot be moved out of the queue is the next to be taken",
          "[queue][throws]") {
    weft::PriorityQueue<Fickle> queue;
    for (const int i : {3, 1, 2}) queue.put(Fickle{i});
    moves_left = 2;  // comparisons, which come first
    CHECK_THROWS_AS(queue.get(), TooManyMoves);
    moves_left = 1'000'000'000;
    CHECK(queue.size() == 3);
    for (const int i : {1, 2, 3}) CHECK(queue.get().value() == i);
}

TEST_CASE("an item whose getter cannot move it goes to the next getter", "[queue][throws]") {
    everywhere([] {
        moves_left = 1'000'000'000;
        Queue<Fickle> queue;
        auto first = weft::spawn([&] { return queue.get().value(); });
        until_waiting(first);
        Fickle item{1};
        moves_left = 1;  // into the queue
        queue.put(std::move(item));
        CHECK_THROWS_AS(first.get(), TooManyMoves);
        moves_left = 1'000'000'000;
        CHECK(queue.size() == 1);
        CHECK(queue.get().value() == 1);
    });
    CHECK(Fickle::alive == 0);
}

TEST_CASE("who cannot move a waiting putter's item in is told, and the next is let in",
          "[queue][throws]") {
    weft::run(
        [] {
            moves_left = 1'000'000'000;
            Queue<Fickle> queue{1};
            queue.put(Fickle{1});
            bool has_it = false;
            auto first = weft::spawn([&] {
                Fickle item{2};
                try {
                    queue.put(std::move(item));
                } catch (const TooManyMoves&) {
                    has_it = item.value() == 2;
                }
            });
            until_waiting(first);
            moves_left = 1;  // out of the queue
            CHECK(queue.get().value() == 1);
            moves_left = 1'000'000'000;
            first.join();
            CHECK(has_it);
            CHECK(queue.empty());
            CHECK(queue.unfinished() == 1);
            CHECK(queue.try_put(Fickle{3}));
            CHECK(queue.get().value() == 3);
        },
        {.workers = 1});
}

TEST_CASE("who makes room by an item that was put back has room for a waiting putter's",
          "[queue][throws]") {
    // An item that was put back lies beside the heap: so a queue may be full, and its
    // memory for a heap the 16 that it began with.
    weft::run(
        [] {
            moves_left = 1'000'000'000;
            weft::PriorityQueue<Fickle> queue{17};
            const auto put_back = [&](int number) {
                std::vector<weft::Fiber<>> getters;
                for (int i = 0; i < number; ++i) {
                    getters.push_back(weft::spawn([&] { queue.get(); }));
                    until_waiting(getters.back());
                }
                for (int i = 0; i < number; ++i) {
                    Fickle item{100};
                    moves_left = 1;  // into the queue, and not out of it
                    queue.put(std::move(item));
                }
                for (auto& getter : getters) CHECK_THROWS_AS(getter.get(), TooManyMoves);
                moves_left = 1'000'000'000;
            };
            put_back(17);  // cells for all, while there is nothing in the heap
            for (int i = 0; i < 17; ++i) CHECK(queue.get().value() == 100);
            put_back(1);
            for (int i = 1; i <= 16; ++i) queue.put(Fickle{i});
            CHECK(queue.full());
            auto putter = weft::spawn([&] { queue.put(Fickle{17}); });
            until_waiting(putter);
            CHECK(queue.get().value() == 100);
            putter.join();
            for (int i = 1; i <= 17; ++i) CHECK(queue.get().value() == i);
        },
        {.workers = 1});
    CHECK(Fickle::alive == 0);
}

namespace {

// Many put and get what throws now and then: what was put is what was got.
void conserve_fickle_items(std::uint64_t seed) {
    constexpr int each = 30;
    Queue<Fickle> queue{1 + seed % 3};
    Journal<int> put;
    Journal<int> got;
    std::vector<weft::Fiber<>> fibers;
    std::atomic<int> putting{3};
    for (int p = 0; p < 3; ++p) {
        fibers.push_back(weft::spawn([&, p] {
            for (int i = 1; i <= each; ++i) {
                Fickle item{p * each + i};
                try {
                    if (queue.put(std::move(item))) put.add(p * each + i);
                } catch (const TooManyMoves&) {
                    moves_left = 3 + i % 7;
                }
                if (i % 4 == 0) weft::this_fiber::yield();
            }
            if (--putting == 0) queue.close();
        }));
        fibers.push_back(weft::spawn([&] {
            for (;;) {
                try {
                    got.add(queue.get().value());
                } catch (const TooManyMoves&) {
                    moves_left = 5;
                } catch (const QueueClosed&) {
                    return;
                }
            }
        }));
    }
    moves_left = static_cast<long>(seed % 11);
    weft::join_all(fibers);
    moves_left = 1'000'000'000;
    std::vector<int> left = got.entries();
    // One may have been put back after the last getter saw an empty queue.
    for (const Fickle& item : queue) left.push_back(item.value());
    CHECK(sorted(left) == sorted(put.entries()));
}

}  // namespace

TEST_CASE("of items whose moves throw among many fibers none is lost or doubled",
          "[queue][throws]") {
    const auto body = [](std::uint64_t seed) {
        conserve_fickle_items(seed);
        CHECK(Fickle::alive == 0);
    };
    on_seeds(200, body);
    on_workers([&] {
        for (std::uint64_t i = 0; i < 20; ++i) body(i);
    });
}

TEST_CASE("a copy that throws puts nothing, and peeks at nothing", "[queue][throws]") {
    struct Copied {
        explicit Copied(bool fails) : copy_throws{fails} {}
        Copied(const Copied& other) : copy_throws{other.copy_throws} {
            if (copy_throws) throw TooManyMoves{};
        }
        Copied(Copied&&) = default;
        bool copy_throws;
    };
    Queue<Copied> queue;
    const Copied item{true};
    CHECK_THROWS_AS(queue.put(item), TooManyMoves);
    CHECK(queue.empty());
    queue.put(Copied{true});
    CHECK_THROWS_AS(queue.peek(), TooManyMoves);
    CHECK(queue.size() == 1);
    CHECK(queue.get().copy_throws);
}

TEST_CASE("what is left in a queue is destroyed with it", "[queue]") {
    const auto alive = std::make_shared<int>(1);
    {
        Queue<std::shared_ptr<int>> queue;
        weft::PriorityQueue<std::shared_ptr<int>> other;
        for (int i = 0; i < 10; ++i) {
            queue.put(alive);
            other.put(alive);
        }
        queue.get();
        other.get();
        CHECK(alive.use_count() == 19);
    }
    CHECK(alive.use_count() == 1);
}

// --- peek ---

TEMPLATE_LIST_TEST_CASE("peek shows the item that get would take, and leaves it", "[queue][peek]",
                        Kinds) {
    TestType queue;
    CHECK_FALSE(queue.try_peek());
    CHECK_FALSE(queue.peek(0ms));
    for (const int i : {2, 1, 3}) queue.put(i);
    while (!queue.empty()) {
        const int seen = queue.peek();
        CHECK(queue.try_peek() == seen);
        CHECK(queue.peek(0ms) == seen);
        CHECK(queue.get() == seen);
    }
}

TEST_CASE("an item is seen by all who wait to peek, if no getter takes it", "[queue][peek]") {
    everywhere([] {
        Queue<int> queue;
        auto one = weft::spawn([&] { return queue.peek(); });
        auto other = weft::spawn([&] { return queue.peek(1h); });
        until_waiting(one);
        until_waiting(other);
        auto getter = weft::spawn([&] { return queue.get(); });
        until_waiting(getter);
        queue.put(1);
        CHECK(getter.get() == 1);
        CHECK_FALSE(one.done());
        queue.put(2);
        CHECK(one.get() == 2);
        CHECK(other.get() == 2);
        CHECK(queue.get() == 2);
    });
}

TEST_CASE("who peeked waits on when another was faster", "[queue][peek]") {
    weft::run(
        [] {
            Queue<int> queue;
            auto peeker = weft::spawn([&] { return queue.peek(); });
            until_waiting(peeker);
            queue.put(1);
            CHECK(queue.get() == 1);
            until_waiting(peeker);
            CHECK_FALSE(peeker.done());
            queue.put(2);
            CHECK(peeker.get() == 2);
        },
        {.workers = 1});
}

// --- task_done and join ---

TEST_CASE("task_done more often than items were put throws", "[queue][join]") {
    Queue<int> queue;
    CHECK_THROWS_AS(queue.task_done(), std::logic_error);
    CHECK(queue.join());
    queue.put(1);
    queue.task_done();
    CHECK_THROWS_AS(queue.task_done(), std::logic_error);
    CHECK(queue.get() == 1);
    CHECK(queue.join());
}

TEMPLATE_LIST_TEST_CASE("join waits until all is done, again and again", "[queue][join]", Kinds) {
    everywhere([] {
        TestType queue;
        std::atomic<int> sum{0};
        std::vector<weft::Fiber<>> workers;
        for (int i = 0; i < 2; ++i) {
            workers.push_back(weft::spawn([&] {
                for (const int item : queue) {
                    sum += item;
                    queue.task_done();
                }
            }));
        }
        for (int round = 1; round < 4; ++round) {
            for (int i = 0; i < 100; ++i) queue.put(i);
            CHECK(queue.join());
            CHECK(sum == round * 99 * 50);
            CHECK(queue.unfinished() == 0);
        }
        queue.close();
        weft::join_all(workers);
    });
}

TEST_CASE("join waits for items that a waiting putter brings, and for those handed over",
          "[queue][join]") {
    everywhere([] {
        Queue<int> queue{1};
        queue.put(1);
        auto putter = weft::spawn([&] { queue.put(2); });
        until_waiting(putter);
        CHECK(queue.unfinished() == 1);
        queue.get();
        queue.task_done();
        CHECK(queue.unfinished() == 1);
        CHECK_FALSE(queue.join(0ms));
        queue.get();
        auto getter = weft::spawn([&] { queue.get(); });
        until_waiting(getter);
        queue.put(3);
        getter.join();
        CHECK(queue.unfinished() == 2);
        auto joiner = weft::spawn([&] { return queue.join(); });
        until_waiting(joiner);
        queue.task_done();
        CHECK_FALSE(joiner.done());
        queue.task_done();
        CHECK(joiner.get());
    });
}

// --- close ---

TEMPLATE_LIST_TEST_CASE("a closed queue takes nothing and gives what it has", "[queue][close]",
                        Kinds) {
    TestType queue;
    for (const int i : {1, 2}) queue.put(i);
    CHECK_FALSE(queue.closed());
    queue.close();
    queue.close();
    CHECK(queue.closed());
    CHECK_THROWS_AS(queue.put(3), QueueClosed);
    CHECK_THROWS_AS(queue.put(3, 0ms), QueueClosed);
    CHECK_THROWS_AS(queue.try_put(3), QueueClosed);
    CHECK(queue.peek() == queue.try_peek());
    const auto seen = queue.peek(0ms);
    CHECK(seen == queue.get());
    CHECK(queue.try_get());
    CHECK_THROWS_AS(queue.get(), QueueClosed);
    CHECK_THROWS_AS(queue.get(0ms), QueueClosed);
    CHECK_THROWS_AS(queue.try_get(), QueueClosed);
    CHECK_THROWS_AS(queue.peek(), QueueClosed);
    CHECK_THROWS_AS(queue.peek(0ms), QueueClosed);
    CHECK_THROWS_AS(queue.try_peek(), QueueClosed);
}

TEST_CASE("close wakes all who wait", "[queue][close]") {
    everywhere([] {
        Queue<std::unique_ptr<int>> full{1};
        full.put(std::make_unique<int>(1));
        Queue<int> empty;
        std::atomic<int> closed{0};
        const auto count_closed = [&closed](auto&& wait) {
            return weft::spawn([&closed, wait] {
                try {
                    wait();
                } catch (const QueueClosed&) {
                    ++closed;
                }
            });
        };
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 2; ++i) {
            fibers.push_back(count_closed([&] { empty.get(); }));
            fibers.push_back(count_closed([&] { empty.get(1h); }));
            fibers.push_back(count_closed([&] { empty.peek(); }));
            fibers.push_back(count_closed([&] {
                auto item = std::make_unique<int>(2);
                try {
                    full.put(std::move(item));
                } catch (const QueueClosed&) {
                    if (*item == 2) throw;
                }
            }));
        }
        for (const auto& fiber : fibers) until_waiting(fiber);
        full.close();
        empty.close();
        weft::join_all(fibers);
        CHECK(closed == 8);
        CHECK(*full.get() == 1);
    });
}

TEST_CASE("close leaves who joins waiting, for what is in the queue can be done still",
          "[queue][close][join]") {
    everywhere([] {
        Queue<int> queue;
        queue.put(1);
        auto joiner = weft::spawn([&] { return queue.join(); });
        until_waiting(joiner);
        queue.close();
        CHECK_FALSE(joiner.join(0ms));
        queue.get();
        queue.task_done();
        CHECK(joiner.get());
    });
}

TEMPLATE_LIST_TEST_CASE("close_now returns what is left, in order, and ends the join",
                        "[queue][close][join]", Kinds) {
    everywhere([] {
        TestType queue{7};
        for (const int i : {4, 2, 6, 1, 3, 5, 7}) queue.put(i);
        const int taken = queue.get();
        auto joiner = weft::spawn([&] { return queue.join(); });
        until_waiting(joiner);
        std::vector<int> expected;
        {
            TestType twin;
            for (const int i : {4, 2, 6, 1, 3, 5, 7}) twin.put(i);
            CHECK(twin.get() == taken);
            expected = drained(twin);
        }
        auto left = queue.close_now();
        CHECK(queue.empty());
        CHECK_THROWS_AS(queue.put(1), QueueClosed);
        CHECK_THROWS_AS(queue.get(), QueueClosed);
        CHECK(left.closed());
        CHECK(left.size() == 6);
        CHECK(left.unfinished() == 6);
        std::vector<int> items;
        for (const int item : left) items.push_back(item);
        CHECK(items == expected);
        CHECK_FALSE(joiner.join(0ms));
        queue.task_done();
        CHECK(joiner.get());
        CHECK(queue.close_now().empty());
    });
}

TEST_CASE("close_now returns all even if they cannot be compared", "[queue][close][throws]") {
    moves_left = 1'000'000'000;
    weft::PriorityQueue<Fickle> queue;
    for (int i = 9; i > 0; --i) queue.put(Fickle{i});
    moves_left = 6;
    auto left = queue.close_now();
    moves_left = 1'000'000'000;
    std::set<int> items;
    for (const Fickle& item : left) items.insert(item.value());
    CHECK(items.size() == 9);
}

TEST_CASE("who waits to put when it is closed at once has its item still", "[queue][close]") {
    everywhere([] {
        Queue<std::unique_ptr<int>> queue{1};
        queue.put(std::make_unique<int>(1));
        auto putter = weft::spawn([&] {
            auto item = std::make_unique<int>(2);
            CHECK_THROWS_AS(queue.put(std::move(item)), QueueClosed);
            return *item;
        });
        until_waiting(putter);
        auto left = queue.close_now();
        CHECK(putter.get() == 2);
        CHECK(*left.get() == 1);
        CHECK_THROWS_AS(left.get(), QueueClosed);
    });
}

// --- iteration ---

TEMPLATE_LIST_TEST_CASE("a loop over a queue ends when it is closed and empty", "[queue][iterate]",
                        Kinds) {
    everywhere([] {
        TestType queue{3};
        auto loop = weft::spawn([&] {
            std::vector<int> items;
            for (int& item : queue) items.push_back(item);
            return items;
        });
        for (int i = 0; i < 20; ++i) queue.put(i);
        queue.close();
        CHECK(sorted(loop.get()).size() == 20);
        for ([[maybe_unused]] const int item : queue) FAIL("it is closed and empty");
    });
}

static_assert(std::ranges::input_range<Queue<int>>);
static_assert(std::ranges::input_range<Queue<std::unique_ptr<int>>>);

TEST_CASE("several loops share the items, and each takes what it has left", "[queue][iterate]") {
    everywhere([] {
        Queue<std::unique_ptr<int>> queue;
        Journal<int> seen;
        std::vector<weft::Fiber<>> loops;
        for (int i = 0; i < 3; ++i) {
            loops.push_back(weft::spawn([&] {
                for (auto& item : queue) seen.add(*item);
            }));
        }
        std::vector<int> expected;
        for (int i = 0; i < 50; ++i) {
            expected.push_back(i);
            queue.put(std::make_unique<int>(i));
        }
        queue.close();
        weft::join_all(loops);
        CHECK(sorted(seen.entries()) == expected);
    });
}

// --- who calls, and what it costs ---

TEST_CASE("plain threads and fibers share a queue", "[queue][thread]") {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        Queue<int> queue{3};
        constexpr int each = 500;
        std::atomic<long> sum{0};
        const auto put = [&] {
            for (int i = 1; i <= each; ++i) queue.put(i);
        };
        const auto take = [&] {
            for (const int item : queue) {
                sum += item;
                queue.task_done();
            }
        };
        std::vector<weft::Fiber<>> fibers;
        std::vector<std::thread> threads;
        for (int i = 0; i < 2; ++i) {
            fibers.push_back(runtime.spawn(put));
            fibers.push_back(runtime.spawn(take));
            threads.emplace_back(put);
            threads.emplace_back(take);
        }
        fibers[0].join();
        fibers[2].join();
        threads[0].join();
        threads[2].join();
        CHECK(queue.join());
        queue.close();
        for (std::size_t i : {1u, 3u}) {
            fibers[i].join();
            threads[i].join();
        }
        CHECK(sum == 4L * each * (each + 1) / 2);
    }
}

TEST_CASE("what happened before a put is seen after the get of its item", "[queue]") {
    on_workers([] {
        Queue<int> queue{2};
        std::vector<int> written(200);
        auto reader = weft::spawn([&] {
            int sum = 0;
            for (int i = 0; i < 200; ++i) sum += written[static_cast<std::size_t>(queue.get())];
            return sum;
        });
        for (int i = 0; i < 200; ++i) {
            written[static_cast<std::size_t>(i)] = i;
            queue.put(i);
        }
        CHECK(reader.get() == 199 * 100);
    });
}

TEMPLATE_LIST_TEST_CASE("a queue allocates nothing once it was as long before", "[queue]", Kinds) {
    on_workers([] {
        TestType queue{50};
        weft::Semaphore go{0};
        const auto in_turn = [&] {
            for (int i = 0; i < 50; ++i) queue.put(i);
            for (int i = 0; i < 50; ++i) queue.get();
        };
        in_turn();
        auto other = weft::spawn([&] {
            for (int round = 0; round < 2; ++round) {
                go.acquire();
                for (int i = 0; i < 1000; ++i) queue.get();
            }
        });
        const auto through = [&] {
            go.release();
            for (int i = 0; i < 1000; ++i) queue.put(i);
        };
        through();
        until_waiting(other);
        CHECK(allocations_in([&] {
                  in_turn();
                  through();
                  until_waiting(other);
              }) == 0);
        other.join();
    });
}

TEST_CASE("a dump says what is waited for in a queue", "[queue][dump]") {
    on_workers([] {
        Queue<int> empty;
        Queue<int> full{1};
        full.put(1);
        auto getter = weft::spawn([&] { empty.get(); });
        auto peeker = weft::spawn([&] { empty.peek(); });
        auto putter = weft::spawn([&] { full.put(2); });
        auto joiner = weft::spawn([&] { full.join(); });
        const auto doing = [](const weft::Fiber<>& fiber) {
            until_waiting(fiber);
            return std::string{weft::FiberRef{fiber}.doing()};
        };
        CHECK(doing(getter) == "Queue::get");
        CHECK(doing(peeker) == "Queue::peek");
        CHECK(doing(putter) == "Queue::put");
        CHECK(doing(joiner) == "Queue::join");
        for (auto* fiber : {&getter, &peeker, &putter, &joiner}) {
            fiber->cancel();
            fiber->join();
        }
    });
}

TEMPLATE_TEST_CASE("who takes again and again leaves others their turn", "[queue][order]", int,
                   Fickle) {
    weft::run(
        [] {
            moves_left = 1'000'000'000;
            Queue<TestType> queue;
            for (int i = 0; i < 10'000; ++i) queue.put(TestType{i});
            auto other = weft::spawn([&] {
                for (int i = 0; i < 50; ++i) {
                    queue.try_get();
                    weft::this_fiber::yield();
                }
            });
            weft::Semaphore odd{10'000};  // so that it may be any step that yields
            while (!other.done() && odd.acquire() && queue.get(0ms)) {
            }
            CHECK(other.done());
            other.join();
        },
        {.workers = 1});
}
