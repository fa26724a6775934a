// Peers that reset a connection, at each step of its life.
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <array>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Address;
using weft::io::Shutdown;
using weft::io::TcpListener;
using weft::io::TcpStream;

namespace {

void reset(TcpStream& stream) {
    stream.linger(0);
    stream.close();
}

bool says_reset(std::error_code error) {
    return is(error, std::errc::connection_reset) || is(error, std::errc::broken_pipe);
}

}  // namespace

TEST_CASE("a reset in the queue is the connection's, not the listener's", "[os][tcp][reset]") {
    on_all_io([] {
        TcpListener listener{Address::loopback_v4(0)};
        auto gone = TcpStream::connect(listener.local_address());
        reset(gone);
        auto stays = TcpStream::connect(listener.local_address());
        stays.write_all("here");
        auto server = listener.accept();  // Linux gives out the one that is reset, too
        REQUIRE(is(error_of([&] { read_text(server); }), std::errc::connection_reset));
        server = listener.accept();
        REQUIRE(read_text(server) == "here");
    });
}

TEST_CASE("a reset ends a write that waits", "[os][tcp][reset]") {
    on_all_io([] {
        auto [client, server] = connection();
        auto writer = waiting([&client = client] {
            return error_of([&] { client.write_all(std::string(16'000'000, 'x')); });
        });
        reset(server);
        REQUIRE(says_reset(writer.get()));
    });
}

TEST_CASE("a reset in the middle of read_exactly is an error, not an end", "[os][tcp][reset]") {
    on_all_io([] {
        auto [client, server] = connection();
        client.write_all("abc");
        std::array<std::byte, 10> buffer;
        auto reader = waiting(
            [&, &server = server] { return error_of([&] { server.read_exactly(buffer); }); });
        client.write_all("de");
        weft::this_fiber::yield();
        reset(client);
        REQUIRE(is(reader.get(), std::errc::connection_reset));
        REQUIRE(std::to_integer<char>(buffer[4]) == 'e');
    });
}

TEST_CASE("a close with bytes unread resets the peer, who may have read some", "[os][tcp][reset]") {
    on_all_io([] {
        auto [client, server] = connection();
        client.write_all("never read");
        server.write_all("answer");
        server.close();
        REQUIRE(
            is(error_of([&client = client] { read_to_end(client); }), std::errc::connection_reset));
        REQUIRE(says_reset(error_of([&client = client] { client.write_all("x"); })));
    });
}

TEST_CASE("a reset after our own half was shut down is told to the reader", "[os][tcp][reset]") {
    on_all_io([] {
        auto [client, server] = connection();
        client.shutdown(Shutdown::write);
        auto reader = waiting([&client = client] { return error_of([&] { read_text(client); }); });
        reset(server);
        REQUIRE(is(reader.get(), std::errc::connection_reset));
    });
}
