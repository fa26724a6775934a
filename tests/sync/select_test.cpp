// What select.hpp promises beyond what every wait does (waits_test.cpp).
#include <weft/select.hpp>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/everywhere.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/values.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/fiber.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using weft::after;
using weft::Channel;
using weft::ChannelClosed;
using weft::Deadline;
using weft::on_event;
using weft::on_join;
using weft::on_recv;
using weft::on_send;
using weft::otherwise;
using weft::RecvOnly;
using weft::select;
using weft::SendOnly;
using weft::test::everywhere;
using weft::test::Fragile;
using weft::test::on_seeds;
using weft::test::on_workers;
using weft::test::seeds;
using weft::test::waiting;

namespace {

constexpr auto ignore = [](auto&&...) {};

// Into a variable.
template <class T>
auto into(std::optional<T>& variable) {
    return [&variable](std::optional<T>&& value) { variable = std::move(value); };
}

}  // namespace

// --- one case at a time ---

TEST_CASE("a select receives what is there, or what comes", "[select]") {
    everywhere([] {
        Channel<int> channel{1};
        std::optional<int> got;
        channel.send(1);
        CHECK(select(on_recv(channel, into(got))) == 0);
        CHECK(got == 1);
        auto fiber = waiting([&] { return select(on_recv(channel, into(got))); });
        channel.send(2);
        CHECK(fiber.get() == 0);
        CHECK(got == 2);
        Channel<int> unbuffered;
        auto sender = waiting([&] { unbuffered.send(3); });
        select(on_recv(unbuffered, into(got)));
        CHECK(got == 3);
        sender.join();
    });
}

TEST_CASE("a select sends when there is room, or a receiver", "[select]") {
    everywhere([] {
        Channel<int> channel{1};
        bool sent = false;
        CHECK(select(on_send(channel, 1, [&] { sent = true; })) == 0);
        CHECK(sent);
        auto fiber = waiting([&] { return select(on_send(channel, 2)); });
        CHECK(channel.recv() == 1);
        CHECK(channel.recv() == 2);
        CHECK(fiber.get() == 0);
        Channel<int> unbuffered;
        auto receiver = waiting([&] { return unbuffered.recv(); });
        CHECK(select(on_send(unbuffered, 3)) == 0);
        CHECK(receiver.get() == 3);
    });
}

TEST_CASE("a select knows when an event is set", "[select]") {
    everywhere([] {
        weft::Event event;
        CHECK(select(on_event(event), otherwise()) == 1);
        auto fiber = waiting([&] { return select(after(1h), on_event(event)); });
        event.set();
        CHECK(fiber.get() == 1);
        CHECK(select(on_event(event), after(0ms)) == 0);
        CHECK(event.wait(0ms));
    });
}

TEST_CASE("a select knows when a fiber ends, and leaves its result alone", "[select]") {
    everywhere([] {
        weft::Event event;
        auto fiber = waiting([&] {
            event.wait();
            return 7;
        });
        CHECK(select(on_join(fiber), otherwise()) == 1);
        auto watcher = waiting([&] { return select(on_join(fiber), after(1h)); });
        event.set();
        CHECK(watcher.get() == 0);
        CHECK(select(on_join(fiber)) == 0);
        CHECK(fiber.get() == 7);
        auto thrower = weft::spawn([] { throw 5; });
        CHECK(select(on_join(thrower), after(1h)) == 0);
        CHECK_THROWS_AS(thrower.get(), int);
    });
}

TEST_CASE("a fiber cannot wait for its own end", "[select]") {
    weft::run([] {
        const auto code = weft::test::error_of([] { select(on_join(weft::current()), after(1h)); });
        CHECK(weft::test::is(code, std::errc::resource_deadlock_would_occur));
    });
}

TEST_CASE("a select gives up at the first of its deadlines", "[select][deadline]") {
    everywhere([] {
        Channel<int> channel;
        const Deadline deadline = 1ms;
        bool ran = false;
        CHECK(select(after(1h), on_recv(channel, ignore), after(deadline, [&] { ran = true; }),
                     after(Deadline::never())) == 2);
        CHECK(ran);
        CHECK(deadline.passed());
    });
}

// --- choosing ---

TEST_CASE("a deadline is not chosen while there is something else", "[select][deadline]") {
    everywhere([] {
        Channel<int> channel{100};
        for (int i = 0; i < 100; ++i) channel.send(i);
        for (int i = 0; i < 100; ++i) {
            CHECK(select(after(-1h), on_recv(channel, ignore), after(0ms)) == 1);
        }
        CHECK(select(after(-1ms), on_recv(channel, ignore), after(-1h)) == 2);
    });
}

TEST_CASE("otherwise() is chosen when nothing else can be, and then at once", "[select]") {
    everywhere([] {
        Channel<int> channel{1};
        Channel<int> full;
        bool ran = false;
        CHECK(select(otherwise([&] { ran = true; }), on_recv(channel, ignore), after(-1h),
                     on_send(full, 1)) == 0);
        CHECK(ran);
        channel.send(1);
        for (int i = 0; i < 20; ++i) {
            CHECK(select(otherwise(), on_recv(channel, ignore), on_send(full, 1)) == 1);
            channel.send(1);
        }
    });
}

TEST_CASE("each case that is ready is chosen with the same probability", "[select][fair]") {
    // With `share` expected of each, chance strays by 5 standard deviations once in a million.
    const auto is_fair = [](const std::vector<int>& chosen, int share) {
        const double most = 5 * std::sqrt(share);
        return std::all_of(chosen.begin(), chosen.end(),
                           [&](int times) { return times == 0 || std::abs(times - share) < most; });
    };
    on_seeds(5, [&](std::uint64_t) {
        constexpr int share = 1000;
        std::deque<Channel<int>> channels;
        for (int i = 0; i < 8; ++i) channels.emplace_back(1u);
        const auto choose_among = [&](std::initializer_list<std::size_t> ready) {
            std::vector<int> chosen(8, 0);
            for (const std::size_t i : ready) channels[i].try_send(1);
            for (std::size_t round = 0; round < share * ready.size(); ++round) {
                const std::size_t index =
                    select(on_recv(channels[0], ignore), on_recv(channels[1], ignore),
                           on_recv(channels[2], ignore), on_recv(channels[3], ignore),
                           on_recv(channels[4], ignore), on_recv(channels[5], ignore),
                           on_recv(channels[6], ignore), on_recv(channels[7], ignore));
                ++chosen[index];
                channels[index].send(1);
            }
            for (const std::size_t i : ready) channels[i].recv();
            return chosen;
        };
        CHECK(is_fair(choose_among({0, 1, 2, 3, 4, 5, 6, 7}), share));
        CHECK(is_fair(choose_among({3, 4}), share));
        CHECK(is_fair(choose_among({0, 6, 7}), share));
        CHECK(choose_among({5})[5] == share);
    });
}

TEST_CASE("a simulation chooses again what it chose", "[select][fair]") {
    const auto chosen_by = [](std::uint64_t seed) {
        std::string chosen;
        weft::simulate(seed, [&] {
            Channel<int> channel{1};
            channel.send(1);
            for (int i = 0; i < 30; ++i) {
                chosen +=
                    select(on_recv(channel, ignore), on_recv(channel, ignore)) == 0 ? 'a' : 'b';
                channel.send(1);
            }
        });
        return chosen;
    };
    CHECK(chosen_by(1) == chosen_by(1));
    CHECK(chosen_by(1) != chosen_by(2));
}

TEST_CASE("only the case that is chosen takes or gives a value", "[select]") {
    everywhere([] {
        Channel<std::unique_ptr<int>> in{1};
        Channel<std::unique_ptr<int>> out{1};
        Channel<std::unique_ptr<int>> full;
        auto value = std::make_unique<int>(1);
        in.send(std::make_unique<int>(2));
        std::optional<std::unique_ptr<int>> got;
        const std::size_t index = select(on_recv(in, into(got)), on_send(out, std::move(value)),
                                         on_send(full, std::move(value)));
        CHECK(index != 2);
        CHECK((index == 0) == got.has_value());
        CHECK((index == 0) == (value != nullptr));
        CHECK((index == 0) == (in.size() == 0));
        CHECK((index == 1) == (out.size() == 1));
        CHECK(select(on_send(full, std::make_unique<int>(3)), after(1ms)) == 1);
    });
}

TEST_CASE("a case keeps a copy of an lvalue, and of what converts", "[select]") {
    Channel<std::string> channel{3};
    std::string text = "kept";
    auto send = on_send(channel, text);
    text = "changed";
    select(send);
    select(on_send(channel, text));
    select(on_send(channel, "converted"));
    CHECK(channel.recv() == "kept");
    CHECK(channel.recv() == "changed");
    CHECK(channel.recv() == "converted");
    CHECK(text == "changed");
}

// --- closed and nil ---

TEST_CASE("at a closed channel a case to receive is ready, and one to send throws", "[select]") {
    everywhere([] {
        Channel<int> channel{1};
        channel.send(1);
        channel.close();
        std::optional<int> got;
        CHECK(select(on_recv(channel, into(got)), after(1h)) == 0);
        CHECK(got == 1);
        CHECK(select(on_recv(channel, into(got)), after(1h)) == 0);
        CHECK_FALSE(got);
        CHECK_THROWS_AS(select(on_send(channel, 2), after(1h)), ChannelClosed);
        CHECK_THROWS_AS(select(on_send(channel, 2), otherwise()), ChannelClosed);
    });
}

TEST_CASE("a close ends the selects that wait at the channel", "[select]") {
    everywhere([] {
        Channel<int> channel;
        Channel<int> other;
        std::optional<int> got = 1;
        auto receiver =
            waiting([&] { return select(on_recv(other, ignore), on_recv(channel, into(got))); });
        channel.close();
        CHECK(receiver.get() == 1);
        CHECK_FALSE(got);
        Channel<int> full;
        auto sender = waiting([&] { select(on_send(full, 1), on_recv(other, ignore)); });
        full.close();
        CHECK_THROWS_AS(sender.get(), ChannelClosed);
    });
}

TEST_CASE("a case at a nil channel is never ready", "[select]") {
    everywhere([] {
        const SendOnly<int> to;
        const RecvOnly<int> from;
        Channel<int> channel{1};
        CHECK(select(on_send(to, 1), on_recv(from, ignore), after(1ms)) == 2);
        CHECK(select(on_send(to, 1), on_recv(from, ignore), otherwise()) == 2);
        auto fiber = waiting([&] {
            return select(on_send(to, 1), on_recv(from, ignore), on_recv(channel, ignore));
        });
        channel.send(1);
        CHECK(fiber.get() == 2);
        auto nowhere = waiting([&] { select(on_send(to, 1), on_recv(from, ignore)); });
        nowhere.cancel();
        CHECK_THROWS_AS(nowhere.get(), weft::Cancelled);
    });
}

TEST_CASE("two channels are read until both are drained, each nil from then on", "[select]") {
    everywhere([] {
        Channel<int> one;
        Channel<int> two{3};
        const auto sender_of = [](SendOnly<int> channel, int count) {
            return weft::spawn([channel, count] {
                for (int i = 0; i < count; ++i) channel.send(1);
                channel.close();
            });
        };
        auto first = sender_of(one, 30);
        auto second = sender_of(two, 20);
        RecvOnly<int> from_one = one;
        RecvOnly<int> from_two = two;
        int sum = 0;
        const auto count_or_leave = [&sum](RecvOnly<int>& from) {
            return [&](std::optional<int> value) { value ? sum += *value : (from = {}, 0); };
        };
        while (from_one || from_two) {
            select(on_recv(from_one, count_or_leave(from_one)),
                   on_recv(from_two, count_or_leave(from_two)));
        }
        CHECK(sum == 50);
    });
}

// --- the same channel more than once ---

TEST_CASE("a select does not meet itself", "[select]") {
    everywhere([] {
        Channel<int> channel;
        CHECK(select(on_send(channel, 1), on_recv(channel, ignore), after(1ms)) == 2);
        CHECK(select(on_recv(channel, ignore), on_send(channel, 1), otherwise()) == 2);
        CHECK_FALSE(channel.try_recv());
        CHECK_FALSE(channel.try_send(1));
    });
}

TEST_CASE("two that send and receive at one channel meet each other", "[select]") {
    const auto body = [](std::size_t capacity) {
        constexpr int rounds = 100;
        Channel<int> channel{capacity};
        std::atomic<bool> met_itself{false};
        std::array<std::atomic<int>, 2> sent{};
        std::array<std::atomic<int>, 2> received{};
        std::vector<weft::Fiber<>> fibers;
        for (int me : {0, 1}) {
            fibers.push_back(weft::spawn([&, me] {
                const auto self = static_cast<std::size_t>(me);
                const auto take = [&](std::optional<int> from) {
                    if (capacity == 0 && from == me) met_itself = true;
                    ++received[self];
                };
                for (int i = 0; i < rounds; ++i) {
                    if (i % 2 == 0) {
                        select(on_send(channel, me, [&] { ++sent[self]; }), on_recv(channel, take));
                    } else {
                        select(on_recv(channel, take), on_send(channel, me, [&] { ++sent[self]; }));
                    }
                }
            }));
        }
        // One may be left over when the other has done its rounds.
        const auto all_done = [&] { return fibers[0].done() && fibers[1].done(); };
        while (!all_done()) {
            if (!channel.try_recv() && (fibers[0].done() || fibers[1].done())) {
                channel.try_send(2);
            }
            weft::this_fiber::yield();
        }
        CHECK_FALSE(met_itself);
        CHECK(sent[0] + received[0] == rounds);
        CHECK(sent[1] + received[1] == rounds);
    };
    for (const std::size_t capacity : {0u, 10u}) everywhere([&] { body(capacity); });
}

TEST_CASE("a channel in several cases is served by one of them", "[select]") {
    everywhere([] {
        Channel<int> channel;
        Channel<int> other;
        auto fiber = waiting([&] {
            int got = 0;
            const auto count = [&](std::optional<int> value) { got += *value; };
            select(on_recv(channel, count), on_recv(other, count), on_recv(channel, count),
                   on_recv(channel, count));
            return got;
        });
        channel.send(1);
        CHECK(fiber.get() == 1);
        CHECK_FALSE(channel.try_send(2));
        CHECK_FALSE(other.try_send(2));
    });
}

// --- several selects ---

TEST_CASE("selects that face each other over the same channels meet", "[select]") {
    const auto body = [] {
        constexpr int rounds = 60;
        Channel<int> there;
        Channel<int> back;
        // One sends there and receives from back, the other the opposite.
        const auto play = [](SendOnly<int> to, RecvOnly<int> from) {
            int sent = 0;
            int received = 0;
            for (int i = 0; i < rounds; ++i) {
                select(on_send(to, 1, [&] { ++sent; }),
                       on_recv(from, [&](std::optional<int>) { ++received; }));
            }
            return std::pair{sent, received};
        };
        auto one = weft::spawn([&] { return play(there, back); });
        auto other = weft::spawn([&] { return play(back, there); });
        const auto [one_sent, one_received] = one.get();
        const auto [other_sent, other_received] = other.get();
        CHECK(one_sent == other_received);
        CHECK(one_received == other_sent);
        CHECK(one_sent + one_received == rounds);
    };
    everywhere(body);
}

TEST_CASE("a select that loses its place leaves the others at it theirs", "[select]") {
    everywhere([] {
        // The last in the queue of c1 leaves it by c2; the ones before it must still be found.
        Channel<int> c1;
        Channel<int> c2;
        auto first = waiting([&] { return *c1.recv(); });
        auto leaving = waiting([&] { select(on_recv(c1, ignore), on_recv(c2, ignore)); });
        c2.send(1);
        leaving.join();
        auto second = waiting([&] { return *c1.recv(); });
        c1.send(2);
        c1.send(3);
        CHECK(first.get() == 2);
        CHECK(second.get() == 3);
    });
}

TEST_CASE("all values of four channels arrive, from plain senders and selects, at both",
          "[select]") {
    const auto body = [](int rounds) {
        std::array<Channel<int>, 4> channels{Channel<int>{0}, Channel<int>{0}, Channel<int>{2},
                                             Channel<int>{3}};
        std::vector<weft::Fiber<>> fibers;
        std::array<std::atomic<int>, 4> received{};
        for (std::size_t i = 0; i < 4; ++i) {
            fibers.push_back(weft::spawn([&, i] {
                for (int k = 0; k < rounds; ++k) channels[i].send(0);
            }));
            fibers.push_back(weft::spawn([&, i] {
                for (int k = 0; k < rounds; ++k) {
                    channels[i].recv();
                    ++received[i];
                }
            }));
        }
        // Those that select, until each has had `rounds` of all.
        fibers.push_back(weft::spawn([&] {
            std::array<int, 4> left{rounds, rounds, rounds, rounds};
            std::array<SendOnly<int>, 4> to{channels[0], channels[1], channels[2], channels[3]};
            const auto sent = [&](std::size_t i) {
                return [&, i] {
                    if (--left[i] == 0) to[i] = {};
                };
            };
            for (int k = 0; k < 4 * rounds; ++k) {
                select(on_send(to[3], 0, sent(3)), on_send(to[2], 0, sent(2)),
                       on_send(to[0], 0, sent(0)), on_send(to[1], 0, sent(1)));
            }
        }));
        fibers.push_back(weft::spawn([&] {
            std::array<int, 4> left{rounds, rounds, rounds, rounds};
            std::array<RecvOnly<int>, 4> from{channels[0], channels[1], channels[2], channels[3]};
            const auto got = [&](std::size_t i) {
                return [&, i](std::optional<int>) {
                    ++received[i];
                    if (--left[i] == 0) from[i] = {};
                };
            };
            for (int k = 0; k < 4 * rounds; ++k) {
                select(on_recv(from[0], got(0)), on_recv(from[1], got(1)), on_recv(from[2], got(2)),
                       on_recv(from[3], got(3)));
            }
        }));
        weft::join_all(fibers);
        for (auto& count : received) CHECK(count == 2 * rounds);
    };
    on_workers([&] { body(weft::test::under_sanitizer ? 100 : 1000); });
    on_seeds(seeds, [&](std::uint64_t) { body(10); });
}

TEST_CASE("a value that is there before the close is not missed", "[select]") {
    // Of a channel that gets a value and is closed, and one that only gets it.
    on_workers([] {
        for (int round = 0; round < 300; ++round) {
            Channel<int> one{1};
            Channel<int> other{1};
            one.send(1);
            auto fiber = weft::spawn(
                [&] { return select(on_recv(one, ignore), on_recv(other, ignore), otherwise()); });
            other.send(1);
            select(on_recv(one, ignore), otherwise());
            other.close();
            CHECK(fiber.get() != 2);
        }
    });
}

// --- callbacks ---

TEST_CASE("a callback runs when nothing is locked or waited for any more", "[select]") {
    everywhere([] {
        Channel<int> channel{1};
        Channel<int> other;
        channel.send(1);
        select(on_recv(other, ignore), on_recv(channel, [&](std::optional<int>) {
                   CHECK(channel.try_send(2));
                   CHECK_FALSE(other.try_send(2));
                   CHECK(select(on_recv(channel, ignore)) == 0);
                   weft::this_fiber::yield();
               }));
        auto fiber = waiting([&] {
            select(on_recv(other, [&](std::optional<int>) { CHECK_FALSE(channel.recv(1ms)); }),
                   on_recv(channel, ignore));
        });
        other.send(1);
        fiber.join();
    });
}

TEST_CASE("what a callback throws comes out of the select", "[select][throw]") {
    weft::run([] {
        Channel<int> channel{2};
        channel.send(1);
        channel.send(2);
        auto take = on_recv(channel, [](std::optional<int> value) {
            if (value == 1) throw 7;
            CHECK(value == 2);
        });
        CHECK_THROWS_AS(select(take), int);
        CHECK(select(take) == 0);
        CHECK(channel.size() == 0);
    });
}

TEST_CASE("a case whose value does not move loses nothing", "[select][throw]") {
    everywhere([] {
        Channel<Fragile> channel;
        Channel<Fragile> other;
        int got = 0;
        const auto take = [&](std::optional<Fragile>&& value) { got = value->number(); };
        auto sender =
            waiting([&] { select(on_send(channel, Fragile{1}), on_recv(other, ignore)); });
        Fragile::stuck = 1;
        CHECK_THROWS_AS(select(on_recv(channel, take), after(1h)), Fragile::Broken);
        Fragile::stuck = Fragile::none;
        CHECK(select(on_recv(channel, take), after(1h)) == 0);
        CHECK(got == 1);
        sender.join();

        auto receiver = waiting([&] { select(on_recv(channel, take), on_recv(other, ignore)); });
        Fragile value{2};
        Fragile::stuck = 2;
        CHECK_THROWS_AS(select(on_send(channel, std::move(value))), Fragile::Broken);
        Fragile::stuck = Fragile::none;
        CHECK(value.number() == 2);
        select(on_send(channel, std::move(value)));
        receiver.join();
        CHECK(got == 2);
    });
    CHECK(Fragile::alive == 0);
}

// --- cases made at run time ---

TEST_CASE("cases are made at run time, and used again and again", "[select]") {
    everywhere([] {
        constexpr std::size_t count = 50;
        std::deque<Channel<int>> channels;
        std::vector<int> got(count, 0);
        std::vector<std::unique_ptr<weft::SelectCase>> made;
        std::vector<weft::SelectCase*> cases;
        for (std::size_t i = 0; i < count; ++i) {
            Channel<int>& channel = channels.emplace_back(i % 2);
            auto take = on_recv(channel, [&got, i](std::optional<int> value) { got[i] += *value; });
            made.push_back(std::make_unique<decltype(take)>(std::move(take)));
            cases.push_back(made.back().get());
        }
        std::reverse(cases.begin(), cases.end());
        auto fiber = weft::spawn([&] {
            for (std::size_t k = 0; k < 3 * count; ++k) {
                const std::size_t index = select(cases);
                CHECK(index < count);
            }
        });
        for (int k = 0; k < 3; ++k) {
            for (std::size_t i = 0; i < count; ++i) channels[i * 7 % count].send(1);
        }
        fiber.join();
        CHECK(got == std::vector<int>(count, 3));
    });
}

TEST_CASE("a select of no cases waits for nothing", "[select][cancel]") {
    everywhere([] {
        const std::vector<weft::SelectCase*> none;
        CHECK_FALSE(weft::with_timeout(1ms, [&] { select(none); }));
        auto fiber = waiting([&] { select(none); });
        fiber.cancel();
        CHECK_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}

// --- what else a wait promises ---

TEST_CASE("a standstill tells who waits in a select", "[select][deadlock]") {
    Channel<int> channel;
    std::string report;
    try {
        weft::simulate(1, [&] { select(on_recv(channel, ignore), on_send(channel, 1)); });
    } catch (const weft::Deadlock& deadlock) {
        report = deadlock.what();
    }
    CHECK(report.find("waits: select") != std::string::npos);
}

TEST_CASE("who selects again and again leaves room for others", "[select]") {
    weft::run(
        [] {
            Channel<int> channel;
            std::atomic<bool> ran{false};
            auto other = weft::spawn([&] { ran = true; });
            int turns = 0;
            for (; !ran; ++turns) select(on_recv(channel, ignore), otherwise());
            CHECK(turns < 1000);
        },
        {.workers = 1});
}

TEST_CASE("threads select among themselves and with fibers", "[select][thread]") {
    Channel<int> numbers;
    Channel<int> more{2};
    weft::Event stop;
    std::atomic<int> sum{0};
    const auto receive = [&] {
        for (bool stopped = false; !stopped;) {
            const auto add = [&](std::optional<int> value) { sum += *value; };
            select(on_recv(numbers, add), on_recv(more, add),
                   on_event(stop, [&] { stopped = true; }));
        }
    };
    const auto send = [&] {
        for (int i = 1; i <= 200; ++i) select(on_send(numbers, i), on_send(more, i));
    };
    weft::Runtime runtime{{.workers = 2}};
    std::thread receiving_thread{receive};
    auto receiving_fiber = runtime.spawn(receive);
    std::thread sending_thread{send};
    auto sending_fiber = runtime.spawn(send);
    sending_thread.join();
    sending_fiber.join();
    while (more.size() > 0) std::this_thread::yield();
    stop.set();
    receiving_thread.join();
    receiving_fiber.join();
    CHECK(sum == 2 * 20100);
}

TEST_CASE("a select asks for no memory", "[select][memory]") {
    if (weft::test::under_sanitizer) return;
    on_workers([] {
        Channel<int> there;
        Channel<int> back{1};
        Channel<int> never;
        weft::Event stop;
        auto echo = weft::spawn([&] {
            for (bool stopped = false; !stopped;) {
                select(on_recv(there, [&](std::optional<int> value) { back.send(*value); }),
                       on_recv(never, ignore), on_event(stop, [&] { stopped = true; }));
            }
        });
        long sum = 0;
        const auto exchange = [&](int times) {
            for (int i = 0; i < times; ++i) {
                select(on_send(there, i), on_recv(never, ignore), after(1h));
                select(on_recv(never, ignore), after(1h), on_join(echo),
                       on_recv(back, [&](std::optional<int> value) { sum += *value; }));
            }
        };
        exchange(300);  // the queues of the runtime have grown as they will
        sum = 0;
        CHECK(weft::test::allocations_in([&] { exchange(2000); }) == 0);
        CHECK(sum == 1999000);
        stop.set();
        echo.join();
    });
}
