// Goal: whatever ends the waits at channels, each value that was sent is received
// once, and none that was not.
// Method: fibers and plain threads send, receive and select at a few channels in
// random order and direction, under random deadlines and Timeouts; nannies throw into
// them and cancel them; the channels are closed and drained, and new ones opened in
// their place. What went in and what came out is counted and added up beside them.
#include "base/random.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/seed.hpp"

#include <weft/cancelled.hpp>
#include <weft/channel.hpp>
#include <weft/fiber.hpp>
#include <weft/select.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using weft::after;
using weft::Deadline;
using weft::on_recv;
using weft::on_send;
using weft::otherwise;
using weft::RecvOnly;
using weft::SendOnly;
using weft::detail::Random;

namespace {

/// What nannies throw into their fibers.
struct Nudge {};

/// A number that cannot be copied, and knows whether it is whole.
class Ticket {
public:
    explicit Ticket(std::uint64_t number) noexcept : number_{number}, check_{~number} {}
    Ticket(Ticket&& other) noexcept
        : number_{std::exchange(other.number_, 0)}, check_{std::exchange(other.check_, 0)} {}
    Ticket& operator=(Ticket&&) = delete;

    std::uint64_t number() const noexcept { return number_; }
    bool is_whole() const noexcept { return check_ == ~number_; }

private:
    std::uint64_t number_;
    std::uint64_t check_;
};

using Tickets = weft::Channel<Ticket>;
using Shared = std::shared_ptr<Tickets>;

/// What went one way: how many, and which.
class Count {
public:
    void add(std::uint64_t number) noexcept {
        ++count_;
        sum_ += number;
        squares_ += number * number;
    }
    bool operator==(const Count& other) const noexcept {
        return count_ == other.count_ && sum_ == other.sum_ && squares_ == other.squares_;
    }
    long count() const noexcept { return static_cast<long>(count_.load()); }

private:
    std::atomic<std::uint64_t> count_{0};
    std::atomic<std::uint64_t> sum_{0};
    std::atomic<std::uint64_t> squares_{0};
};

Deadline some_deadline(Random& random) {
    const auto kind = random.below(8);
    if (kind == 0) return Deadline::never();
    if (kind == 1) return 0us;
    return std::chrono::microseconds{random.below(300)};
}

class Storm {
public:
    Storm(long operations, weft::Runtime* runtime) : left_{operations}, runtime_{runtime} {
        for (std::size_t i = 0; i < places; ++i) open(i);
    }

    void run(Random random) {
        std::vector<weft::Fiber<>> fibers;
        std::vector<std::thread> threads;
        const auto start = [&](auto routine, int count) {
            for (int i = 0; i < count; ++i) {
                fibers.push_back(weft::spawn(routine, this, Random{random.next()}));
            }
        };
        start(&Storm::visit_all, 10);
        start(&Storm::nurse_visitor, 3);
        auto replacer = weft::spawn(&Storm::replace_all, this, Random{random.next()});
        if (runtime_ != nullptr) {
            for (int i = 0; i < 2; ++i) {
                threads.emplace_back(&Storm::visit_all, this, Random{random.next()});
            }
        }
        replacer.join();  // nobody begins anything from here on
        for (std::size_t i = 0; i < places; ++i) close(i);
        weft::join_all(fibers);
        for (auto& thread : threads) thread.join();
        for (std::size_t i = 0; i < places; ++i) drain(*take(i));
    }

    void check() const {
        CHECK(spoilt_ == 0);
        CHECK(sent_ == received_);
        CHECK(sent_.count() > 0);
        CHECK(selected_ > 0);
    }

private:
    static constexpr std::size_t places = 5;
    static constexpr std::array<std::size_t, places> capacities{0, 0, 0, 1, 3};

    // --- the channels ---

    Shared take(std::size_t place) {
        const std::lock_guard hold{mutex_};
        return channels_[place];
    }
    Shared any(Random& random) { return take(random.below(places)); }

    void open(std::size_t place) {
        auto fresh = std::make_shared<Tickets>(capacities[place]);
        const std::lock_guard hold{mutex_};
        channels_[place] = std::move(fresh);
    }

    void close(std::size_t place) {
        try {
            take(place)->close();
        } catch (const weft::ChannelClosed&) {
        }
    }

    void drain(Tickets& channel) {
        while (auto ticket = channel.try_recv()) receive(std::move(ticket));
    }

    void replace_all(Random random) {
        while (left_ > 0) {
            weft::this_fiber::sleep_for(std::chrono::microseconds{random.below(2000)});
            const std::size_t place = random.below(places);
            const Shared old = take(place);
            open(place);
            old->close();
            drain(*old);
        }
    }

    // --- what is done with them ---

    Ticket next() { return Ticket{++issued_}; }

    void receive(std::optional<Ticket>&& ticket) {
        if (!ticket) return;
        if (!ticket->is_whole()) ++spoilt_;
        received_.add(ticket->number());
    }

    void send(Random& random) {
        const Shared channel = any(random);
        Ticket ticket = next();
        const std::uint64_t number = ticket.number();
        try {
            const bool tries = random.below(4) == 0;
            const bool sent = tries ? channel->try_send(std::move(ticket))
                                    : channel->send(std::move(ticket), some_deadline(random));
            if (sent) return sent_.add(number);
        } catch (...) {
            if (!ticket.is_whole()) ++spoilt_;
            throw;
        }
        if (!ticket.is_whole()) ++spoilt_;
    }

    void recv(Random& random) {
        const Shared channel = any(random);
        if (random.below(4) == 0) return receive(channel->try_recv());
        receive(channel->recv(some_deadline(random)));
    }

    /// Two ways in, two ways out; some of them nil, or the same.
    void select(Random& random) {
        const std::array<Shared, 4> channels{any(random), any(random), any(random), any(random)};
        const auto to = [&](std::size_t i) {
            return random.below(5) == 0 ? SendOnly<Ticket>{} : *channels[i];
        };
        const auto from = [&](std::size_t i) {
            return random.below(5) == 0 ? RecvOnly<Ticket>{} : *channels[i];
        };
        Ticket one = next();
        Ticket other = next();
        const auto sent = [&, a = one.number()] { sent_.add(a); };
        const auto other_sent = [&, a = other.number()] { sent_.add(a); };
        const auto take = [this](std::optional<Ticket>&& ticket) { receive(std::move(ticket)); };
        const auto limit = std::chrono::microseconds{random.below(300)};
        if (random.below(4) == 0) {
            weft::select(on_send(to(0), std::move(one), sent), on_recv(from(1), take),
                         on_recv(from(2), take), on_send(to(3), std::move(other), other_sent),
                         otherwise());
        } else {
            weft::select(on_recv(from(0), take), on_send(to(1), std::move(one), sent), after(limit),
                         on_send(to(2), std::move(other), other_sent), on_recv(from(3), take));
        }
        ++selected_;
    }

    /// Patient, so that it must be met or the channels closed.
    void select_for_ever(Random& random) {
        const Shared in = any(random);
        const Shared out = any(random);
        Ticket ticket = next();
        const auto sent = [&, a = ticket.number()] { sent_.add(a); };
        weft::select(
            on_recv(*in, [this](std::optional<Ticket>&& came) { receive(std::move(came)); }),
            on_send(*out, std::move(ticket), sent));
        ++selected_;
    }

    void visit(Random& random) {
        switch (random.below(8)) {
            case 0:
            case 1: return send(random);
            case 2:
            case 3: return recv(random);
            case 4: return select_for_ever(random);
            case 5: return weft::this_fiber::yield();
            default: return select(random);
        }
    }

    void visit_all(Random random) {
        while (left_-- > 0) {
            try {
                if (random.below(4) != 0) {
                    visit(random);
                    continue;
                }
                const weft::Timeout limit{std::chrono::microseconds{random.below(300)}};
                visit(random);
            } catch (const weft::ChannelClosed&) {
            } catch (const weft::TimedOut&) {
            } catch (const Nudge&) {
            }
        }
    }

    /// Visitors that are thrown into, and cancelled, in the middle of something.
    void nurse_visitor(Random random) {
        while (left_ > 0) {
            auto child = weft::spawn(&Storm::visit_all, this, Random{random.next()});
            for (auto nudges = random.below(6); nudges > 0; --nudges) {
                weft::this_fiber::sleep_for(std::chrono::microseconds{random.below(200)});
                child.throw_in(Nudge{});
            }
            child.cancel();
            try {
                child.get();
            } catch (const weft::Cancelled&) {
            } catch (const Nudge&) {
            }
        }
    }

    std::atomic<long> left_;
    weft::Runtime* const runtime_;
    std::mutex mutex_;
    std::array<Shared, places> channels_;  // guarded by mutex_
    std::atomic<std::uint64_t> issued_{0};
    Count sent_;
    Count received_;
    std::atomic<long> spoilt_{0};
    std::atomic<long> selected_{0};
};

constexpr long few = weft::test::under_sanitizer ? 20'000 : 300'000;

void storm(unsigned workers) {
    const std::uint64_t seed = weft::test::seed();
    INFO("WEFT_SEED=" << seed << ", workers: " << workers);
    // For one that hangs, too.
    std::fprintf(stderr, "WEFT_SEED=%llu, workers: %u\n", static_cast<unsigned long long>(seed),
                 workers);
    std::optional<Storm> storm;
    weft::run(
        [&] {
            storm.emplace(weft::test::operations(few) / 5, &weft::Runtime::current());
            storm->run(Random{seed});
        },
        {.workers = workers});
    storm->check();
}

}  // namespace

TEST_CASE("no value is lost or made in a storm of channels", "[stress][channel]") {
    for (const unsigned workers : {1u, 2u, 8u}) storm(workers);
    const weft::test::Environment force{"WEFT_FORCE_MIGRATE", "1"};
    for (const unsigned workers : {2u, 8u}) storm(workers);
}

TEST_CASE("no value is lost or made in a simulated storm of channels", "[channel]") {
    weft::test::on_seeds(weft::test::under_sanitizer ? 10 : 100, [](std::uint64_t seed) {
        Storm storm{1000, nullptr};
        storm.run(Random{seed});
        storm.check();
    });
}
