#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/namespaces.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/io/file_system.hpp>
#include <weft/io/splice.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::File;
using weft::io::OpenMode;
using weft::io::Pipe;
using weft::io::splice;
using weft::io::TcpStream;

namespace {

constexpr OpenMode fresh = OpenMode::read | OpenMode::write | OpenMode::create | OpenMode::truncate;
constexpr std::size_t plenty = 1 << 20;

std::string text_of(weft::io::PipeReader& reader) {
    std::string text(4096, '\0');
    text.resize(reader.read(std::as_writable_bytes(std::span{text})));
    return text;
}

/// All that `from` brings, to `to`, until its end. Returns how much.
std::size_t relay(TcpStream& from, TcpStream& to) {
    Pipe pipe = Pipe::open();
    std::size_t sum = 0;
    while (std::size_t some = splice(from, pipe.writer, plenty)) {
        sum += some;
        while (some > 0) some -= splice(pipe.reader, to, some);
    }
    return sum;
}

/// A pair of which one end blocks.
Connection with_one_that_blocks() {
    auto pair = socket_pair();
    ::fcntl(pair.client.fd(), F_SETFL, O_NONBLOCK);
    return pair;
}

}  // namespace

TEST_CASE("what one stream brings goes by a pipe to another, whole", "[os][splice]") {
    on_workers_and_io([] {
        const auto data = pattern(3'000'000);
        auto [client, in] = connection();
        auto [out, server] = connection();
        auto writing = weft::spawn(
            [&, client = std::move(client)]() mutable { client.write_all(std::span{data}); });
        auto relaying = weft::spawn(
            [in = std::move(in), out = std::move(out)]() mutable { return relay(in, out); });
        std::vector<std::byte> got(data.size() + 1);
        REQUIRE(server.read_exactly(got) == data.size());
        REQUIRE(std::equal(data.begin(), data.end(), got.begin()));
        REQUIRE(relaying.get() == data.size());
        writing.get();
    });
}

TEST_CASE("bytes move from a file to a pipe, to a pipe, to a file", "[os][splice][file]") {
    on_workers_and_io([] {
        const Scratch here;
        const Scratch there;
        auto from = File::open(here.path(), fresh);
        from.write_all("of which this is the middle part");
        auto to = File::open(there.path(), fresh);
        Pipe first = Pipe::open();
        Pipe second = Pipe::open();
        REQUIRE(splice(from, 14, first.writer, 3) == 3);
        REQUIRE(splice(from, 17, first.writer, plenty) == 15);
        REQUIRE(splice(from, 32, first.writer, plenty) == 0);
        REQUIRE(splice(first.reader, second.writer, 7) > 0);
        first.writer.close();
        while (splice(first.reader, second.writer, plenty) > 0) {
        }
        second.writer.close();
        while (splice(second.reader, to, plenty) > 0) {
        }
        REQUIRE(from.tell() == 32);
        REQUIRE(to.tell() == 18);
        to.seek(0);
        std::string text(18, '\0');
        REQUIRE(to.read(std::as_writable_bytes(std::span{text})) == 18);
        REQUIRE(text == "is the middle part");
    });
}

TEST_CASE("a splice waits for data, then for room, gives up and is cancelled", "[os][splice]") {
    on_workers_and_io([] {
        Pipe from = Pipe::open();
        Pipe to = Pipe::open();
        REQUIRE(
            is(error_of([&] { splice(from.reader, to.writer, 1, 1ms); }), std::errc::timed_out));
        auto waiting = weft::spawn([&] { return splice(from.reader, to.writer, plenty); });
        until_in_flight(1);
        from.writer.write_all("x");
        REQUIRE(waiting.get() == 1);

        const auto page = pattern(4096);
        while (::write(to.writer.fd(), page.data(), page.size()) > 0) {
        }
        from.writer.write_all("y");
        auto blocked = weft::spawn([&] { return splice(from.reader, to.writer, plenty); });
        until_in_flight(1);
        blocked.cancel();
        REQUIRE_THROWS_AS(blocked.get(), weft::Cancelled);
        auto again = weft::spawn([&] { return splice(from.reader, to.writer, plenty); });
        until_in_flight(1);
        std::vector<std::byte> room(1 << 17);
        REQUIRE(to.reader.read(room) > 4096);
        REQUIRE(again.get() == 1);
    });
}

TEST_CASE("closing an end that is waited for ends a splice, and the other is free to close",
          "[os][splice][close]") {
    on_workers_and_io([] {
        const std::size_t before = open_fds();
        {
            Pipe from = Pipe::open();
            Pipe to = Pipe::open();
            auto waiting = weft::spawn(
                [&] { return error_of([&] { splice(from.reader, to.writer, plenty); }); });
            until_in_flight(1);
            to.writer.close();  // does not wait for what `from` may bring
            from.reader.close();
            REQUIRE(is(waiting.get(), std::errc::bad_file_descriptor));
            REQUIRE(is(error_of([&] { splice(from.reader, to.writer, 1); }),
                       std::errc::bad_file_descriptor));
        }
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("a splice to nobody is broken_pipe, of nothing 0, of what blocks refused",
          "[os][splice]") {
    on_workers_and_io([] {
        Pipe from = Pipe::open();
        Pipe to = Pipe::open();
        auto [client, server] = socket_pair();
        REQUIRE(splice(from.reader, to.writer, 0) == 0);
        from.writer.write_all("x");
        to.reader.close();
        REQUIRE(is(error_of([&] { splice(from.reader, to.writer, 1); }), std::errc::broken_pipe));
        REQUIRE(is(error_of([&] { splice(from.reader, client, 1); }),
                   std::errc::operation_not_supported));
        REQUIRE(text_of(from.reader) == "x");
        const Scratch scratch;
        auto log = File::open(scratch.path(), OpenMode::create | OpenMode::append);
        from.writer.write_all("x");
        REQUIRE(is(error_of([&] { splice(from.reader, log, 1); }), std::errc::invalid_argument));
    });
}

TEST_CASE("plain threads splice too, and get no SIGPIPE", "[os][splice]") {
    auto [client, server] = with_one_that_blocks();
    Pipe pipe = Pipe::open();
    std::thread writer{[&server = server] { server.write_all("hello"); }};
    REQUIRE(splice(client, pipe.writer, plenty) == 5);
    writer.join();
    REQUIRE(text_of(pipe.reader) == "hello");
    pipe.writer.write_all("x");
    server.close();
    REQUIRE(is(error_of([&client = client, &pipe] { splice(pipe.reader, client, 1); }),
               std::errc::broken_pipe));
}

TEST_CASE("a splice goes on in every simulated order", "[os][splice][simulate]") {
    on_seeds(20, [](std::uint64_t) {
        Pipe from = Pipe::open();
        Pipe to = Pipe::open();
        auto moving = weft::spawn([&] {
            std::size_t sum = 0;
            while (sum < 6) sum += splice(from.reader, to.writer, 6 - sum);
            to.writer.close();
        });
        from.writer.write_all("abc");
        weft::this_fiber::sleep_for(1h);
        from.writer.write_all("def");
        std::string all;
        for (std::string part; !(part = text_of(to.reader)).empty();) all += part;
        REQUIRE(all == "abcdef");
        moving.get();
    });
}

// --- in a process of its own ---

namespace {

const Child full_disk{"splices to a full disk", [] {
                          const Scratch scratch;
                          if (!mount_small_disk(scratch.directory(), "64k")) return not_permitted;
                          Expectations all;
                          const auto fill = [&] {
                              auto to = File::open(scratch.path(), fresh);
                              Pipe pipe = Pipe::open();
                              // A pipe holds no more where the user has many.
                              const auto page = pattern(4096);
                              std::error_code error;
                              while (!error) {
                                  pipe.writer.write_all(std::span{page});
                                  error = error_of([&] {
                                      for (std::size_t left = page.size(); left > 0;) {
                                          left -= splice(pipe.reader, to, left);
                                      }
                                  });
                              }
                              all.expect(is(error, std::errc::no_space_on_device), error.message());
                              // What found no room is still in the pipe.
                              to.truncate(0);
                              to.seek(0);
                              all.expect(splice(pipe.reader, to, 1) == 1, "goes on");
                              weft::io::remove(scratch.path());
                          };
                          for (const weft::Io io : available_io()) {
                              weft::run(fill, {.workers = 2, .io = io});
                          }
                          ::umount(scratch.directory().c_str());
                          return all.wrong();
                      }};

}  // namespace

TEST_CASE("a splice to a full disk is an error, and the pipe keeps the rest", "[os][splice]") {
    const Outcome outcome = full_disk.run();
    INFO(outcome.describe());
    if (outcome.exited_with(not_permitted)) SKIP("no mounts of one's own are to be had");
    REQUIRE(outcome.exited_with(0));
}
