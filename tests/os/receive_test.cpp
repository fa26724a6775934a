// StreamSocket::receive(): bytes in memory that is lent.
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/unix.hpp>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <linux/net_tstamp.h>
#include <malloc.h>
#include <sys/socket.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::io::LentBytes;
using weft::io::Shutdown;

namespace {

std::string text_of(const LentBytes& received) { return std::string{received.text()}; }

std::string receive_to_end(weft::io::StreamSocket& stream) {
    std::string all;
    for (;;) {
        const LentBytes part = stream.receive();
        if (!part) return all;
        all += part.text();
    }
}

}  // namespace

TEST_CASE("receive brings what is there, and nothing at the end", "[os][receive]") {
    on_all_io([] {
        auto [client, server] = connection();
        client.write_all("hello");
        REQUIRE(text_of(server.receive()) == "hello");
        client.write_all("again");
        client.shutdown(Shutdown::write);
        REQUIRE(receive_to_end(server) == "again");
        REQUIRE_FALSE(server.receive());
    });
}

TEST_CASE("what receives bring is what was sent, in order, beside reads", "[os][receive]") {
    on_all_io([] {
        auto [client, server] = connection();
        const auto sent = pattern(300'000);
        auto writer = weft::spawn([&, &client = client] {
            client.write_all(std::span{sent});
            client.shutdown(Shutdown::write);
        });
        std::vector<std::byte> got;
        for (bool by_read = false;; by_read = !by_read) {
            std::byte own[1000];
            const LentBytes lent = by_read ? LentBytes{} : server.receive();
            const auto part = by_read ? std::span{own}.first(server.read(own)) : lent.bytes();
            if (part.empty()) break;
            got.insert(got.end(), part.begin(), part.end());
        }
        writer.get();
        REQUIRE(got == sent);
        REQUIRE_FALSE(server.receive());  // the end stays the end
    });
}

TEST_CASE("one receive brings at most 16 KiB, and leaves the rest", "[os][receive]") {
    on_workers_and_io([] {
        auto [client, server] = socket_pair();
        const auto sent = pattern(40'000);
        client.write_all(std::span{sent});
        client.shutdown(Shutdown::write);
        const LentBytes first = server.receive();
        REQUIRE(first.size() == 16'384);
        REQUIRE(std::equal(first.bytes().begin(), first.bytes().end(), sent.begin()));
        REQUIRE(receive_to_end(server).size() == sent.size() - first.size());
    });
}

TEST_CASE("what was received is its owner's, however many there are", "[os][receive]") {
    // More than any driver has ready at once, held all together.
    on_workers_and_io([] {
        constexpr std::size_t count = 1500;
        auto [client, server] = socket_pair();
        std::vector<LentBytes> held;
        for (std::size_t i = 0; i < count; ++i) {
            client.write_all("number " + std::to_string(i));
            held.push_back(server.receive());
            held.back().bytes()[0] = std::byte{'N'};
        }
        for (std::size_t i = 0; i < count; ++i) {
            REQUIRE(held[i].text() == "Number " + std::to_string(i));
        }
    });
}

TEST_CASE("more streams than there is memory in the ring are received from at once",
          "[os][receive]") {
    on_workers_and_io([] {
        constexpr std::size_t count = under_sanitizer ? 1200 : 2500;
        auto streams = std::vector<Connection>{};
        for (std::size_t i = 0; i < count; ++i) streams.push_back(socket_pair());
        std::vector<weft::Fiber<std::string>> readers;
        for (auto& each : streams) {
            readers.push_back(weft::spawn([&each] { return text_of(each.server.receive()); }));
        }
        until_in_flight(count);
        for (std::size_t i = 0; i < count; ++i) {
            streams[i].client.write_all(std::to_string(i));
        }
        for (std::size_t i = 0; i < count; ++i) {
            REQUIRE(readers[i].get() == std::to_string(i));
        }
    });
}

// Both of a pair may find the ring empty, and one of them then nothing to receive without it.
TEST_CASE("of two that receive from one stream one gets the byte, the other its deadline",
          "[os][receive][deadline]") {
    on_workers_and_io([] {
        constexpr std::size_t count = under_sanitizer ? 100 : 1500;
        auto streams = std::vector<Connection>{};
        for (std::size_t i = 0; i < count; ++i) streams.push_back(socket_pair());
        const Deadline deadline{300ms};
        std::vector<weft::Fiber<std::size_t>> readers;
        for (std::size_t i = 0; i < 2 * count; ++i) {
            readers.push_back(weft::spawn([&stream = streams[i / 2].server, deadline]() {
                std::size_t got = 0;
                const auto error = error_of([&] { got = stream.receive(deadline).size(); });
                return got + (is(error, std::errc::timed_out) ? 10 : 0);
            }));
        }
        for (auto& each : streams) each.client.write_all("x");
        std::size_t sum = 0;
        for (auto& each : readers) sum += each.get();
        // Of those that came late both may have had their deadline.
        std::size_t left = 0;
        for (auto& each : streams) {
            char byte = 0;
            left += ::recv(each.server.fd(), &byte, 1, MSG_DONTWAIT) == 1 ? 1 : 0;
        }
        REQUIRE(sum % 10 == (count - left) % 10);
        REQUIRE(sum == count - left + 10 * (count + left));
    });
}

TEST_CASE("memory that came back is lent again", "[os][receive]") {
    on_workers_and_io([] {
        auto [client, server] = socket_pair();
        std::set<const std::byte*> places;
        for (int i = 0; i < 1000; ++i) {
            client.write_all("x");
            places.insert(server.receive().bytes().data());
        }
        // Two for each worker that it may have been on.
        REQUIRE(places.size() <= 2 * weft::Runtime::current().workers());
    });
}

TEST_CASE("a receive that times out or is cancelled loses nothing", "[os][receive][deadline]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        REQUIRE(is(error_of([&] { server.receive(1ms); }), std::errc::timed_out));
        REQUIRE(is(error_of([&] { server.receive(Deadline::Clock::time_point{}); }),
                   std::errc::timed_out));
        auto fiber = weft::spawn([&server = server] { server.receive(); });
        until_in_flight(1);
        fiber.cancel();
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
        client.write_all("late");
        REQUIRE(text_of(server.receive()) == "late");
    });
}

TEST_CASE("each byte is received once, whatever cancellations it races with",
          "[os][receive][cancel]") {
    on_workers_and_io([] {
        auto [client, server] = socket_pair();
        std::size_t received = 0;
        constexpr std::size_t count = under_sanitizer ? 100 : 300;
        for (std::size_t i = 0; i < count; ++i) {
            std::atomic<bool> begun{false};
            auto fiber = weft::spawn([&, &server = server] {
                begun = true;
                return server.receive().size();
            });
            while (!begun) weft::this_fiber::yield();
            auto writer = weft::spawn([&client = client] { client.write_all("x"); });
            if (i % 2 == 0) writer.join();
            fiber.cancel();
            writer.get();
            try {
                received += fiber.get();
            } catch (const weft::Cancelled&) {
                received += server.receive().size();
            }
        }
        REQUIRE(received == count);
        client.shutdown(Shutdown::write);
        REQUIRE_FALSE(server.receive());
    });
}

// A socket whose error queue is not empty is always ready, so io_uring waits for it in a thread,
// which takes its memory before.
TEST_CASE("a receive that is cancelled in a kernel thread gives its memory back",
          "[os][receive][cancel]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        const int stamps = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
        REQUIRE(::setsockopt(server.fd(), SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps) ==
                0);
        server.write_all("stamped");
        const auto cancel_one = [&server = server] {
            auto fiber = weft::spawn([&server] { server.receive(); });
            until_in_flight(1);
            weft::this_fiber::sleep_for(1ms);
            fiber.cancel();
            REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
        };
        cancel_one();
        const std::size_t before = ::mallinfo2().uordblks;
        for (int i = 0; i < 100; ++i) cancel_one();
        // Sanitizers look for leaks themselves.
        if (!under_sanitizer) REQUIRE(::mallinfo2().uordblks < before + 500'000);
        client.write_all("still there");
        REQUIRE(text_of(server.receive()) == "still there");
    });
}

TEST_CASE("closing a stream ends a receive", "[os][receive][close]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        auto fiber = weft::spawn([&server = server] { server.receive(); });
        until_in_flight(1);
        server.close();
        REQUIRE(is(error_of([&] { fiber.get(); }), std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&] { server.receive(); }), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("a reset is an error of a receive", "[os][receive]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.linger(0);
        client.close();
        REQUIRE(is(error_of([&] { server.receive(); }), std::errc::connection_reset));
    });
}

TEST_CASE("a plain thread receives, too", "[os][receive]") {
    auto [client, server] = connection();
    std::thread writer{[&client = client] { client.write_all("by a thread"); }};
    REQUIRE(text_of(server.receive()) == "by a thread");
    writer.join();
    REQUIRE(is(error_of([&] { server.receive(1ms); }), std::errc::timed_out));
    client.close();
    REQUIRE_FALSE(server.receive());
}

TEST_CASE("what was received outlives its stream, its runtime and its thread", "[os][receive]") {
    for (const weft::Io io : available_io()) {
        std::vector<LentBytes> kept;
        weft::run(
            [&] {
                auto [client, server] = socket_pair();
                for (const char* text : {"one", "two", "three"}) {
                    client.write_all(text);
                    kept.push_back(server.receive());
                }
            },
            {.workers = 2, .io = io});
        std::thread{[&] {
            REQUIRE(kept[1].text() == "two");
            kept.pop_back();
        }}.join();
        LentBytes moved = std::move(kept[0]);
        REQUIRE_FALSE(kept[0]);
        moved = std::move(kept[1]);
        REQUIRE(moved.text() == "two");
        moved = LentBytes{};
        REQUIRE_FALSE(moved);
        REQUIRE(moved.bytes().data() == nullptr);
    }
}

TEST_CASE("what one worker lent another takes back", "[os][receive]") {
    on_workers_and_io([] {
        constexpr int count = under_sanitizer ? 20 : 50;
        std::vector<weft::Fiber<std::size_t>> fibers;
        for (int i = 0; i < count; ++i) {
            fibers.push_back(weft::spawn([] {
                auto [client, server] = socket_pair();
                std::size_t sum = 0;
                for (int round = 0; round < 20; ++round) {
                    client.write_all("ping");
                    LentBytes received = server.receive();
                    weft::this_fiber::yield();
                    sum += weft::spawn([part = std::move(received)] { return part.size(); }).get();
                }
                return sum;
            }));
        }
        for (auto& each : fibers) REQUIRE(each.get() == 80);
    });
}
