#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/io/send_file.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Advice;
using weft::io::File;
using weft::io::OpenMode;
using weft::io::send_file;

namespace {

constexpr OpenMode fresh = OpenMode::read | OpenMode::write | OpenMode::create | OpenMode::truncate;

/// Whether `stream` brings `data` and then ends.
bool receives(weft::io::TcpStream& stream, std::span<const std::byte> data) {
    std::vector<std::byte> got(data.size() + 1);
    return stream.read_exactly(got) == data.size() &&
           std::equal(data.begin(), data.end(), got.begin());
}

}  // namespace

TEST_CASE("a file is sent, whole, in part, in the cache or not", "[os][send_file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto data = pattern(1'000'000);
        auto file = File::open(scratch.path(), fresh);
        file.write_all(std::span{data});
        file.sync();
        const auto sends = [&](std::uint64_t offset, std::uint64_t length, std::size_t expected) {
            auto [client, server] = connection();
            auto reader = weft::spawn(
                [&] { return receives(client, std::span{data}.subspan(offset, expected)); });
            REQUIRE(send_file(server, file, offset, length) == expected);
            server.close();
            REQUIRE(reader.get());
        };
        sends(0, data.size(), data.size());
        sends(12'345, 500'000, 500'000);
        sends(900'000, 500'000, 100'000);
        sends(5, 0, 0);
        sends(900'000, UINT64_MAX, 100'000);
        sends(900'000, UINT64_MAX - 4095, 100'000);
        file.advise(Advice::dont_need);
        sends(0, data.size(), data.size());
        REQUIRE(file.tell() == data.size());
    });
}

TEST_CASE("a file opened past the page cache is sent to its end", "[os][send_file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto data = pattern(200'000);
        File::open(scratch.path(), fresh).write_all(std::span{data});
        File file;
        const auto error =
            error_of([&] { file = File::open(scratch.path(), OpenMode::read | OpenMode::direct); });
        if (error) SKIP("there is no way past the page cache");
        const auto sends = [&](std::uint64_t offset, std::uint64_t length, std::size_t expected) {
            auto [client, server] = connection();
            auto reader = weft::spawn(
                [&] { return receives(client, std::span{data}.subspan(offset, expected)); });
            REQUIRE(send_file(server, file, offset, length) == expected);
            server.close();
            REQUIRE(reader.get());
        };
        sends(0, data.size(), data.size());
        sends(0, 10'000, 10'000);
        sends(8192, 1, 1);
        sends(8192, 1'000'000, data.size() - 8192);
    });
}

TEST_CASE("who sends a file to nobody, to one who does not read, or in vain, is told",
          "[os][send_file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        file.truncate(10'000'000);
        const std::size_t before = open_fds();
        {
            auto [client, server] = socket_pair();
            REQUIRE(is(error_of([&] { send_file(server, file, 0, 10'000'000, 5ms); }),
                       std::errc::timed_out));
            auto cancelled = weft::spawn([&] { send_file(server, file, 0, 10'000'000); });
            until_in_flight(1);
            cancelled.cancel();
            REQUIRE_THROWS_AS(cancelled.get(), weft::Cancelled);
            client.close();
            REQUIRE(is(error_of([&] { send_file(server, file, 0, 1); }), std::errc::broken_pipe));
            file.close();
            REQUIRE(is(error_of([&] { send_file(server, file, 0, 1); }),
                       std::errc::bad_file_descriptor));
        }
        REQUIRE(open_fds() == before - 1);
    });
}

TEST_CASE("plain threads send files too, also those that tell no size", "[os][send_file]") {
    auto [client, server] = connection();
    auto file = File::open("/proc/self/status");
    REQUIRE(send_file(server, file, 0, 1'000'000) > 100);
    server.close();
    REQUIRE(read_text(client).starts_with("Name:"));
}
