#include "support/tcp.hpp"

#include "sched/worker.hpp"
#include "support/catch.hpp"
#include "support/hand_clock.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"

#include <weft/cancelled.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>
#include <thread>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Address;
using weft::io::ConstBuffer;
using weft::io::MutableBuffer;
using weft::io::Shutdown;
using weft::io::TcpListener;
using weft::io::TcpStream;

namespace {

void echo_until_end(TcpStream stream) {
    stream.no_delay(true);
    std::array<std::byte, 3000> buffer;
    while (const std::size_t got = stream.read(buffer)) {
        stream.write_all(std::span{buffer}.first(got));
    }
}

bool echoes(const Address& address, std::size_t size) {
    auto stream = TcpStream::connect(address);
    const auto sent = pattern(size, static_cast<std::uint32_t>(size));
    for (int round = 0; round < 5; ++round) {
        stream.write_all(std::span{sent});
        std::vector<std::byte> got(size);
        if (stream.read_exactly(got) != size || got != sent) return false;
    }
    return true;
}

}  // namespace

TEST_CASE("many connections echo what they are sent", "[os][tcp]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v4(0)};
        constexpr std::size_t count = 40;
        auto server = weft::spawn([&] {
            for (std::size_t i = 0; i < count; ++i) weft::spawn(echo_until_end, listener.accept());
        });
        std::vector<weft::Fiber<bool>> clients;
        for (std::size_t i = 0; i < count; ++i) {
            clients.push_back(weft::spawn(echoes, listener.local_address(), 1 + i * 97));
        }
        for (auto& client : clients) REQUIRE(client.get());
        server.get();
    });
}

TEST_CASE("a read returns what is there", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.write_all("hello");
        REQUIRE(read_text(server) == "hello");
        client.write_all("hello");
        REQUIRE(read_text(server, 2) == "he");
        REQUIRE(read_text(server, 2) == "ll");
        REQUIRE(read_text(server, 2) == "o");
    });
}

TEST_CASE("a large write gets through to a slow reader whole", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        const auto sent = pattern(4u << 20);
        auto writer = weft::spawn([&client = client, &sent] {
            client.write_all(std::span{sent});
            client.shutdown(Shutdown::write);
        });
        std::vector<std::byte> got(sent.size() + 1);
        std::size_t count = 0;
        while (const std::size_t some = server.read(std::span{got}.subspan(count))) {
            count += some;
            weft::this_fiber::yield();
        }
        writer.get();
        got.resize(count);
        REQUIRE(got == sent);
    });
}

TEST_CASE("a small send buffer is refilled until all is sent", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.send_buffer(1);  // the kernel makes it 4608
        const auto sent = pattern(100'000);
        auto writer = weft::spawn([&client = client, &sent] { client.write_all(std::span{sent}); });
        std::vector<std::byte> got(sent.size());
        REQUIRE(server.read_exactly(got) == sent.size());
        REQUIRE(got == sent);
        writer.get();
    });
}

TEST_CASE("writes that take a part say how much", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.send_buffer(4096);
        const auto sent = pattern(4u << 20);
        const std::size_t some = client.write(sent);
        REQUIRE(some > 0);
        REQUIRE(some < sent.size());
        client.close();
        REQUIRE(read_to_end(server).size() == some);
    });
}

TEST_CASE("several buffers go out and come in in order", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        const ConstBuffer out[] = {{"ab", 2}, {"", 0}, {"cdef", 4}, {"g", 1}};
        REQUIRE(client.write(out) == 7);
        char first[1];
        char second[4];
        char third[10];
        const MutableBuffer in[] = {{first, 1}, {nullptr, 0}, {second, 4}, {third, 10}};
        REQUIRE(server.read(in) == 7);
        REQUIRE(std::string{first, 1} + std::string{second, 4} + std::string{third, 2} ==
                "abcdefg");
    });
}

TEST_CASE("write_all takes more buffers than one call of the system", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.send_buffer(4096);
        const auto data = pattern(50 * 4'000);
        std::vector<ConstBuffer> out;
        for (std::size_t i = 0; i < 50; ++i) out.push_back({data.data() + i * 4'000, 4'000});
        auto writer = weft::spawn(
            [&client = client, &out] { client.write_all(std::span<const ConstBuffer>{out}); });
        std::vector<std::byte> got(data.size());
        REQUIRE(server.read_exactly(got) == data.size());
        REQUIRE(got == data);
        writer.get();
    });
}

TEST_CASE("what many write at once in small pieces arrives whole and in order", "[os][tcp]") {
    on_workers_and_io([] {
        constexpr std::size_t writers = 20;
        constexpr std::size_t pieces = 50;
        std::vector<weft::test::Connection> connections;
        for (std::size_t i = 0; i < writers; ++i) connections.push_back(connection());
        std::vector<weft::Fiber<std::string>> sent;
        std::vector<weft::Fiber<std::string>> received;
        for (auto& each : connections) {
            received.push_back(weft::spawn([&] { return read_to_end(each.server); }));
            sent.push_back(weft::spawn([&] {
                std::string all;
                for (std::size_t i = 0; i < pieces; ++i) {
                    const auto piece = "piece " + std::to_string(i) + "; ";
                    if (i % 2 == 0) {
                        each.client.write_all(piece);
                        all += piece;
                    } else {
                        all += piece.substr(0, each.client.write(bytes_of(piece)));
                    }
                }
                each.client.close();
                return all;
            }));
        }
        for (std::size_t i = 0; i < writers; ++i) CHECK(received[i].get() == sent[i].get());
    });
}

TEST_CASE("of many who write at once, those whose peer has gone get the error", "[os][tcp]") {
    on_workers_and_io([] {
        std::vector<weft::test::Connection> connections;
        for (int i = 0; i < 10; ++i) connections.push_back(connection());
        for (std::size_t i = 0; i < connections.size(); i += 2) connections[i].server.close();
        std::vector<weft::Fiber<int>> writers;
        for (auto& each : connections) {
            writers.push_back(weft::spawn([&] {
                for (int i = 0; i < 20; ++i) {
                    const int error = error_of([&] { each.client.write_all("ping"); }).value();
                    if (error != 0) return error;
                    weft::this_fiber::yield();
                }
                return 0;
            }));
        }
        for (std::size_t i = 0; i < writers.size(); ++i) {
            const int error = writers[i].get();
            const bool is_right = i % 2 == 0 ? error == EPIPE || error == ECONNRESET : error == 0;
            CHECK(is_right);
        }
    });
}

TEST_CASE("read_exactly returns less only at the end of the stream", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        auto writer = weft::spawn([&client = client] {
            client.write_all("abc");
            weft::this_fiber::yield();
            client.write_all("defg");
            client.close();
        });
        std::array<std::byte, 5> five;
        REQUIRE(server.read_exactly(five) == 5);
        REQUIRE(server.read_exactly(five) == 2);
        REQUIRE(server.read_exactly(five) == 0);
        writer.get();
    });
}

TEST_CASE("a shutdown ends one direction alone", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.shutdown(Shutdown::write);
        REQUIRE(read_text(server).empty());
        server.write_all("still here");
        REQUIRE(read_text(client) == "still here");
        REQUIRE(
            is(error_of([&client = client] { client.write_all("x"); }), std::errc::broken_pipe));
        server.shutdown(Shutdown::both);
        REQUIRE(read_text(client).empty());
    });
}

TEST_CASE("empty reads and writes return at once", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        REQUIRE(client.read(std::span<std::byte>{}) == 0);
        REQUIRE(client.write(std::span<const std::byte>{}) == 0);
        REQUIRE(client.read_exactly({}) == 0);
        client.write_all("");
    });
}

TEST_CASE("a reset connection is reported as such", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        auto reader =
            weft::spawn([&server = server] { return error_of([&] { read_text(server); }); });
        until_in_flight(1);
        client.linger(0);
        client.close();
        REQUIRE(is(reader.get(), std::errc::connection_reset));
    });
}

TEST_CASE("writing to a peer that has gone is an error and no signal", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        server.close();
        std::error_code error;
        while (!error) error = error_of([&client = client] { client.write_all("anybody?"); });
        REQUIRE((is(error, std::errc::broken_pipe) || is(error, std::errc::connection_reset)));
        REQUIRE(is(error_of([&client = client] { client.write_all("anybody?"); }),
                   std::errc::broken_pipe));
    });
}

TEST_CASE("a refused connection names the address", "[os][tcp]") {
    on_workers_and_io([] {
        Address nobody;
        {
            const TcpListener listener{Address::loopback_v4(0)};
            nobody = listener.local_address();
        }
        try {
            TcpStream::connect(nobody);
            FAIL("connected");
        } catch (const std::system_error& error) {
            REQUIRE(is(error.code(), std::errc::connection_refused));
            REQUIRE(std::string{error.what()}.find(nobody.to_string()) != std::string::npos);
        }
    });
}

TEST_CASE("a listener refuses an address in use, and names it", "[os][tcp]") {
    on_workers_and_io([] {
        const TcpListener listener{Address::loopback_v4(0)};
        const Address taken = listener.local_address();
        try {
            const TcpListener second{taken};
            FAIL("listens twice");
        } catch (const std::system_error& error) {
            REQUIRE(is(error.code(), std::errc::address_in_use));
            REQUIRE(std::string{error.what()}.find(taken.to_string()) != std::string::npos);
        }
    });
}

TEST_CASE("connections that are there are accepted without a turn of the loop each", "[os][tcp]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v4(0)};
        std::vector<TcpStream> clients;
        std::vector<TcpStream> servers;
        constexpr std::size_t count = 10;
        while (clients.size() < count) {
            clients.push_back(TcpStream::connect(listener.local_address()));
        }
        const auto& runtime = weft::Runtime::current();
        const auto switches = runtime.counters().switches;
        while (servers.size() < count) servers.push_back(listener.accept(1s));
        REQUIRE(runtime.counters().switches - switches < count / 2);
    });
}

TEST_CASE("IPv6 works as IPv4 does", "[os][tcp]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v6(0), {.v6_only = true}};
        REQUIRE(listener.local_address().is_v6());
        auto client = TcpStream::connect(listener.local_address());
        auto server = listener.accept();
        REQUIRE(server.peer_address() == client.local_address());
        client.write_all("six");
        REQUIRE(read_text(server) == "six");
    });
}

TEST_CASE("two listeners share a port if they ask to", "[os][tcp]") {
    on_workers_and_io([] {
        const TcpListener first{Address::loopback_v4(0), {.reuse_port = true}};
        const TcpListener second{first.local_address(), {.reuse_port = true}};
        REQUIRE(second.local_address() == first.local_address());
    });
}

TEST_CASE("a connection that says nothing is not accepted, if asked", "[os][tcp]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v4(0), {.defer_accept = 60s}};
        auto client = TcpStream::connect(listener.local_address());
        REQUIRE(is(error_of([&] { listener.accept(0ms); }), std::errc::timed_out));
        client.write_all("hello");
        auto server = listener.accept();
        REQUIRE(read_text(server) == "hello");
    });
}

TEST_CASE("a listener is made with the options it is given", "[os][tcp]") {
    for (const auto& here : {Address::loopback_v4(0), Address::loopback_v6(0)}) {
        const TcpListener plain{here};
        const TcpListener listener{here, {.defer_accept = 5s, .fast_open = 16}};
        const auto value_of = [](const TcpListener& of, int option) {
            int value = -1;
            socklen_t size = sizeof value;
            REQUIRE(::getsockopt(of.fd(), IPPROTO_TCP, option, &value, &size) == 0);
            return value;
        };
        REQUIRE(value_of(plain, TCP_DEFER_ACCEPT) == 0);
        REQUIRE(value_of(listener, TCP_DEFER_ACCEPT) == 7);
        REQUIRE(value_of(listener, TCP_FASTOPEN) == 16);
    }
    const std::size_t before = open_fds();
    const auto refused = [&](const weft::io::ListenOptions& options, const std::string& name) {
        try {
            TcpListener{Address::loopback_v4(0), options};
        } catch (const std::system_error& error) {
            INFO(error.what());
            REQUIRE(is(error.code(), std::errc::invalid_argument));
            REQUIRE(std::string{error.what()}.find(name) != std::string::npos);
            return open_fds() == before;
        }
        return false;
    };
    REQUIRE(refused({.defer_accept = 1h * 1'000'000}, "TCP_DEFER_ACCEPT"));
    REQUIRE(refused({.fast_open = -1}, "TCP_FASTOPEN"));
}

TEST_CASE("a foreign socket that blocks suspends only its fiber", "[os][tcp]") {
    on_workers_and_io([] {
        auto [left, right] = socket_pair();
        auto reader = weft::spawn([&left = left] { return read_text(left); });
        until_in_flight(1);
        right.write_all("through");
        REQUIRE(reader.get() == "through");
        fill(right);  // would hang the thread if the send blocked it
    });
}

TEST_CASE("a moved stream goes on where it was", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.write_all("one two");
        TcpStream moved{std::move(server)};
        REQUIRE_FALSE(server.is_open());
        REQUIRE(read_text(moved, 4) == "one ");
        server = std::move(moved);
        REQUIRE(read_text(server) == "two");
        const int fd = server.release();
        REQUIRE_FALSE(server.is_open());
        TcpStream adopted{fd};
        client.close();
        REQUIRE(read_text(adopted).empty());
    });
}

TEST_CASE("options are set, and refused on a closed stream", "[os][tcp]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        client.no_delay(true);
        client.keep_alive(true);
        client.linger(-1);
        REQUIRE(client.peer_address() == server.local_address());
        client.close();
        client.close();
        REQUIRE_FALSE(client.is_open());
        REQUIRE(is(error_of([&client = client] { client.no_delay(true); }),
                   std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&client = client] { read_text(client); }),
                   std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&client = client] { client.write_all("x"); }),
                   std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&client = client] { client.shutdown(Shutdown::both); }),
                   std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&client = client] { client.peer_address(); }),
                   std::errc::bad_file_descriptor));
    });
}

TEST_CASE("plain threads use streams too", "[os][tcp]") {
    TcpListener listener{Address::loopback_v4(0)};
    std::thread server{[&] { echo_until_end(listener.accept()); }};
    REQUIRE(echoes(listener.local_address(), 300'000));
    server.join();
    REQUIRE(is(error_of([&] { listener.accept(1ms); }), std::errc::timed_out));
    auto client = TcpStream::connect(listener.local_address());
    std::array<std::byte, 1> byte;
    REQUIRE(is(error_of([&] { client.read(byte, 1ms); }), std::errc::timed_out));
}

TEST_CASE("options that are set are what the system says", "[os][tcp]") {
    for (const auto& here : {Address::loopback_v4(0), Address::loopback_v6(0)}) {
        TcpListener listener{here};
        auto stream = TcpStream::connect(listener.local_address());
        INFO(here.to_string());
        REQUIRE_FALSE(stream.no_delay());
        stream.no_delay(true);
        REQUIRE(stream.no_delay());
        stream.receive_buffer(8192);
        REQUIRE(stream.receive_buffer() == 2 * 8192);
        stream.send_buffer(8192);
        REQUIRE(stream.send_buffer() == 2 * 8192);
        stream.user_timeout(1500ms);
        REQUIRE(stream.user_timeout() == 1500ms);
        REQUIRE(stream.not_sent_low_water() == 0);
        stream.not_sent_low_water(16384);
        REQUIRE(stream.not_sent_low_water() == 16384);
        for (const bool on : {false, true}) {
            stream.quick_ack(on);
            REQUIRE(stream.quick_ack() == on);
        }
        stream.type_of_service(0x20);
        REQUIRE(stream.type_of_service() == 0x20);
        stream.time_to_live(7);
        REQUIRE(stream.time_to_live() == 7);
        stream.time_to_live(-1);
        REQUIRE(stream.time_to_live() > 7);
        listener.receive_buffer(8192);
        REQUIRE(listener.receive_buffer() == 2 * 8192);
    }
}

TEST_CASE("a stream is connected with the options it is given", "[os][tcp]") {
    on_workers_and_io([] {
        for (const auto& here : {Address::loopback_v4(0), Address::loopback_v6(0)}) {
            TcpListener listener{here};
            const auto stream = TcpStream::connect(
                listener.local_address(),
                {.receive_buffer = 8192,
                 .send_buffer = 16384,
                 .no_delay = true,
                 .keep_alive = weft::io::KeepAlive{.idle = 60s, .interval = 5s, .count = 3}},
                10s);
            REQUIRE(stream.receive_buffer() == 2 * 8192);
            REQUIRE(stream.send_buffer() == 2 * 16384);
            REQUIRE(stream.no_delay());
            REQUIRE(stream.keep_alive());
            int idle = 0;
            socklen_t size = sizeof idle;
            REQUIRE(::getsockopt(stream.fd(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, &size) == 0);
            REQUIRE(idle == 60);
        }
    });
}

TEST_CASE("a stream comes from the address it is told to", "[os][tcp]") {
    on_workers_and_io([] {
        TcpListener first{Address::loopback_v4(0)};
        TcpListener second{Address::loopback_v4(0)};
        auto one = TcpStream::connect(first.local_address(), {.local = Address{"127.0.0.2", 0}});
        auto at_first = first.accept();
        REQUIRE(at_first.peer_address().host() == "127.0.0.2");
        REQUIRE(at_first.peer_address() == one.local_address());
        // Its port serves for another peer, and again when it is closed.
        const Address local = one.local_address();
        one.close();
        read_text(at_first);
        at_first.close();
        for (int i = 0; i < 2; ++i) {
            auto other = TcpStream::connect(second.local_address(), {.local = local});
            auto again = TcpStream::connect(first.local_address(), {.local = local});
            REQUIRE(other.local_address() == local);
            REQUIRE(again.local_address() == local);
            REQUIRE(second.accept().peer_address() == local);
            other.linger(0);
            again.linger(0);
            first.accept();
        }
        TcpListener six{Address::loopback_v6(0)};
        const auto stream =
            TcpStream::connect(six.local_address(), {.local = Address::loopback_v6(0)});
        REQUIRE(stream.local_address().is_v6());
    });
}

TEST_CASE("what is refused of a connection's options leaves nothing open", "[os][tcp]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v4(0)};
        const Address peer = listener.local_address();
        const std::size_t before = open_fds();
        const auto refused = [&](const weft::io::TcpConnectOptions& options, std::errc errc,
                                 const std::string& name) {
            try {
                TcpStream::connect(peer, options);
            } catch (const std::system_error& error) {
                INFO(error.what());
                REQUIRE(is(error.code(), errc));
                REQUIRE(std::string{error.what()}.find(name) != std::string::npos);
                return open_fds() == before;
            }
            return false;
        };
        REQUIRE(refused({.local = Address{"192.0.2.1", 7}}, std::errc::address_not_available,
                        "192.0.2.1:7"));
        REQUIRE(refused({.local = Address::loopback_v6(0)}, std::errc::address_family_not_supported,
                        "[::1]:0"));
        REQUIRE(refused({.local = peer}, std::errc::address_in_use, peer.to_string()));
        REQUIRE(refused({.keep_alive = weft::io::KeepAlive{.count = 128}},
                        std::errc::invalid_argument, "TCP_KEEPCNT"));
    });
}

TEST_CASE("keep-alive is timed as asked, and nonsense refused", "[os][tcp]") {
    auto [client, server] = connection();
    REQUIRE_FALSE(client.keep_alive());
    client.keep_alive(true, {.idle = 60s, .interval = 5s, .count = 3});
    REQUIRE(client.keep_alive());
    const auto value_of = [&client = client](int option) {
        int value = 0;
        socklen_t size = sizeof value;
        REQUIRE(::getsockopt(client.fd(), IPPROTO_TCP, option, &value, &size) == 0);
        return value;
    };
    REQUIRE(value_of(TCP_KEEPIDLE) == 60);
    REQUIRE(value_of(TCP_KEEPINTVL) == 5);
    REQUIRE(value_of(TCP_KEEPCNT) == 3);
    const auto refused = [&client = client](weft::io::KeepAlive when) {
        return is(error_of([&] { client.keep_alive(true, when); }), std::errc::invalid_argument);
    };
    REQUIRE(refused({.idle = 0s}));
    REQUIRE(refused({.idle = 1h * 100'000'000}));
    REQUIRE(refused({.count = 128}));
}

// Goal: small sends of many fibers are begun together, and no more of them than stay in the
// cache. Method: each looks how many are in flight before its own; time stands still, so turns
// are short.
TEST_CASE("a crowd's small sends go together", "[os][tcp]") {
    if (available_io().front() != weft::Io::uring) return;
    const auto most_in_flight = [](std::size_t size) {
        const HandClock clock;
        const auto data = pattern(size);
        std::atomic<std::uint64_t> most{0};
        std::vector<Connection> connections;
        for (int i = 0; i < 40; ++i) connections.push_back(socket_pair());
        std::vector<weft::Fiber<>> fibers;
        for (Connection& each : connections) {
            fibers.push_back(weft::spawn([&] {
                for (int turn = 0; turn < 10; ++turn) weft::this_fiber::yield();
                const std::uint64_t now = weft::Runtime::current().counters().operations;
                most = std::max(most.load(), now);
                each.client.write_all(data);
            }));
        }
        weft::join_all(fibers);
        return most.load();
    };
    const auto body = [&] {
        CHECK(most_in_flight(64) >= 5);  // a round of the loop may come between
        const std::size_t bound = weft::detail::Worker::current()->driver().most_together();
        CHECK(bound >= std::size_t{96} << 10);  // none where system calls are dear
        CHECK(most_in_flight(8 << 10) <= bound / (8 << 10));
        CHECK(most_in_flight(8 << 10) >= 1);
        CHECK(most_in_flight(100'000) <= bound / 100'000);
    };
    weft::run(body, {.workers = 1, .io = weft::Io::uring});
}
