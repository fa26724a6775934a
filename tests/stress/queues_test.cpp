// Items are conserved, whatever closing, deadlines, cancellations and threads do at once.
//
// Every item is a number of its own. What was put is, in number and sum, what was got and
// what close_now() returned; per putter a Queue keeps the order; who waits is served.
#include "base/random.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/seed.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/queue.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::QueueClosed;
using weft::detail::Random;
using weft::test::Environment;
using weft::test::operations;
using weft::test::seed;

namespace {

constexpr std::uint64_t number_bits = 32;
constexpr std::size_t most_putters = 16;
// Stands for many, each of one item.
constexpr std::size_t loose_putter = most_putters - 1;

/// A number and its double, so that a torn item is seen; on the heap, so that a lost one is.
struct Item {
    explicit Item(std::uint64_t n) : number{n}, twice{std::make_unique<std::uint64_t>(2 * n)} {}
    bool operator<(const Item& other) const noexcept { return number < other.number; }
    std::uint64_t number;
    std::unique_ptr<std::uint64_t> twice;
};

/// How many items, and the sum of a mix of their numbers.
class Checksum {
public:
    void add(std::uint64_t number) noexcept {
        ++count_;
        sum_ += Random{number}.next();
    }
    bool operator==(const Checksum& other) const noexcept {
        return count_ == other.count_ && sum_ == other.sum_;
    }
    std::uint64_t count() const noexcept { return count_; }

private:
    std::atomic<std::uint64_t> count_{0};
    std::atomic<std::uint64_t> sum_{0};
};

enum class Order { kept, free };

template <class Kind, Order order>
class Storm {
public:
    Storm(std::size_t maxsize, long calls) : queue_{maxsize}, calls_{calls} {}

    void run(Random random, int fibers, int threads) {
        std::vector<weft::Fiber<>> all;
        std::vector<std::thread> plain;
        const auto start = [&](auto work) {
            for (int i = 0; i < fibers; ++i)
                all.push_back(weft::spawn(work, Random{random.next()}));
            for (int i = 0; i < threads; ++i) plain.emplace_back(work, Random{random.next()});
        };
        start([this](Random r) { put_in_all_ways(r, next_putter_++); });
        start([this](Random r) { get_in_all_ways(r); });
        for (int i = 0; i < fibers; ++i) {
            all.push_back(weft::spawn([this, r = Random{random.next()}]() mutable { cancel(r); }));
        }
        auto joiner = weft::spawn([this] { queue_.join(); });
        auto closer = weft::spawn([this] { close_when_all_is_put(); });
        closer.join();
        weft::join_all(all);
        for (auto& thread : plain) thread.join();
        joiner.join();
        CHECK(put_ == got_);
        CHECK(put_.count() > 0);
        CHECK(queue_.unfinished() == 0);
        CHECK_FALSE(wrong_);
    }

private:
    bool over() noexcept { return calls_.fetch_sub(1, std::memory_order_relaxed) <= 0; }

    weft::Deadline some_deadline(Random& random) {
        switch (random.below(4)) {
            case 0: return weft::Deadline::never();
            case 1: return 0ms;
            default: return std::chrono::microseconds{random.below(200)};
        }
    }

    void note(Item&& item, std::vector<std::uint64_t>& last) {
        if (*item.twice != 2 * item.number) wrong_ = true;
        const auto putter = static_cast<std::size_t>(item.number >> number_bits);
        const bool in_order = order == Order::kept && putter != loose_putter;
        if (in_order && item.number <= last[putter]) wrong_ = true;
        last[putter] = item.number;
        got_.add(item.number);
        queue_.task_done();
    }

    bool put_one(std::uint64_t number, Random& random) {
        Item item{number};
        const bool done = random.below(4) == 0 ? queue_.try_put(std::move(item))
                                               : queue_.put(std::move(item), some_deadline(random));
        if (done) put_.add(number);
        if (!done && (item.number != number || *item.twice != 2 * number)) wrong_ = true;
        return done;
    }

    void put_in_all_ways(Random random, std::uint64_t putter) {
        try {
            for (std::uint64_t i = 1; !over(); ++i) {
                put_one(putter << number_bits | i, random);
                if (random.below(20) == 0) weft::this_fiber::yield();
            }
        } catch (const QueueClosed&) {
        }
    }

    void get_in_all_ways(Random random) {
        std::vector<std::uint64_t> last(most_putters);
        try {
            for (;;) {
                auto item =
                    random.below(4) == 0 ? queue_.try_get() : queue_.get(some_deadline(random));
                if (item) note(std::move(*item), last);
                if (!item || random.below(20) == 0) weft::this_fiber::yield();
            }
        } catch (const QueueClosed&) {
        }
    }

    // Getters and putters that are cancelled at any moment of their short lives.
    void cancel(Random random) {
        while (!over()) {
            auto fiber = weft::spawn([this, own = Random{random.next()}]() mutable {
                try {
                    std::vector<std::uint64_t> last(most_putters);
                    if (own.below(2) == 0) {
                        put_one(loose_putter << number_bits | ++loose_, own);
                    } else if (auto item = queue_.get(1ms)) {
                        note(std::move(*item), last);
                    }
                } catch (const QueueClosed&) {
                }
            });
            for (auto turns = random.below(4); turns > 0; --turns) weft::this_fiber::yield();
            fiber.cancel();
            fiber.join();
        }
    }

    void close_when_all_is_put() {
        while (calls_.load(std::memory_order_relaxed) > 0) weft::this_fiber::sleep_for(100us);
        std::vector<std::uint64_t> last(most_putters);
        if (next_putter_ % 2 == 0) return queue_.close();
        auto left = queue_.close_now();
        // Not task_done(): close_now() has seen to that.
        for (const Item& item : left) got_.add(item.number);
    }

    Kind queue_;
    std::atomic<long> calls_;
    std::atomic<std::uint64_t> next_putter_{0};
    std::atomic<std::uint64_t> loose_{0};
    Checksum put_;
    Checksum got_;
    std::atomic<bool> wrong_{false};
};

template <class Kind, Order order>
void storm(unsigned workers, std::uint64_t seed, long calls) {
    Random random{seed};
    const auto maxsize = static_cast<std::size_t>(random.below(4) * random.below(4));
    const int fibers = 3 + static_cast<int>(random.below(2));
    INFO("WEFT_SEED=" << seed << ", workers: " << workers << ", maxsize: " << maxsize);
    weft::run(
        [&] {
            Storm<Kind, order>{maxsize, calls}.run(Random{seed}, fibers, 2);
        },
        {.workers = workers});
}

template <class Kind, Order order>
void storms() {
    const long calls = operations(1'000'000) / 200;
    for (const unsigned workers : {1u, 2u, 3u, 4u, 8u}) {
        for (std::uint64_t i = 0; i < 5; ++i) storm<Kind, order>(workers, seed() + i, calls);
    }
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    for (const unsigned workers : {2u, 8u}) storm<Kind, order>(workers, seed(), calls);
}

}  // namespace

TEST_CASE("no item is lost, made or overtaken in a storm on a Queue", "[stress][queue]") {
    storms<weft::Queue<Item>, Order::kept>();
}

TEST_CASE("no item is lost or made in a storm on a LifoQueue", "[stress][queue]") {
    storms<weft::LifoQueue<Item>, Order::free>();
}

TEST_CASE("no item is lost or made in a storm on a PriorityQueue", "[stress][queue]") {
    storms<weft::PriorityQueue<Item>, Order::free>();
}

TEST_CASE("no item is lost or made in a simulated storm", "[stress][queue]") {
    for (std::uint64_t i = 0; i < 200; ++i) {
        const std::uint64_t s = seed() + i;
        INFO("WEFT_SEED=" << s);
        weft::simulate(s, [&] {
            Random random{s};
            Storm<weft::Queue<Item>, Order::kept>{static_cast<std::size_t>(random.below(4)), 200}
                .run(random, 2, 0);
        });
    }
}
