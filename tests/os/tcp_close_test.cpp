// Closing a stream or a listener that others use.
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/event.hpp>
#include <weft/io/file.hpp>
#include <weft/this_fiber.hpp>

#include <array>
#include <functional>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Address;
using weft::io::OpenMode;
using weft::io::Shutdown;
using weft::io::TcpListener;
using weft::io::TcpStream;

TEST_CASE("closing ends a read with EBADF, and the peer sees the end", "[os][tcp][close]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        auto reader =
            weft::spawn([&server = server] { return error_of([&] { read_text(server); }); });
        until_in_flight(1);
        server.close();
        REQUIRE_FALSE(server.is_open());
        REQUIRE(read_text(client).empty());
        REQUIRE(is(reader.get(), std::errc::bad_file_descriptor));
    });
}

// Method: more is written than the peer has room for, so that the system's close() sleeps until
// the peer has read it; in a worker it would keep all fibers from running for 30 s.
TEST_CASE("closing a stream that lingers waits for the peer, and keeps no worker",
          "[os][tcp][close]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        const std::size_t sent = fill(client);
        client.linger(30);
        auto moved = std::move(client);
        auto closer = weft::spawn([&moved] { moved.close(); });
        for (int tick = 0; tick < 10; ++tick) {
            weft::this_fiber::sleep_for(1ms);
            REQUIRE_FALSE(closer.done());
        }
        REQUIRE(read_to_end(server).size() == sent);
        closer.join();
        REQUIRE_FALSE(moved.is_open());
    });
}

// Method: the driver carries such a close out, and counts it, while the worker goes on; on the only
// worker the close would be done, or have failed, before anybody looked.
TEST_CASE("a socket that lingered before it was taken over keeps no worker either",
          "[os][tcp][close]") {
    for (const auto io : available_io()) {
        weft::run(
            [] {
                auto [client, server] = connection();
                const std::size_t sent = fill(client);
                const ::linger how{.l_onoff = 1, .l_linger = 30};
                REQUIRE(::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &how, sizeof how) == 0);
                TcpStream adopted{client.release()};
                auto moved = std::move(adopted);
                auto closer = weft::spawn([&moved] { moved.close(); });
                const auto in_flight = [] {
                    return weft::Runtime::current().counters().operations;
                };
                while (!closer.done() && in_flight() == 0) weft::this_fiber::yield();
                REQUIRE_FALSE(closer.done());
                REQUIRE(read_to_end(server).size() == sent);
                closer.join();
            },
            {.workers = 1, .io = io});
    }
}

TEST_CASE("a reset or nothing to wait for is closed by the worker itself", "[os][tcp][close]") {
    for (const auto io : available_io()) {
        for (const ::linger how : {::linger{1, 0}, ::linger{0, 5}}) {
            weft::run(
                [&] {
                    auto [client, server] = connection();
                    REQUIRE(::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &how, sizeof how) ==
                            0);
                    TcpStream adopted{client.release()};
                    const auto before = weft::Runtime::current().counters().switches;
                    adopted.close();
                    REQUIRE(weft::Runtime::current().counters().switches == before);
                },
                {.workers = 1, .io = io});
        }
    }
    REQUIRE_FALSE(TcpStream{-1}.is_open());
}

// Method: of more streams than the Offload has threads; a file is worked on by those.
TEST_CASE("streams that linger keep no file waiting", "[os][tcp][close]") {
    on_workers_and_io([] {
        std::vector<Connection> streams;
        for (std::size_t i = 0; i < 12; ++i) streams.push_back(connection());
        std::vector<weft::Fiber<>> closers;
        for (auto& each : streams) {
            fill(each.client);
            each.client.linger(30);
            closers.push_back(weft::spawn([&each] { each.client.close(); }));
        }
        until_in_flight(streams.size());
        const Scratch scratch;
        auto file = weft::io::File::open(scratch.path(), OpenMode::write | OpenMode::create);
        file.write_all("written");
        file.sync();
        for (const auto& each : closers) REQUIRE_FALSE(each.done());
        for (auto& each : streams) read_to_end(each.server);
        weft::join_all(closers);
    });
}

TEST_CASE("closing ends a write with EBADF", "[os][tcp][close]") {
    on_workers_and_io([] {
        auto [client, server] = socket_pair();
        fill(client);
        auto writer = weft::spawn([&client = client] {
            return error_of([&] { client.write_all(std::string(1'000'000, 'x')); });
        });
        until_in_flight(1);
        client.close();
        REQUIRE(is(writer.get(), std::errc::bad_file_descriptor));
        while (!read_text(server).empty()) {
        }
    });
}

TEST_CASE("closing ends a reader and a writer at once", "[os][tcp][close]") {
    on_workers_and_io([] {
        auto [client, server] = socket_pair();
        fill(client);
        auto writer = weft::spawn([&client = client] {
            return error_of([&] { client.write_all(std::string(1'000'000, 'x')); });
        });
        auto reader =
            weft::spawn([&client = client] { return error_of([&] { read_text(client); }); });
        until_in_flight(2);
        client.close();
        REQUIRE(is(writer.get(), std::errc::bad_file_descriptor));
        REQUIRE(is(reader.get(), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("closing a listener ends every accept", "[os][tcp][close]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v4(0)};
        std::vector<weft::Fiber<std::error_code>> waiting;
        for (int i = 0; i < 5; ++i) {
            waiting.push_back(weft::spawn([&] { return error_of([&] { listener.accept(); }); }));
        }
        until_in_flight(5);
        const Address was = listener.local_address();
        listener.close();
        for (auto& fiber : waiting) REQUIRE(is(fiber.get(), std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&] { listener.accept(); }), std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&] { TcpStream::connect(was); }), std::errc::connection_refused));
    });
}

TEST_CASE("a plain thread closes what a fiber reads", "[os][tcp][close]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        auto reader =
            weft::spawn([&server = server] { return error_of([&] { read_text(server); }); });
        until_in_flight(1);
        std::thread closer{[&server = server] { server.close(); }};
        REQUIRE(is(reader.get(), std::errc::bad_file_descriptor));
        closer.join();
        REQUIRE(read_text(client).empty());
    });
}

TEST_CASE("a fiber closes what a plain thread reads", "[os][tcp][close]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        weft::Event begun;
        std::error_code error;
        std::thread reader{[&, &server = server] {
            begun.set();
            error = error_of([&] { read_text(server); });
        }};
        begun.wait();
        server.close();  // before or after the thread reads: the answer is the same
        reader.join();
        REQUIRE(is(error, std::errc::bad_file_descriptor));
        REQUIRE(read_text(client).empty());
    });
}

TEST_CASE("two closes at once close once", "[os][tcp][close]") {
    on_workers_and_io([] {
        for (int round = 0; round < (under_sanitizer ? 40 : 200); ++round) {
            auto [client, server] = socket_pair();
            auto reader =
                weft::spawn([&server = server] { return error_of([&] { read_text(server); }); });
            auto other = weft::spawn([&server = server] { server.close(); });
            server.close();
            other.get();
            REQUIRE(is(reader.get(), std::errc::bad_file_descriptor));
        }
    });
}

TEST_CASE("a descriptor is not given to another file while a call may name it",
          "[os][tcp][close]") {
    // Writers that never wait and readers, closed at random moments; the numbers
    // are used again at once. Nothing may arrive at a connection but its own.
    on_workers_and_io([] {
        std::size_t foreign = 0;
        std::size_t ended = 0;
        constexpr int rounds = under_sanitizer ? 100 : 500;
        for (int round = 0; round < rounds; ++round) {
            auto [client, server] = socket_pair();
            auto writer = weft::spawn([&client = client] {
                return error_of([&] {
                    for (;;) client.write_all("old");
                });
            });
            auto drain = weft::spawn([&server = server] {
                error_of([&] {
                    while (!read_text(server).empty()) {
                    }
                });
            });
            for (int i = round % 7; i > 0; --i) weft::this_fiber::yield();
            client.close();
            auto [left, right] = socket_pair();  // has the number that was the client's
            ended += is(writer.get(), std::errc::bad_file_descriptor);
            left.write_all("new");
            right.write_all("new");
            foreign += read_text(right) != "new" || read_text(left) != "new";
            drain.get();
        }
        REQUIRE(foreign == 0);
        REQUIRE(ended == rounds);
    });
}

TEST_CASE("a read that was prepared never names the next file", "[os][tcp][close]") {
    on_workers_and_io([] {
        std::size_t stolen = 0;
        for (int round = 0; round < 500; ++round) {
            auto [client, server] = socket_pair();
            auto reader = weft::spawn([&server = server] {
                std::string text;
                error_of([&] { text = read_text(server); });
                return text;
            });
            for (int i = round % 3; i > 0; --i) weft::this_fiber::yield();
            server.close();
            auto [left, right] = socket_pair();
            left.write_all("secret");
            right.write_all("secret");
            stolen += !reader.get().empty();
            stolen += read_text(left) != "secret" || read_text(right) != "secret";
        }
        REQUIRE(stolen == 0);
    });
}

TEST_CASE("the destructor closes", "[os][tcp][close]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        { const TcpStream gone{std::move(server)}; }
        REQUIRE(read_text(client).empty());
    });
}

TEST_CASE("shutting a direction down ends what waits for it here", "[os][tcp][close]") {
    on_all_io([] {
        for (const bool local : {false, true}) {
            auto [stream, peer] = local ? socket_pair() : connection();
            auto reader = waiting([&stream = stream] { return read_text(stream); });
            auto writer = waiting([&stream = stream] {
                return error_of([&] { stream.write_all(std::string(16'000'000, 'x')); });
            });
            stream.shutdown(weft::io::Shutdown::read);
            REQUIRE(reader.get().empty());
            stream.shutdown(weft::io::Shutdown::write);
            REQUIRE(is(writer.get(), std::errc::broken_pipe));
        }
    });
}
