// What channel.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/channel.hpp>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/everywhere.hpp"
#include "support/journal.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/values.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/fiber.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <deque>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using weft::Channel;
using weft::ChannelClosed;
using weft::Deadline;
using weft::RecvOnly;
using weft::SendOnly;
using weft::test::Aligned;
using weft::test::Counted;
using weft::test::everywhere;
using weft::test::Fragile;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::seeds;
using weft::test::until_waiting;
using weft::test::waiting;

namespace {

template <class T>
std::vector<T> all_of(RecvOnly<T> channel) {
    std::vector<T> values;
    for (T& value : channel) values.push_back(std::move(value));
    return values;
}

std::vector<int> first_numbers(int count) {
    std::vector<int> numbers;
    for (int i = 0; i < count; ++i) numbers.push_back(i);
    return numbers;
}

}  // namespace

// --- values and their order ---

TEST_CASE("without a buffer a sender waits for a receiver, and a receiver for a sender",
          "[channel]") {
    everywhere([] {
        Channel<int> channel;
        auto sender = waiting([&] { channel.send(1); });
        CHECK_FALSE(sender.done());
        CHECK(channel.recv() == 1);
        sender.join();
        auto receiver = waiting([&] { return channel.recv(); });
        channel.send(2);
        CHECK(receiver.get() == 2);
        CHECK(channel.size() == 0);
        CHECK(channel.capacity() == 0);
    });
}

TEST_CASE("with a buffer a sender waits only while it is full", "[channel]") {
    everywhere([] {
        Channel<int> channel{3};
        for (int i = 0; i < 3; ++i) CHECK(channel.send(i));
        CHECK(channel.size() == 3);
        CHECK(channel.capacity() == 3);
        CHECK_FALSE(channel.send(3, 1ms));
        auto sender = waiting([&] { channel.send(4); });
        for (int i = 0; i < 3; ++i) CHECK(channel.recv() == i);
        CHECK(channel.recv() == 4);
        sender.join();
        CHECK_FALSE(channel.recv(1ms));
    });
}

TEST_CASE("values come out in the order they went in", "[channel][order]") {
    everywhere([] {
        for (const std::size_t capacity : {0u, 1u, 2u, 7u, 100u}) {
            Channel<int> channel{capacity};
            auto sender = weft::spawn([&] {
                for (int i = 0; i < 50; ++i) channel.send(i);
                channel.close();
            });
            CHECK(all_of<int>(channel) == first_numbers(50));
            sender.join();
        }
    });
}

TEST_CASE("senders who wait are served in order of arrival", "[channel][order]") {
    everywhere([] {
        for (const std::size_t capacity : {0u, 3u}) {
            Channel<int> channel{capacity};
            std::vector<weft::Fiber<>> senders;
            for (int i = 0; i < 20; ++i) {
                senders.push_back(weft::spawn([&, i] { channel.send(i); }));
                until_waiting(senders.back());
            }
            for (int i = 0; i < 20; ++i) CHECK(channel.recv() == i);
            weft::join_all(senders);
        }
    });
}

TEST_CASE("try_send and try_recv take what is there and never wait", "[channel]") {
    everywhere([] {
        Channel<int> meeting;
        CHECK_FALSE(meeting.try_send(1));
        CHECK_FALSE(meeting.try_recv());
        auto receiver = waiting([&] { return meeting.recv(); });
        CHECK(meeting.try_send(2));
        CHECK_FALSE(meeting.try_send(3));
        CHECK(receiver.get() == 2);
        auto sender = waiting([&] { meeting.send(4); });
        CHECK(meeting.try_recv() == 4);
        CHECK_FALSE(meeting.try_recv());
        sender.join();

        Channel<int> buffered{1};
        CHECK_FALSE(buffered.try_recv());
        CHECK(buffered.try_send(5));
        CHECK_FALSE(buffered.try_send(6));
        CHECK(buffered.try_recv() == 5);
        CHECK_FALSE(buffered.try_recv());
    });
}

TEST_CASE("a try_send meets whoever began to receive before it", "[channel]") {
    // The receiver's own deadline is long over when it runs.
    on_seeds(seeds, [](std::uint64_t) {
        Channel<int> channel;
        auto receiver = waiting([&] { return channel.recv(1h); });
        REQUIRE(channel.try_send(7));
        weft::this_fiber::sleep_for(2h);
        CHECK(receiver.get() == 7);
    });
}

// --- closing ---

TEST_CASE("what is in the buffer can be received after the close, and then nothing", "[channel]") {
    everywhere([] {
        Channel<int> channel{5};
        for (int i = 0; i < 3; ++i) channel.send(i);
        CHECK_FALSE(channel.closed());
        channel.close();
        CHECK(channel.closed());
        CHECK_FALSE(channel.drained());
        CHECK_THROWS_AS(channel.send(3), ChannelClosed);
        CHECK_THROWS_AS(channel.try_send(3), ChannelClosed);
        CHECK_THROWS_AS(channel.send(3, -1h), ChannelClosed);
        CHECK(channel.recv() == 0);
        CHECK(channel.try_recv() == 1);
        CHECK(channel.recv(-1h) == 2);
        CHECK(channel.drained());
        for (int i = 0; i < 3; ++i) {
            CHECK_FALSE(channel.recv());
            CHECK_FALSE(channel.try_recv());
        }
    });
}

TEST_CASE("closing a channel twice throws and changes nothing", "[channel]") {
    Channel<int> channel{1};
    channel.send(1);
    channel.close();
    CHECK_THROWS_AS(channel.close(), ChannelClosed);
    CHECK_THROWS_WITH(channel.close(), "weft: the channel is closed");
    CHECK(channel.recv() == 1);
}

TEST_CASE("a close wakes all who receive, with nothing", "[channel]") {
    everywhere([] {
        for (const std::size_t capacity : {0u, 2u}) {
            Channel<int> channel{capacity};
            std::vector<weft::Fiber<bool>> receivers;
            for (int i = 0; i < 10; ++i) {
                receivers.push_back(weft::spawn([&] { return channel.recv().has_value(); }));
                until_waiting(receivers.back());
            }
            channel.close();
            for (auto& receiver : receivers) CHECK_FALSE(receiver.get());
        }
    });
}

TEST_CASE("a close wakes all who send, with ChannelClosed and their value", "[channel]") {
    everywhere([] {
        for (const std::size_t capacity : {0u, 2u}) {
            Channel<std::unique_ptr<int>> channel{capacity};
            while (channel.try_send(nullptr)) continue;
            std::vector<weft::Fiber<bool>> senders;
            for (int i = 0; i < 10; ++i) {
                senders.push_back(weft::spawn([&] {
                    auto value = std::make_unique<int>(1);
                    CHECK_THROWS_AS(channel.send(std::move(value)), ChannelClosed);
                    return value != nullptr;
                }));
                until_waiting(senders.back());
            }
            channel.close();
            for (auto& sender : senders) CHECK(sender.get());
            CHECK(all_of<std::unique_ptr<int>>(channel).size() == capacity);
        }
    });
}

TEST_CASE("drained() tells a deadline from the end", "[channel][deadline]") {
    everywhere([] {
        Channel<int> channel{2};
        CHECK_FALSE(channel.recv(1ms));
        CHECK_FALSE(channel.drained());
        channel.send(1);
        channel.close();  // in time for closed(), too late for the recv() above
        CHECK_FALSE(channel.drained());
        CHECK(channel.recv(1ms) == 1);
        CHECK_FALSE(channel.recv(1ms));
        CHECK(channel.drained());
    });
}

// --- nil ---

TEST_CASE("a nil channel is never ready, and cannot be closed", "[channel]") {
    everywhere([] {
        const SendOnly<int> to;
        const RecvOnly<int> from;
        CHECK_FALSE(to);
        CHECK_FALSE(from);
        CHECK_FALSE(to.try_send(1));
        CHECK_FALSE(from.try_recv());
        CHECK_FALSE(to.send(1, 1ms));
        CHECK_FALSE(from.recv(1ms));
        CHECK_FALSE(from.recv(-1h));
        CHECK_FALSE(to.closed());
        CHECK_FALSE(from.drained());
        CHECK(to.size() + to.capacity() + from.size() + from.capacity() == 0);
        CHECK_THROWS_AS(to.close(), std::logic_error);
        auto receiver = waiting([&] { from.recv(); });
        auto sender = waiting([&] { to.send(1); });
        receiver.cancel();
        sender.cancel();
        CHECK_THROWS_AS(receiver.get(), weft::Cancelled);
        CHECK_THROWS_AS(sender.get(), weft::Cancelled);
    });
}

// --- sides ---

namespace {

template <class C>
concept Sends = requires(C channel) {
    channel.send(1);
    channel.try_send(1);
    channel.close();
};
template <class C>
concept Receives = requires(C channel) {
    channel.recv();
    channel.try_recv();
    channel.begin();
};

static_assert(Sends<Channel<int>&> && Receives<Channel<int>&>);
static_assert(Sends<SendOnly<int>> && !Receives<SendOnly<int>>);
static_assert(!Sends<RecvOnly<int>> && Receives<RecvOnly<int>>);
static_assert(!std::is_copy_constructible_v<Channel<int>>);
static_assert(std::is_trivially_copyable_v<SendOnly<int>>);
static_assert(std::is_trivially_copyable_v<RecvOnly<int>>);
static_assert(std::is_convertible_v<Channel<int>&, SendOnly<int>>);
static_assert(std::is_convertible_v<Channel<int>&, RecvOnly<int>>);
static_assert(!std::is_convertible_v<RecvOnly<int>, SendOnly<int>>);
static_assert(!std::is_convertible_v<SendOnly<int>, RecvOnly<int>>);
static_assert(!std::is_convertible_v<SendOnly<int>, RecvOnly<long>>);
static_assert(std::input_iterator<RecvOnly<int>::Iterator>);
static_assert(std::sentinel_for<RecvOnly<int>::End, RecvOnly<int>::Iterator>);

}  // namespace

TEST_CASE("a side of a channel does what the channel does", "[channel]") {
    Channel<int> channel{2};
    Channel<int> other{2};
    const SendOnly<int> to = channel;
    const RecvOnly<int> from = channel;
    CHECK(to);
    CHECK(from);
    CHECK(to == SendOnly<int>{channel});
    CHECK_FALSE(from == RecvOnly<int>{other});
    CHECK(to.send(1));
    CHECK(to.try_send(2));
    CHECK(to.size() == 2);
    CHECK(from.capacity() == 2);
    CHECK(from.recv() == 1);
    CHECK(from.try_recv() == 2);
    to.close();
    CHECK(to.closed());
    CHECK(channel.closed());
    CHECK(from.drained());
}

TEST_CASE("a channel is sent over a channel", "[channel]") {
    everywhere([] {
        struct Request {
            int number;
            SendOnly<int> answer;
        };
        Channel<Request> requests;
        auto server = weft::spawn([&] {
            for (const Request& request : requests) request.answer.send(request.number * 2);
        });
        for (int i = 0; i < 20; ++i) {
            Channel<int> answer;
            requests.send({i, answer});
            CHECK(answer.recv() == i * 2);
        }
        requests.close();
        server.join();
    });
}

TEST_CASE("a range-for takes values until the channel is drained", "[channel]") {
    everywhere([] {
        Channel<std::unique_ptr<int>> channel{4};
        auto sender = weft::spawn([&] {
            for (int i = 0; i < 10; ++i) channel.send(std::make_unique<int>(i));
            channel.close();
        });
        int next = 0;
        for (auto& value : channel) {
            CHECK(*value == next++);
            if (next == 5) break;
        }
        std::vector<std::unique_ptr<int>> rest = all_of<std::unique_ptr<int>>(channel);
        CHECK(rest.size() == 5);
        CHECK(*rest[0] == 5);
        for ([[maybe_unused]] auto& none : channel) FAIL("of nothing");
    });
}

// --- kinds of values ---

TEST_CASE("what was not sent is not moved from", "[channel]") {
    everywhere([] {
        Channel<std::unique_ptr<int>> channel;
        auto value = std::make_unique<int>(1);
        CHECK_FALSE(channel.try_send(std::move(value)));
        CHECK_FALSE(channel.send(std::move(value), 1ms));
        CHECK_FALSE(channel.send(std::move(value), -1h));
        auto sender = waiting([&] { channel.send(std::move(value)); });
        sender.cancel();
        CHECK_THROWS_AS(sender.get(), weft::Cancelled);
        CHECK(value != nullptr);
        CHECK_FALSE(channel.try_recv());
    });
}

TEST_CASE("an lvalue is copied, an rvalue moved", "[channel]") {
    Channel<std::shared_ptr<int>> channel{3};
    auto value = std::make_shared<int>(1);
    channel.send(value);
    CHECK(channel.try_send(value));
    CHECK(value.use_count() == 3);
    channel.send(std::move(value));
    CHECK(value == nullptr);
    CHECK(channel.recv()->use_count() == 3);
}

TEST_CASE("what is left in a channel goes with it", "[channel]") {
    {
        Channel<Counted> channel{5};
        for (int round = 0; round < 7; ++round) {
            channel.send(Counted{round});
            if (round >= 4) CHECK(channel.recv()->number() == round - 4);
        }
        CHECK(Counted::alive == 4);
    }
    CHECK(Counted::alive == 0);
}

TEST_CASE("values of any alignment and of no size are kept in place", "[channel]") {
    everywhere([] {
        for (const std::size_t capacity : {0u, 3u}) {
            Channel<Aligned> channel{capacity};
            auto sender = weft::spawn([&] {
                for (int i = 0; i < 7; ++i) channel.send(Aligned{i});
                channel.close();
            });
            int next = 0;
            for (const Aligned& value : channel) {
                CHECK(value.is_in_place());
                CHECK(value.number == next++);
            }
            CHECK(next == 7);
        }
        struct Signal {};
        Channel<Signal> signals{2};
        signals.send({});
        CHECK(signals.try_send({}));
        CHECK_FALSE(signals.try_send({}));
        CHECK(signals.recv());
        CHECK(signals.size() == 1);
    });
}

TEST_CASE("a buffer for which there is no memory throws", "[channel]") {
    constexpr auto most = std::numeric_limits<std::size_t>::max();
    CHECK_THROWS_AS(Channel<int>{most}, std::bad_array_new_length);
    CHECK_THROWS_AS(Channel<char>{most}, std::bad_array_new_length);
}

// --- a move that throws ---

namespace {

// Of values with that number, for a while.
struct Stuck {
    explicit Stuck(int number) { Fragile::stuck = number; }
    Stuck(const Stuck&) = delete;
    Stuck& operator=(const Stuck&) = delete;
    ~Stuck() { Fragile::stuck = Fragile::none; }
};

}  // namespace

TEST_CASE("a sender whose value does not move keeps it, and the receiver waits on",
          "[channel][throw]") {
    everywhere([] {
        Channel<Fragile> channel;
        auto first = waiting([&] { return channel.recv()->number(); });
        auto second = waiting([&] { return channel.recv()->number(); });
        Fragile value{1};
        {
            const Stuck stuck{1};
            CHECK_THROWS_AS(channel.send(std::move(value)), Fragile::Broken);
        }
        CHECK(value.number() == 1);
        CHECK(channel.send(std::move(value)));
        CHECK(channel.send(Fragile{2}));
        CHECK(first.get() + second.get() == 3);
    });
    CHECK(Fragile::alive == 0);
}

TEST_CASE("who is sent back to wait comes before those who have waited less", "[channel][throw]") {
    weft::run(
        [] {
            Channel<Fragile> channel;
            auto first = waiting([&] { return channel.recv()->number(); });
            auto second = waiting([&] { return channel.recv()->number(); });
            {
                const Stuck stuck{1};
                CHECK_THROWS_AS(channel.send(Fragile{1}), Fragile::Broken);
            }
            weft::this_fiber::yield();
            channel.send(Fragile{2});
            channel.send(Fragile{3});
            CHECK(first.get() == 2);
            CHECK(second.get() == 3);
        },
        {.workers = 1});
}

TEST_CASE("a receiver to whom a value does not move leaves it to others", "[channel][throw]") {
    everywhere([] {
        Channel<Fragile> channel;
        auto sender = waiting([&] { channel.send(Fragile{1}); });
        {
            const Stuck stuck{1};
            CHECK_THROWS_AS(channel.recv(), Fragile::Broken);
        }
        CHECK(channel.recv()->number() == 1);
        sender.join();
    });
    CHECK(Fragile::alive == 0);
}

TEST_CASE("a buffer is as it was when a value does not move into it or out of it",
          "[channel][throw]") {
    Channel<Fragile> channel{2};
    channel.send(Fragile{1});
    Fragile value{2};
    {
        const Stuck stuck{2};
        CHECK_THROWS_AS(channel.send(std::move(value)), Fragile::Broken);
    }
    CHECK(value.number() == 2);
    CHECK(channel.size() == 1);
    CHECK(channel.send(std::move(value)));
    {
        const Stuck stuck{1};
        CHECK_THROWS_AS(channel.recv(), Fragile::Broken);
        CHECK_THROWS_AS(channel.try_recv(), Fragile::Broken);
    }
    CHECK(channel.size() == 2);
    CHECK(channel.recv()->number() == 1);
    CHECK(channel.recv()->number() == 2);
}

TEST_CASE("a sender that does not move up into the buffer gets the exception, the others move up",
          "[channel][throw]") {
    everywhere([] {
        Channel<Fragile> channel{1};
        channel.send(Fragile{0});
        auto broken = waiting([&] { channel.send(Fragile{1}); });
        auto next = waiting([&] { channel.send(Fragile{2}); });
        const Stuck stuck{1};
        CHECK(channel.recv()->number() == 0);
        next.join();
        CHECK(channel.recv()->number() == 2);
        CHECK_THROWS_AS(broken.get(), Fragile::Broken);
        CHECK_FALSE(channel.try_recv());
    });
    CHECK(Fragile::alive == 0);
}

// --- many ---

TEST_CASE("a sieve of channels finds the primes", "[channel]") {
    const auto primes = [](std::size_t count) {
        std::vector<int> found;
        std::deque<Channel<int>> stages(1);
        std::vector<weft::Fiber<>> fibers;
        fibers.push_back(weft::spawn([to = SendOnly<int>{stages.back()}] {
            for (int i = 2;; ++i) to.send(i);
        }));
        while (found.size() < count) {
            const RecvOnly<int> from = stages.back();
            const int prime = *from.recv();
            found.push_back(prime);
            fibers.push_back(weft::spawn([from, prime, to = SendOnly<int>{stages.emplace_back()}] {
                for (const int number : from) {
                    if (number % prime != 0) to.send(number);
                }
            }));
        }
        for (auto& fiber : fibers) fiber.cancel();
        for (auto& fiber : fibers) fiber.join();
        return found;
    };
    everywhere([&] { CHECK(primes(10) == std::vector{2, 3, 5, 7, 11, 13, 17, 19, 23, 29}); });
}

TEST_CASE("a value passes through a chain of thousands of fibers", "[channel]") {
    on_workers([] {
        constexpr int length = weft::test::under_sanitizer ? 300 : 10000;
        std::deque<Channel<int>> links(length + 1);
        std::vector<weft::Fiber<>> fibers;
        for (std::size_t i = 0; i < length; ++i) {
            fibers.push_back(weft::spawn([&links, i] { links[i + 1].send(*links[i].recv() + 1); }));
        }
        links.front().send(0);
        CHECK(links.back().recv() == length);
        weft::join_all(fibers);
    });
}

namespace {

// Everything that several send is received once, by several.
void many_to_many(std::size_t capacity, int senders, int receivers, int each) {
    Channel<int> channel{capacity};
    std::vector<weft::Fiber<>> sending;
    std::vector<weft::Fiber<std::vector<int>>> receiving;
    for (int i = 0; i < receivers; ++i) {
        receiving.push_back(weft::spawn([&] { return all_of<int>(channel); }));
    }
    for (int i = 0; i < senders; ++i) {
        sending.push_back(weft::spawn([&, i] {
            for (int k = 0; k < each; ++k) channel.send(i * each + k);
        }));
    }
    weft::join_all(sending);
    channel.close();
    std::vector<int> times(static_cast<std::size_t>(senders * each), 0);
    for (auto& receiver : receiving) {
        int last_of_first_sender = -1;
        for (const int value : receiver.get()) {
            ++times[static_cast<std::size_t>(value)];
            if (value >= each) continue;
            CHECK(value > last_of_first_sender);
            last_of_first_sender = value;
        }
    }
    CHECK(std::vector<int>(times.size(), 1) == times);
}

}  // namespace

TEST_CASE("of many senders and many receivers each value goes to one", "[channel]") {
    for (const std::size_t capacity : {0u, 1u, 10u, 200u}) {
        on_workers([&] {
            many_to_many(capacity, 4, 4, 500);
            many_to_many(capacity, 1, 8, 300);
            many_to_many(capacity, 8, 1, 300);
        });
        on_seeds(seeds, [&](std::uint64_t) { many_to_many(capacity, 3, 3, 20); });
    }
}

TEST_CASE("threads and fibers share a channel", "[channel][thread]") {
    for (const std::size_t capacity : {0u, 5u}) {
        Channel<int> channel{capacity};
        weft::Runtime runtime{{.workers = 2}};
        std::atomic<int> sum{0};
        std::atomic<int> left{4};
        const auto send = [&] {
            for (int i = 1; i <= 100; ++i) channel.send(i);
            if (--left == 0) channel.close();
        };
        const auto receive = [&] {
            for (const int value : channel) sum += value;
        };
        std::vector<std::thread> threads;
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < 2; ++i) {
            threads.emplace_back(send);
            threads.emplace_back(receive);
            fibers.push_back(runtime.spawn(send));
            fibers.push_back(runtime.spawn(receive));
        }
        for (auto& thread : threads) thread.join();
        for (auto& fiber : fibers) fiber.join();
        CHECK(sum == 4 * 5050);
    }
}

TEST_CASE("what happened before a send is seen after its recv, and the other way round",
          "[channel][thread]") {
    on_workers([] {
        Channel<int> channel;
        int written_by_sender = 0;
        int written_by_receiver = 0;
        auto receiver = weft::spawn([&] {
            for (int i = 0; i < 200; ++i) {
                written_by_receiver = i;
                CHECK(channel.recv() == i);
                CHECK(written_by_sender == i);
                channel.recv();
            }
        });
        for (int i = 0; i < 200; ++i) {
            written_by_sender = i;
            channel.send(i);
            CHECK(written_by_receiver == i);
            channel.send(-1);
        }
        receiver.join();
    });
}

// --- what else a wait promises ---

TEST_CASE("who never has to wait for its channel leaves room for others", "[channel]") {
    weft::run(
        [] {
            Channel<int> channel{1};
            std::atomic<bool> ran{false};
            auto other = weft::spawn([&] { ran = true; });
            int turns = 0;
            for (; !ran; ++turns) {
                channel.send(1);
                channel.recv();
            }
            CHECK(turns < 1000);
        },
        {.workers = 1});
}

TEST_CASE("a standstill tells who waits at which channel", "[channel][deadlock]") {
    Channel<int> channel;
    const auto told_of = [](auto&& body) -> std::string {
        try {
            weft::simulate(1, body);
        } catch (const weft::Deadlock& deadlock) {
            return deadlock.what();
        }
        return "";
    };
    CHECK(told_of([&] { channel.recv(); }).find("Channel::recv") != std::string::npos);
    CHECK(told_of([&] { channel.send(1); }).find("Channel::send") != std::string::npos);
    CHECK(told_of([&] { RecvOnly<int>{}.recv(); }).find("Channel::recv of a nil channel") !=
          std::string::npos);
    CHECK(told_of([&] {
              auto sender = weft::spawn([&] { channel.send(1); });
              channel.recv();
          }).empty());
}

TEST_CASE("sending and receiving asks for no memory", "[channel][memory]") {
    if (weft::test::under_sanitizer) return;
    on_workers([] {
        for (const std::size_t capacity : {0u, 4u}) {
            Channel<int> there{capacity};
            Channel<int> back{capacity};
            auto echo = weft::spawn([&] {
                for (const int value : there) back.send(value);
            });
            const auto exchange = [&](int times) {
                for (int i = 0; i < times; ++i) {
                    there.send(i, 1h);
                    CHECK_FALSE(back.recv(1h) != i);
                }
            };
            exchange(300);  // the queues of the runtime have grown as they will
            long sum = 0;
            CHECK(weft::test::allocations_in([&] {
                      for (int i = 0; i < 2000; ++i) {
                          there.send(i, 1h);
                          sum += *back.recv(1h);
                          sum += back.try_recv().value_or(0);
                      }
                  }) == 0);
            CHECK(sum == 1999000);
            there.close();
            echo.join();
        }
    });
}

namespace {

const weft::test::Child destroys_with_a_waiter{"destroy a channel someone waits at", [] {
                                                   weft::run([] {
                                                       auto* const channel = new Channel<int>;
                                                       auto fiber =
                                                           weft::spawn([&] { channel->recv(); });
                                                       until_waiting(fiber);
                                                       delete channel;
                                                   });
                                                   return 0;
                                               }};

}  // namespace

TEST_CASE("destroying a channel that someone waits at ends the process", "[channel]") {
    const auto outcome = destroys_with_a_waiter.run();
    INFO(outcome.describe());
    CHECK(outcome.killed_by(SIGABRT));
    CHECK(outcome.says("what somebody waits for is destroyed"));
}
