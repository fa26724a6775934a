#include "support/errors.hpp"
#include "support/fd.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"
#include "support/terminal.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/file.hpp>
#include <weft/io/pipe.hpp>
#include <weft/this_fiber.hpp>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::ConstBuffer;
using weft::io::File;
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

/// Of others, so that it blocks: a pipe, or a FIFO.
Pipe blocking_pipe(bool named) {
    if (!named) {
        auto [a, b] = pipe_ends(O_CLOEXEC);
        return {PipeReader{a.release()}, PipeWriter{b.release()}};
    }
    const Scratch scratch;
    const std::string path = scratch.path();
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    PipeReader reader{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    return {std::move(reader), PipeWriter{::open(path.c_str(), O_WRONLY | O_CLOEXEC)}};
}

bool is_full(const PipeWriter& writer) {
    int bytes = 0;
    REQUIRE(::ioctl(writer.fd(), FIONREAD, &bytes) == 0);
    return bytes >= ::fcntl(writer.fd(), F_GETPIPE_SZ);
}

/// Waits, in a thread, for what to read; and is asleep there when it is made.
class ReadingThread {
public:
    /// `before` is what the thread does first.
    template <class Before>
    ReadingThread(PipeReader& reader, Before&& before)
        : thread_{[&] {
              before();
              tid_ = ::gettid();
              ended_ = error_of([&] { text_of(reader); });
          }} {
        std::string line;
        const auto state = [&] {
            std::getline(std::ifstream{"/proc/self/task/" + std::to_string(tid_) + "/stat"}, line);
            const std::size_t name_end = line.rfind(')');
            return name_end == line.npos ? 'X' : line.at(name_end + 2);
        };
        while (tid_ == 0 || state() == 'R') std::this_thread::yield();
    }
    std::error_code join() {
        thread_.join();
        return ended_;
    }

private:
    std::atomic<pid_t> tid_{0};
    std::error_code ended_;
    std::thread thread_;  // last: it uses the others
};

/// While it lives no descriptor is to be had.
class NoMoreDescriptors {
public:
    NoMoreDescriptors() {
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
        const rlimit none{2, before_.rlim_max};  // as many as poll() names
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    }
    NoMoreDescriptors(const NoMoreDescriptors&) = delete;
    NoMoreDescriptors& operator=(const NoMoreDescriptors&) = delete;
    ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

bool times_out(PipeReader& reader) {
    std::byte byte[1];
    return is(error_of([&] { reader.read(byte, 1ms); }), std::errc::timed_out);
}

/// Destroyed after the thread_locals of main().
struct AtExit {
    Pipe pipe = Pipe::open();
    ~AtExit() { ::_exit(times_out(pipe.reader) ? 0 : 1); }
};

const Child waiting_at_exit{"pipe: at exit", []() -> int {
                                static AtExit last;
                                return times_out(last.pipe.reader) ? 2 : 3;
                            }};

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

TEST_CASE("a plain thread's write to a pipe of others that blocks ends at its deadline",
          "[os][pipe]") {
    auto [reader, writer] = blocking_pipe(GENERATE(false, true));
    const auto data = pattern(64 << 10);
    while (!is_full(writer)) REQUIRE(writer.write(data, 10s) > 0);
    // There is room now, but less than for all.
    std::vector<std::byte> piece(4096);
    REQUIRE(reader.read_exactly(piece) == piece.size());
    REQUIRE(writer.write(data, 10s) == piece.size());
    REQUIRE(
        is(error_of([&writer = writer, &data] { writer.write(data, 1ms); }), std::errc::timed_out));
    REQUIRE(reader.read_exactly(piece) == piece.size());
    REQUIRE(is(error_of([&writer = writer, &data] { writer.write_all(std::span{data}, 1ms); }),
               std::errc::timed_out));
    REQUIRE(is_full(writer));
}

TEST_CASE("to close a pipe of others that blocks ends a plain thread's write", "[os][pipe]") {
    auto [reader, writer] = blocking_pipe(GENERATE(false, true));
    const auto data = pattern(1 << 20);
    std::error_code error;
    std::thread writing{
        [&, &writer = writer] { error = error_of([&] { writer.write_all(std::span{data}); }); }};
    while (!is_full(writer)) std::this_thread::yield();
    writer.close();
    writing.join();
    REQUIRE(is(error, std::errc::bad_file_descriptor));
}

TEST_CASE("to close a pipe ends a plain thread's read, also one that once lacked descriptors",
          "[os][pipe]") {
    auto [reader, writer] = Pipe::open();
    ReadingThread reading{reader, [&reader = reader] {
                              const NoMoreDescriptors none;
                              REQUIRE(times_out(reader));
                          }};
    reader.close();
    REQUIRE(is(reading.join(), std::errc::bad_file_descriptor));
}

TEST_CASE("to close a pipe ends a plain thread's read for which no descriptor was left",
          "[os][pipe]") {
    auto [reader, writer] = Pipe::open();
    std::atomic<pid_t> tid{0};
    std::atomic<bool> go{false};
    std::error_code error;
    std::thread reading{[&, &reader = reader] {
        tid = ::gettid();
        while (!go) std::this_thread::yield();
        const NoMoreDescriptors none;
        error = error_of([&] { text_of(reader); });
    }};
    while (tid == 0) std::this_thread::yield();
    const std::string stat = "/proc/self/task/" + std::to_string(tid) + "/stat";
    const Fd state{::open(stat.c_str(), O_RDONLY | O_CLOEXEC)};
    go = true;
    std::array<char, 512> line{};
    const auto is_asleep = [&] {
        line.fill('\0');
        REQUIRE(::pread(state, line.data(), line.size() - 1, 0) > 0);
        return std::strstr(line.data(), ") S ") != nullptr;
    };
    while (!is_asleep()) std::this_thread::yield();
    reader.close();
    reading.join();
    REQUIRE(is(error, std::errc::bad_file_descriptor));
}

TEST_CASE("a static object's destructor waits for a pipe as others do", "[os][pipe]") {
    const auto outcome = waiting_at_exit.run();
    INFO(outcome.describe());
    REQUIRE(outcome.exited_with(0));
}

namespace {

/// Writes until that ends at its deadline.
template <class Writer>
void gives_up(Writer& writer) {
    const std::string text(100'000, 'x');
    std::error_code error;
    while (!error) error = error_of([&] { writer.write_all(text, 1ms); });
    REQUIRE(is(error, std::errc::timed_out));
    REQUIRE((::fcntl(writer.fd(), F_GETFL) & O_NONBLOCK) == 0);
}

}  // namespace

TEST_CASE("a write to a terminal that nobody reads ends at its deadline", "[os][pipe]") {
    const auto by_pipe = [] {
        Terminal terminal;
        PipeWriter writer{terminal.slave.release()};
        gives_up(writer);
    };
    const auto by_file = [] {
        Terminal terminal;
        File file{terminal.slave.release()};
        gives_up(file);
    };
    by_pipe();
    by_file();
    on_workers_and_io([&] {
        by_pipe();
        by_file();
    });
}

TEST_CASE("a write to a FIFO of others that nobody reads ends at its deadline", "[os][pipe]") {
    on_workers_and_io([] {
        auto [reader, writer] = blocking_pipe(true);
        gives_up(writer);
        auto [other, kept] = blocking_pipe(true);
        File file{kept.release()};
        gives_up(file);
    });
}

TEST_CASE("while a terminal takes what it is told its worker runs others", "[os][pipe]") {
    on_workers_and_io([] {
        Terminal terminal;
        PipeReader master{terminal.master.release()};
        PipeWriter slave{terminal.slave.release()};
        const std::string text(50'000, 'x');
        auto telling = weft::spawn([&] { slave.write_all(text); });
        std::vector<std::byte> got(text.size());
        REQUIRE(master.read_exactly(got) == got.size());
        telling.get();
    });
}

namespace {

/// A thread and a fiber read what is written to `out`, line by line, until `end()`.
template <class End>
void read_by_two(const Fd& in, const Fd& out, End&& end) {
    PipeReader reader{::dup(in)};
    std::atomic<int> lines{0};
    std::thread rival{[&] {
        std::array<char, 16> line{};
        while (::read(in, line.data(), line.size()) > 1) ++lines;
    }};
    auto reading = weft::spawn([&] {
        std::array<std::byte, 16> line{};
        while (reader.read(line) > 1) ++lines;
    });
    // Were the worker kept by a read in vain, nobody would write the next one.
    for (int i = 1; i <= 200; ++i) {
        put(out, "x\n");
        while (lines < i) weft::this_fiber::yield();
    }
    end();
    reading.get();
    rival.join();
}

}  // namespace

TEST_CASE("who reads a terminal or a FIFO that others read, too, keeps no worker", "[os][pipe]") {
    on_workers_and_io([] {
        Terminal terminal;
        read_by_two(terminal.slave, terminal.master, [&] {
            put(terminal.master, "\n");  // for each
            put(terminal.master, "\n");
        });
        auto [reader, writer] = blocking_pipe(true);
        const Fd in{reader.release()};
        ::fcntl(in, F_SETFL, 0);
        Fd out{writer.release()};
        read_by_two(in, out, [&] { out.reset(); });
    });
}
