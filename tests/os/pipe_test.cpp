#include "support/errors.hpp"
#include "support/fd.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/pipe.hpp>

#include <array>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::ConstBuffer;
using weft::io::Pipe;
using weft::io::PipeReader;
using weft::io::PipeWriter;

namespace {

std::string text_of(PipeReader& reader, std::size_t most = 4096) {
    std::string text(most, '\0');
    text.resize(reader.read(std::as_writable_bytes(std::span{text})));
    return text;
}

/// Fills the pipe, so that the next write waits. Returns with how much.
std::size_t fill_pipe(PipeWriter& writer) {
    const auto data = pattern(4096);
    std::size_t sum = 0;
    while (true) {
        const auto full =
            error_of([&] { sum += writer.write(data, weft::Deadline::Clock::time_point{}); });
        if (full) return is(full, std::errc::timed_out) ? sum : 0;
    }
}

struct Piece {
    char* at;
    std::size_t length;
    char* data() const { return at; }
    std::size_t size() const { return length; }
};

/// A large write, by another fiber than reads it.
bool goes_through(Pipe pipe, std::size_t size) {
    const auto sent = pattern(size);
    auto writing = weft::spawn(
        [&, writer = std::move(pipe.writer)]() mutable { writer.write_all(std::span{sent}); });
    std::vector<std::byte> got(size + 1);
    const std::size_t count = pipe.reader.read_exactly(got);
    writing.get();
    got.resize(count);
    return got == sent;
}

class SigpipePending {
public:
    static bool now() {
        sigset_t set;
        ::sigpending(&set);
        return ::sigismember(&set, SIGPIPE) == 1;
    }
};

}  // namespace

TEST_CASE("what is written to a pipe is read, and its end when the writer is gone", "[os][pipe]") {
    on_workers_and_io([] {
        auto [reader, writer] = Pipe::open();
        writer.write_all("hello");
        REQUIRE(text_of(reader, 2) == "he");
        REQUIRE(text_of(reader) == "llo");
        auto late = weft::spawn([&reader = reader] { return text_of(reader); });
        until_in_flight(1);
        writer.write_all("late");
        REQUIRE(late.get() == "late");
        writer.write_all("the last");
        writer.close();
        REQUIRE(text_of(reader) == "the last");
        REQUIRE(text_of(reader).empty());
    });
}

TEST_CASE("a write larger than a pipe gets through whole", "[os][pipe]") {
    on_workers_and_io([] { REQUIRE(goes_through(Pipe::open(), 1u << 20)); });
}

TEST_CASE("a pipe of others that blocks does not block a worker", "[os][pipe]") {
    on_workers_and_io([] {
        auto [a, b] = pipe_ends(O_CLOEXEC);
        Pipe pipe{PipeReader{a.release()}, PipeWriter{b.release()}};
        REQUIRE(goes_through(std::move(pipe), 300'000));
    });
}

TEST_CASE("a simulated pipe gets through in short pieces", "[os][pipe][simulate]") {
    on_seeds(20, [](std::uint64_t) { REQUIRE(goes_through(Pipe::open(), 100'000)); });
    REQUIRE_FALSE(SigpipePending::now());
}

TEST_CASE("several buffers go through a pipe in order", "[os][pipe]") {
    on_workers_and_io([] {
        auto [reader, writer] = Pipe::open();
        const std::array<std::string_view, 4> out{"ab", "", "cdef", "g"};
        REQUIRE(writer.write_some(out) == 7);
        char text[10];
        const std::array<Piece, 3> in{Piece{text, 1}, Piece{nullptr, 0}, Piece{text + 1, 9}};
        REQUIRE(reader.read_some(in) == 7);
        REQUIRE(std::string{text, 7} == "abcdefg");
        writer.close();
        std::error_code end;
        REQUIRE(reader.read_some(in, end) == 0);
        REQUIRE(end == weft::io::StreamError::end_of_stream);
    });
}

TEST_CASE("to write what nobody will read is broken_pipe and no signal", "[os][pipe]") {
    const auto breaks = [] {
        auto [reader, writer] = Pipe::open();
        fill_pipe(writer);
        reader.close();
        return is(error_of([&writer = writer] { writer.write_all("x"); }), std::errc::broken_pipe);
    };
    on_workers_and_io([&] { REQUIRE(breaks()); });
    weft::simulate(1, [&] { REQUIRE(breaks()); });
    REQUIRE(breaks());
    REQUIRE_FALSE(SigpipePending::now());
}

TEST_CASE("a reader that goes ends a write that waits", "[os][pipe]") {
    on_workers_and_io([] {
        auto [reader, writer] = Pipe::open();
        fill_pipe(writer);
        auto writing = weft::spawn([&writer = writer] { writer.write_all("x"); });
        until_in_flight(1);
        reader.close();
        REQUIRE(is(error_of([&] { writing.get(); }), std::errc::broken_pipe));
    });
}

TEST_CASE("a SIGPIPE that was pending before a plain thread wrote stays", "[os][pipe]") {
    std::thread{[] {
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
        auto [reader, writer] = Pipe::open();
        reader.close();
        const auto write = [&writer = writer] { writer.write_all("x"); };
        REQUIRE(is(error_of(write), std::errc::broken_pipe));
        REQUIRE_FALSE(SigpipePending::now());
        ::raise(SIGPIPE);
        REQUIRE(is(error_of(write), std::errc::broken_pipe));
        REQUIRE(SigpipePending::now());
    }}.join();
}

TEST_CASE("reads and writes of a pipe end at their deadline and lose nothing", "[os][pipe]") {
    on_workers_and_io([] {
        auto [reader, writer] = Pipe::open();
        REQUIRE(is(error_of([&reader = reader] {
                       std::byte byte[1];
                       reader.read(byte, 1ms);
                   }),
                   std::errc::timed_out));
        const std::size_t filled = fill_pipe(writer);
        REQUIRE(filled > 0);
        REQUIRE(
            is(error_of([&writer = writer] { writer.write_all("x", 1ms); }), std::errc::timed_out));
        std::vector<std::byte> got(filled);
        REQUIRE(reader.read_exactly(got) == filled);
        writer.write_all("y");
        REQUIRE(text_of(reader) == "y");
    });
}

TEST_CASE("what is there beats a deadline that has passed, of a FIFO, too",
          "[os][pipe][deadline]") {
    on_workers_and_io([] {
        const Scratch scratch;  // of a FIFO nothing can be asked without waiting (RWF_NOWAIT)
        REQUIRE(::mkfifo(scratch.path().c_str(), 0600) == 0);
        PipeReader reader{::open(scratch.path().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
        PipeWriter writer{::open(scratch.path().c_str(), O_WRONLY | O_CLOEXEC)};
        const weft::Deadline passed{weft::Deadline::Clock::time_point{}};
        REQUIRE(writer.write(pattern(3), passed) == 3);
        std::array<std::byte, 10> room{};
        REQUIRE(reader.read(room, passed) == 3);
        REQUIRE(is(error_of([&] { reader.read(room, passed); }), std::errc::timed_out));
    });
}

TEST_CASE("a cancelled read of a pipe leaves what comes to the next", "[os][pipe]") {
    on_workers_and_io([] {
        auto [reader, writer] = Pipe::open();
        auto reading = weft::spawn([&reader = reader] { text_of(reader); });
        until_in_flight(1);
        reading.cancel();
        REQUIRE_THROWS_AS(reading.get(), weft::Cancelled);
        writer.write_all("here");
        REQUIRE(text_of(reader) == "here");
    });
}

TEST_CASE("to close an end of a pipe ends what waits there", "[os][pipe]") {
    on_workers_and_io([] {
        auto [reader, writer] = Pipe::open();
        fill_pipe(writer);
        auto writing = weft::spawn([&writer = writer] { writer.write_all("x"); });
        until_in_flight(1);
        writer.close();
        REQUIRE(is(error_of([&] { writing.get(); }), std::errc::bad_file_descriptor));

        auto [other, kept_open] = Pipe::open();
        auto reading = weft::spawn([&other = other] { text_of(other); });
        until_in_flight(1);
        other.close();
        REQUIRE(is(error_of([&] { reading.get(); }), std::errc::bad_file_descriptor));
        REQUIRE_FALSE(other.is_open());
    });
}

TEST_CASE("plain threads read and write a pipe", "[os][pipe]") {
    auto [reader, writer] = Pipe::open();
    const auto sent = pattern(1u << 20);
    std::thread writing{
        [&sent, writer = std::move(writer)]() mutable { writer.write_all(std::span{sent}); }};
    std::vector<std::byte> got(sent.size() + 1);
    REQUIRE(reader.read_exactly(got) == sent.size());
    writing.join();
    got.resize(sent.size());
    REQUIRE(got == sent);
    REQUIRE(reader.read(got) == 0);
}
