// Peers that reset a connection, at each step of its life.
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/io/connect.hpp>
#include <weft/io/file.hpp>
#include <weft/io/pipe.hpp>
#include <weft/io/send_file.hpp>
#include <weft/io/splice.hpp>

#include <array>
#include <functional>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Address;
using weft::io::ConstBuffer;
using weft::io::File;
using weft::io::MutableBuffer;
using weft::io::OpenMode;
using weft::io::Pipe;
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

/// A call that waits for the peer.
struct Step {
    const char* name;
    std::function<void(TcpStream&)> wait;
};

/// All that wait to receive, and all that wait to send what is more than fits.
std::vector<Step> steps(File& file) {
    static const std::string much(16'000'000, 'x');
    return {
        {"read", [](TcpStream& stream) { read_text(stream); }},
        {"vectored read",
         [](TcpStream& stream) {
             std::array<std::byte, 2> room;
             const MutableBuffer two[] = {{&room[0], 1}, {&room[1], 1}};
             stream.read(two);
         }},
        {"receive", [](TcpStream& stream) { stream.receive(); }},
        {"splice from it",
         [](TcpStream& stream) {
             Pipe pipe = Pipe::open();
             splice(stream, pipe.writer, 1);
         }},
        {"write_all", [](TcpStream& stream) { stream.write_all(much); }},
        {"vectored write_all",
         [](TcpStream& stream) {
             const ConstBuffer two[] = {{much.data(), 10}, {much.data() + 10, much.size() - 10}};
             stream.write_all(two);
         }},
        {"send_file", [&file](TcpStream& stream) { send_file(stream, file, 0, much.size()); }},
        {"splice to it",
         [](TcpStream& stream) {
             Pipe pipe = Pipe::open();
             for (;;) {
                 pipe.writer.write_all(bytes_of(std::string_view{much}.substr(0, 4096)));
                 splice(pipe.reader, stream, 4096);
             }
         }},
    };
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

TEST_CASE("a reset ends whatever waits, by an error, and leaves nothing open", "[os][tcp][reset]") {
    on_all_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), OpenMode::read | OpenMode::write | OpenMode::create);
        file.truncate(16'000'000);
        const auto all = steps(file);
        const std::size_t before = open_fds();
        for (const Step& step : all) {
            INFO(step.name);
            auto [client, server] = connection();
            auto waiter =
                waiting([&step, &client = client] { return error_of([&] { step.wait(client); }); });
            reset(server);
            REQUIRE(says_reset(waiter.get()));
            client.close();
            REQUIRE(open_fds() == before);
        }
    });
}

// Linux refuses a connection by a reset, too: here of one that was asked for again.
TEST_CASE("a reset ends a connect that waits", "[os][tcp][reset]") {
    on_workers_and_io([] {
        const std::size_t before = open_fds();
        {
            FullListener full;
            const Address where[] = {full.listener.local_address()};
            auto one = waiting([&] { return error_of([&] { TcpStream::connect(where[0]); }); });
            auto any = waiting([&] { return error_of([&] { weft::io::connect(where); }); });
            full.listener.close();
            REQUIRE(is(one.get(), std::errc::connection_refused));
            REQUIRE(is(any.get(), std::errc::connection_refused));
        }
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("a reset ends a close that lingers", "[os][tcp][reset][close]") {
    on_workers_and_io([] {
        const std::size_t before = open_fds();
        auto [client, server] = connection();
        fill(client);
        client.linger(3600);
        auto closer = weft::spawn([&client = client] { client.close(); });
        until_in_flight(1);
        reset(server);
        closer.join();
        REQUIRE(open_fds() == before);
    });
}
