// What testing.hpp promises: one seed, one run; and that it finds what it is for.
#include "support/catch.hpp"

#include <weft/cancelled.hpp>
#include <weft/deadlock.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/io/tcp.hpp>
#include <weft/lock.hpp>
#include <weft/semaphore.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>

#include <cstdint>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {

// Producers and consumers over a semaphore, with time-outs and cancellations.
struct Workload {
    int made = 0;
    int taken = 0;
    int gave_up = 0;

    void operator()() {
        weft::Semaphore units{0};
        std::vector<weft::Fiber<int>> takers;
        for (int i = 0; i < 8; ++i) {
            takers.push_back(weft::spawn([&, i] {
                int got = 0;
                for (int turn = 0; turn < 10; ++turn) got += units.acquire(1ms * (i + 1)) ? 1 : 0;
                return got;
            }));
        }
        auto maker = weft::spawn([&] {
            for (int turn = 0; turn < 60; ++turn) {
                units.release();
                ++made;
                if (turn % 7 == 0) weft::this_fiber::sleep_for(2ms);
            }
        });
        takers[3].cancel();
        maker.join();
        for (auto& taker : takers) {
            try {
                taken += taker.get();
            } catch (const weft::Cancelled&) {
                ++gave_up;
            }
        }
        while (units.try_acquire()) ++taken;
    }
};

// Loses a count when another fiber runs between the read and the write.
bool loses_an_update(std::uint64_t seed) {
    int counter = 0;
    weft::simulate(seed, [&] {
        auto careless = [&] {
            const int read = counter;
            if (read % 2 == 0) weft::this_fiber::yield();
            counter = read + 1;
        };
        auto a = weft::spawn(careless);
        auto b = weft::spawn(careless);
        a.join();
        b.join();
    });
    return counter != 2;
}

}  // namespace

TEST_CASE("equal seeds give equal runs, others differ", "[simulate]") {
    std::uint64_t different = 0;
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        const auto first = weft::simulate(seed, Workload{});
        const auto again = weft::simulate(seed, Workload{});
        CHECK(first.hash == again.hash);
        CHECK(first.steps == again.steps);
        different += weft::simulate(seed + 1000, Workload{}).hash != first.hash ? 1 : 0;
    }
    CHECK(different == 50);
}

TEST_CASE("units are conserved over a thousand simulated schedules", "[simulate][stress]") {
    for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
        INFO("seed " << seed);
        Workload load;
        weft::simulate(seed, [&] { load(); });
        // The cancelled taker may have taken some before: they are not reported.
        CHECK(load.taken <= load.made);
        CHECK(load.made == 60);
        CHECK(load.gave_up <= 1);
        if (load.gave_up == 0) CHECK(load.taken == load.made);
    }
}

TEST_CASE("time jumps to the next deadline", "[simulate]") {
    weft::simulate(7, [] {
        const auto before = weft::detail::now();
        weft::this_fiber::sleep_for(24h);
        CHECK(weft::detail::now() - before >= 24h);
        weft::Event never;
        CHECK_FALSE(never.wait(1h));
    });
}

TEST_CASE("a race in the program is found, and its seed finds it again", "[simulate]") {
    std::uint64_t found = 0;
    for (std::uint64_t seed = 1; seed <= 100 && found == 0; ++seed) {
        if (loses_an_update(seed)) found = seed;
    }
    REQUIRE(found != 0);
    for (int again = 0; again < 3; ++again) CHECK(loses_an_update(found));
}

TEST_CASE("fibers that all wait are a deadlock that names them", "[simulate]") {
    weft::Event never;
    try {
        weft::simulate(3, [&] {
            auto fiber =
                weft::spawn(weft::SpawnOptions{.name = "forgotten"}, [&] { never.wait(); });
            fiber.join();
        });
        FAIL("saw no deadlock");
    } catch (const weft::Deadlock& deadlock) {
        CHECK_THAT(deadlock.what(), Catch::Contains("forgotten") && Catch::Contains("Event::wait"));
    }
}

TEST_CASE("an exception of main comes out of simulate", "[simulate]") {
    CHECK_THROWS_WITH(weft::simulate(1, [] { throw std::runtime_error{"out"}; }), "out");
    CHECK_THROWS_AS(weft::simulate(1, [] {}, {.workers = 0}), std::invalid_argument);
}

TEST_CASE("short and late I/O loses no byte", "[simulate][io]") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        INFO("seed " << seed);
        std::size_t received = 0;
        std::uint64_t sum_sent = 0;
        std::uint64_t sum_received = 0;
        weft::simulate(seed,
                       [&] {
                           weft::io::TcpListener listener{weft::io::Address::loopback_v4(0)};
                           auto server = weft::spawn([&] {
                               auto stream = listener.accept();
                               std::byte buffer[300];
                               while (const std::size_t n = stream.read(buffer)) {
                                   received += n;
                                   for (std::size_t i = 0; i < n; ++i) {
                                       sum_received += static_cast<std::uint64_t>(buffer[i]);
                                   }
                               }
                           });
                           auto client = weft::io::TcpStream::connect(listener.local_address());
                           std::vector<std::byte> data(5000);
                           for (std::size_t i = 0; i < data.size(); ++i) {
                               data[i] = static_cast<std::byte>(i * seed);
                               sum_sent += static_cast<std::uint64_t>(data[i]);
                           }
                           client.write_all(data);
                           client.close();
                           server.join();
                       },
                       {.workers = 3, .short_percent = 60, .delay_percent = 30});
        CHECK(received == 5000);
        CHECK(sum_sent == sum_received);
    }
}
