// How waits on TCP end: by deadlines and by cancellation, without losing a byte.
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>

#include <array>
#include <functional>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::io::Address;
using weft::io::MutableBuffer;
using weft::io::TcpListener;
using weft::io::TcpStream;

namespace {

/// Every blocking call there is, on streams on which it waits.
struct Waits {
    Connection idle = connection();
    Connection full = socket_pair();
    TcpListener listener{Address::loopback_v4(0)};
    FullListener full_listener;
    std::array<std::byte, 16> buffer{};
    std::vector<std::byte> data = pattern(100'000);

    Waits() { fill(full.client); }

    std::vector<std::function<void(Deadline)>> all() {
        return {
            [this](Deadline d) { idle.client.read(buffer, d); },
            [this](Deadline d) {
                const MutableBuffer two[] = {{buffer.data(), 8}, {buffer.data() + 8, 8}};
                idle.client.read(two, d);
            },
            [this](Deadline d) { idle.client.read_exactly(buffer, d); },
            [this](Deadline d) { idle.client.receive(d); },
            [this](Deadline d) { full.client.write(data, d); },
            [this](Deadline d) {
                const weft::io::ConstBuffer two[] = {{data.data(), 8}, {data.data(), 8}};
                full.client.write(two, d);
            },
            [this](Deadline d) { full.client.write_all(std::span{data}, d); },
            [this](Deadline d) { listener.accept(d); },
            [this](Deadline d) { TcpStream::connect(full_listener.listener.local_address(), d); },
        };
    }
};

std::uint64_t sum_of(std::span<const std::byte> bytes) {
    std::uint64_t sum = 0;
    for (const std::byte byte : bytes) sum = sum * 31 + std::to_integer<std::uint64_t>(byte);
    return sum;
}

}  // namespace

TEST_CASE("every call gives up at its deadline", "[os][tcp][deadline]") {
    on_workers_and_io([] {
        Waits waits;
        int number = 0;
        for (const auto& call : waits.all()) {
            const auto begin = std::chrono::steady_clock::now();
            const std::error_code error = error_of([&] { call(begin + 10ms); });
            INFO("call " << number++ << ": " << error.message());
            REQUIRE(is(error, std::errc::timed_out));
            REQUIRE(std::chrono::steady_clock::now() >= begin + 10ms);
            REQUIRE(is(error_of([&] { call(begin); }), std::errc::timed_out));
        }
    });
}

TEST_CASE("every call ends when its fiber is cancelled", "[os][tcp][cancel]") {
    on_workers_and_io([] {
        Waits waits;
        for (const auto& call : waits.all()) {
            auto fiber = weft::spawn([&] { call(Deadline::never()); });
            until_in_flight(1);
            fiber.cancel();
            REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
        }
    });
}

TEST_CASE("a cancelled fiber does not begin a call, even one that would not wait",
          "[os][tcp][cancel]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.write_all("there");
        weft::Event cancelled;
        std::size_t written = 0;
        auto fiber = weft::spawn([&, &server = server] {
            {
                const weft::this_fiber::Shield shield;
                cancelled.wait();
            }
            try {
                read_text(server);
                written = 1;
            } catch (const weft::Cancelled&) {
                written += server.write(bytes_of("x"));
            }
        });
        fiber.cancel();
        cancelled.set();
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
        REQUIRE(written == 0);
        REQUIRE(read_text(server) == "there");
    });
}

TEST_CASE("a shielded call is not ended by a cancellation", "[os][tcp][cancel]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        auto fiber = weft::spawn([&server = server] {
            const weft::this_fiber::Shield shield;
            return read_text(server);
        });
        until_in_flight(1);
        fiber.cancel();
        client.write_all("late");
        REQUIRE(fiber.get() == "late");
    });
}

TEST_CASE("data that is there beats a deadline that has passed", "[os][tcp][deadline]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.write_all("there");
        std::array<std::byte, 5> buffer;
        REQUIRE(server.read_exactly(buffer, Deadline::Clock::now() - 1s) == 5);
        REQUIRE(is(
            error_of([&, &server = server] { server.read(buffer, Deadline::Clock::now() - 1s); }),
            std::errc::timed_out));
    });
}

// Goal: no byte is lost between a completion and a deadline that come at the
// same time. Method: a sender that never waits against a reader whose deadlines
// pass at random moments around the arrivals; all that was sent must be read.
TEST_CASE("deadlines lose no byte", "[os][tcp][deadline]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.no_delay(true);
        const auto sent = pattern(6000);
        auto writer = weft::spawn([&, &client = client] {
            std::uint32_t seed = 7;
            for (std::size_t at = 0; at < sent.size(); ++at) {
                client.write_all(std::span{sent}.subspan(at, 1));
                seed = seed * 1664525u + 1013904223u;
                if (seed >> 30 == 0)
                    weft::this_fiber::sleep_for(std::chrono::microseconds{seed >> 25});
            }
            client.close();
        });
        std::vector<std::byte> got;
        std::size_t timeouts = 0;
        for (std::uint32_t seed = 1;; seed = seed * 1664525u + 1013904223u) {
            std::array<std::byte, 7> buffer;
            try {
                const std::size_t some = server.read(buffer, std::chrono::microseconds{seed >> 26});
                if (some == 0) break;
                got.insert(got.end(), buffer.begin(), buffer.begin() + static_cast<long>(some));
            } catch (const std::system_error& error) {
                if (error.code() != std::errc::timed_out) throw;
                ++timeouts;
            }
        }
        writer.get();
        REQUIRE(timeouts > 0);
        REQUIRE(got.size() == sent.size());
        REQUIRE(sum_of(got) == sum_of(sent));
    });
}

// The same for cancellation: a fiber per read, cancelled at once or a little later.
TEST_CASE("cancellation loses no byte", "[os][tcp][cancel]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.no_delay(true);
        const auto sent = pattern(under_tsan ? 500 : 3000, 3);
        auto writer = weft::spawn([&, &client = client] {
            for (std::size_t at = 0; at < sent.size(); ++at) {
                client.write_all(std::span{sent}.subspan(at, 1));
                weft::this_fiber::yield();
            }
            client.close();
        });
        std::vector<std::byte> got;
        std::size_t cancelled = 0;
        bool ended = false;
        for (std::uint32_t seed = 1; !ended; seed = seed * 1664525u + 1013904223u) {
            auto reader = weft::spawn([&, &server = server] {
                std::array<std::byte, 3> buffer;
                const std::size_t some = server.read(buffer);
                if (some == 0) ended = true;
                got.insert(got.end(), buffer.begin(), buffer.begin() + static_cast<long>(some));
            });
            for (std::uint32_t i = seed >> 29; i > 0; --i) weft::this_fiber::yield();
            reader.cancel();
            reader.join();
            try {
                reader.get();
            } catch (const weft::Cancelled&) {
                ++cancelled;
            }
        }
        writer.get();
        REQUIRE(cancelled > 0);
        REQUIRE(got.size() == sent.size());
        REQUIRE(sum_of(got) == sum_of(sent));
    });
}

// And for the other side: what write() says it wrote is what arrives.
TEST_CASE("an interrupted write() counts what it sent", "[os][tcp][deadline]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.send_buffer(4096);
        const auto data = pattern(60'000, 5);
        std::size_t written = 0;
        auto writer = weft::spawn([&, &client = client] {
            for (std::uint32_t seed = 1; written < 600'000; seed = seed * 1664525u + 1013904223u) {
                try {
                    const std::span rest = std::span{data}.subspan(written % data.size());
                    written += client.write(rest, std::chrono::microseconds{seed >> 25});
                } catch (const std::system_error& error) {
                    if (error.code() != std::errc::timed_out) throw;
                }
            }
            client.close();
        });
        std::size_t got = 0;
        bool right = true;
        std::vector<std::byte> buffer(10'000);
        while (const std::size_t some = server.read(buffer)) {
            for (std::size_t i = 0; i < some; ++i) {
                right = right && buffer[i] == data[(got + i) % data.size()];
            }
            got += some;
        }
        writer.get();
        REQUIRE(right);
        REQUIRE(got == written);
    });
}
