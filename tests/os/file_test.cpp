#include "support/busy_threads.hpp"
#include "support/catch.hpp"
#include "support/namespaces.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/directory.hpp>
#include <weft/io/file.hpp>
#include <weft/io/file_system.hpp>
#include <weft/io/unix.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::io::Advice;
using weft::io::Allocate;
using weft::io::ConstBuffer;
using weft::io::File;
using weft::io::FileLock;
using weft::io::MutableBuffer;
using weft::io::OpenMode;
using weft::io::SeekFrom;

namespace {

std::string text_of(File& file, std::size_t most = 100) {
    std::string text(most, '\0');
    text.resize(file.read(std::as_writable_bytes(std::span{text})));
    return text;
}

/// The text of what `body` throws.
template <class Body>
std::string complaint_of(Body&& body) {
    try {
        body();
    } catch (const std::system_error& error) {
        return error.what();
    }
    return {};
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
}

constexpr OpenMode fresh = OpenMode::read | OpenMode::write | OpenMode::create | OpenMode::truncate;

}  // namespace

TEST_CASE("what is written is read back", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        const auto data = pattern(1'000'000);
        file.write_all(std::span{data});
        REQUIRE(file.size() == data.size());
        file.seek(0);
        std::vector<std::byte> got(data.size() + 10);
        REQUIRE(file.read_exactly(got) == data.size());
        got.resize(data.size());
        REQUIRE(got == data);
        REQUIRE(file.read(got) == 0);
        file.sync();
        file.sync_data();
    });
}

TEST_CASE("pread and pwrite leave the position alone", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        file.write_all("0123456789");
        REQUIRE(file.pwrite(bytes_of("abc"), 4) == 3);
        std::array<std::byte, 4> four;
        REQUIRE(file.pread(four, 3) == 4);
        REQUIRE(std::string(reinterpret_cast<char*>(four.data()), 4) == "3abc");
        file.write_all("!");
        file.seek(0);
        REQUIRE(text_of(file) == "0123abc789!");
        REQUIRE(file.pread(four, 1000) == 0);
        REQUIRE(file.pwrite(bytes_of("end"), 20) == 3);
        REQUIRE(file.size() == 23);
    });
}

TEST_CASE("append goes to the end, whatever the position", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        File::open(scratch.path(), fresh).write_all("one");
        auto file = File::open(scratch.path(), OpenMode::read | OpenMode::append);
        file.seek(0);
        file.write_all(" two");
        file.seek(0);
        REQUIRE(text_of(file) == "one two");
    });
}

TEST_CASE("opening fails by name", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        try {
            File::open(scratch.path());
            FAIL("opened");
        } catch (const std::system_error& error) {
            REQUIRE(is(error.code(), std::errc::no_such_file_or_directory));
            REQUIRE(std::string{error.what()}.find(scratch.path()) != std::string::npos);
        }
        const OpenMode only_new = OpenMode::write | OpenMode::create | OpenMode::exclusive;
        File::open(scratch.path(), only_new);
        REQUIRE(
            is(error_of([&] { File::open(scratch.path(), only_new); }), std::errc::file_exists));
        REQUIRE(is(error_of([&] { File::open(scratch.directory(), OpenMode::write); }),
                   std::errc::is_a_directory));
        REQUIRE_THROWS_AS(File::open(scratch.path(), OpenMode::create), std::invalid_argument);
        REQUIRE_THROWS_AS(File::open(std::string_view{"a\0b", 3}), std::invalid_argument);
    });
}

TEST_CASE("a status tells size, mode, time and kind", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto before = std::chrono::system_clock::now();
        auto file = File::open(scratch.path(), fresh, 0600);
        file.write_all("12345");
        for (const auto& status : {file.status(), weft::io::status(scratch.path())}) {
            REQUIRE(status.size == 5);
            REQUIRE(status.mode == 0600);
            REQUIRE(status.is_regular());
            REQUIRE_FALSE(status.is_directory());
            REQUIRE(status.links == 1);
            REQUIRE(status.user == ::getuid());
            REQUIRE(status.modified > before - 5s);
            REQUIRE(status.modified < before + 60s);
            REQUIRE(status.born.value_or(before) > before - 5s);
            REQUIRE(status.born.value_or(before) < before + 60s);
        }
        REQUIRE(weft::io::status(scratch.directory()).is_directory());
        REQUIRE(is(error_of([&] { weft::io::status(scratch.directory() + "/nothing"); }),
                   std::errc::no_such_file_or_directory));
    });
}

TEST_CASE("what is not in the cache is read all the same", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto data = pattern(300'000);
        {
            auto file = File::open(scratch.path(), fresh);
            file.write_all(std::span{data});
            file.sync();
            ::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED);
        }
        auto file = File::open(scratch.path());
        std::vector<std::byte> got(data.size());
        REQUIRE(file.read_exactly(got) == data.size());
        REQUIRE(got == data);
    });
}

TEST_CASE("many fibers read and write one file at once", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        constexpr std::size_t block = 4096;
        const auto data = pattern(64 * block);
        std::vector<weft::Fiber<bool>> fibers;
        for (std::size_t i = 0; i < 64; ++i) {
            fibers.push_back(weft::spawn([&, i] {
                const auto mine = std::span{data}.subspan(i * block, block);
                if (file.pwrite(mine, i * block) != block) return false;
                std::vector<std::byte> got(block);
                return file.pread(got, i * block) == block &&
                       std::equal(got.begin(), got.end(), mine.begin());
            }));
        }
        for (auto& fiber : fibers) REQUIRE(fiber.get());
    });
}

TEST_CASE("closed, wrongly opened and full files are errors", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), OpenMode::write | OpenMode::create);
        std::array<std::byte, 1> byte;
        REQUIRE(is(error_of([&] { file.read(byte); }), std::errc::bad_file_descriptor));
        file.close();
        REQUIRE(is(error_of([&] { file.write_all("x"); }), std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&] { file.status(); }), std::errc::bad_file_descriptor));
        REQUIRE(is(error_of([&] { file.sync(); }), std::errc::bad_file_descriptor));
        REQUIRE(
            is(error_of([&] { file.link(scratch.path("link")); }), std::errc::bad_file_descriptor));
        auto full = File::open("/dev/full", OpenMode::write);
        REQUIRE(is(error_of([&] { full.write_all("x"); }), std::errc::no_space_on_device));
    });
}

TEST_CASE("a cancelled fiber does not begin to read a file", "[os][file][cancel]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        file.write_all("text");
        std::atomic<bool> go{false};
        auto fiber = weft::spawn([&] {
            while (!go) weft::this_fiber::yield();
            std::array<std::byte, 1> byte;
            file.pread(byte, 0);
        });
        fiber.cancel();
        go = true;
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}

TEST_CASE("a pipe can be read as a file; its reader waits, gives up, is cancelled and closed",
          "[os][file]") {
    on_workers_and_io([] {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        File out{ends[0]};
        File in{ends[1]};
        auto reader = weft::spawn([&] { return text_of(out); });
        until_in_flight(1);
        in.write_all("through");
        REQUIRE(reader.get() == "through");

        std::array<std::byte, 1> byte;
        REQUIRE(is(error_of([&] { out.read(byte, 1ms); }), std::errc::timed_out));
        auto cancelled = weft::spawn([&] { text_of(out); });
        until_in_flight(1);
        cancelled.cancel();
        REQUIRE_THROWS_AS(cancelled.get(), weft::Cancelled);
        auto closed = weft::spawn([&] { return error_of([&] { text_of(out); }); });
        until_in_flight(1);
        out.close();
        REQUIRE(is(closed.get(), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("a FIFO that was opened not to wait is waited for all the same", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string path = scratch.path() + ".fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        File fifo{::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC)};
        REQUIRE(::unlink(path.c_str()) == 0);
        auto reader = weft::spawn([&] { return text_of(fifo); });
        until_in_flight(1);
        REQUIRE(::write(fifo.fd(), "later", 5) == 5);
        REQUIRE(reader.get() == "later");
        std::array<std::byte, 1> byte;
        REQUIRE(is(error_of([&] { fifo.read(byte, 1ms); }), std::errc::timed_out));
    });
}

TEST_CASE("plain threads use files too", "[os][file]") {
    const Scratch scratch;
    auto file = File::open(scratch.path(), fresh);
    file.write_all("plain");
    file.sync();
    file.seek(0);
    REQUIRE(text_of(file) == "plain");
    REQUIRE(weft::io::status(scratch.path()).size == 5);
    REQUIRE(is(error_of([&] { File::open(scratch.path() + "x"); }),
               std::errc::no_such_file_or_directory));
}

TEST_CASE("several buffers are read and written as one", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        const ConstBuffer out[] = {{"abc", 3}, {nullptr, 0}, {"defgh", 5}, {"ij", 2}};
        REQUIRE(file.write(out) == 10);
        REQUIRE(file.pwrite(std::span{out}.last(2), 1) == 7);
        char one[4] = {};
        char other[8] = {};
        const MutableBuffer in[] = {{one, 3}, {other, 7}};
        REQUIRE(file.pread(in, 0) == 10);
        REQUIRE(std::string_view{one} == "ade");
        REQUIRE(std::string_view{other, 7} == "fghijij");
        REQUIRE(file.tell() == 10);
        file.seek(0);
        REQUIRE(file.read(in) == 10);

        // More than one call takes.
        std::vector<ConstBuffer> many(40, ConstBuffer{"0123456789", 10});
        file.truncate(0);
        file.seek(0);
        file.write_all(many);
        REQUIRE(file.size() == 400);
        REQUIRE(file.tell() == 400);
    });
}

TEST_CASE("the position is set from either end, to data and to holes", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        constexpr std::uint64_t far = 1 << 20;
        file.pwrite_all(bytes_of("here"), far);
        REQUIRE(file.seek(-2, SeekFrom::end) == far + 2);
        REQUIRE(text_of(file) == "re");
        REQUIRE(file.seek(-3, SeekFrom::current) == far + 1);
        REQUIRE(file.tell() == far + 1);
        REQUIRE(file.seek(0, SeekFrom::data) == far);
        REQUIRE(file.seek(0, SeekFrom::hole) == 0);
        REQUIRE(is(error_of([&] { file.seek(far + 4, SeekFrom::data); }),
                   std::errc::no_such_device_or_address));
        REQUIRE(is(error_of([&] { file.seek(-1); }), std::errc::invalid_argument));
    });
}

TEST_CASE("a file is cut, grows and has holes", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        file.allocate(0, 65536, Allocate::keep_size);
        REQUIRE(file.size() == 0);
        REQUIRE(file.status().allocated == 65536);
        file.allocate(0, 65536);
        REQUIRE(file.size() == 65536);
        file.pwrite_all(bytes_of("text"), 4096);
        file.allocate(4096, 4096, Allocate::punch_hole);
        std::array<std::byte, 4> four;
        REQUIRE(file.pread_exactly(four, 4096) == 4);
        REQUIRE(four == std::array<std::byte, 4>{});
        REQUIRE(file.status().allocated == 65536 - 4096);
        file.truncate(6);
        REQUIRE(file.size() == 6);
        file.truncate(std::uint64_t{5} << 32);
        REQUIRE(file.size() == std::uint64_t{5} << 32);
        for (const Advice advice : {Advice::normal, Advice::random, Advice::sequential,
                                    Advice::will_need, Advice::dont_need}) {
            file.advise(advice, 0, advice == Advice::dont_need ? std::uint64_t{5} << 32 : 0);
        }
        file.write_back();
        file.write_back(0, std::uint64_t{5} << 32);
        REQUIRE(is(error_of([&] { file.allocate(0, 0); }), std::errc::invalid_argument));
        REQUIRE(is(error_of([&] { file.truncate(UINT64_MAX); }), std::errc::value_too_large));
    });
}

TEST_CASE("each error has the operation and the path", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string path = scratch.path();
        auto file = File::open(path, OpenMode::write | OpenMode::create);
        REQUIRE(file.path() == path);
        std::array<std::byte, 1> byte;
        REQUIRE(contains(complaint_of([&] { file.read(byte); }), "read \"" + path + '"'));
        REQUIRE(contains(complaint_of([&] { file.seek(-1); }), "seek in \"" + path + '"'));
        REQUIRE(contains(complaint_of([&] { file.allocate(0, 0); }), '"' + path + '"'));
        file.close();
        REQUIRE(contains(complaint_of([&] { file.sync(); }), "sync \"" + path + '"'));
        REQUIRE(contains(complaint_of([&] { file.status(); }), '"' + path + '"'));
        REQUIRE(contains(complaint_of([&] { File{}.write_all("x"); }), "write a file"));
    });
}

TEST_CASE("a range may be larger than any file", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        file.write_all("some");
        file.advise(Advice::will_need, 1, UINT64_MAX);
        file.advise(Advice::will_need, std::uint64_t{1} << 62, std::uint64_t{1} << 62);
        file.write_back(0, UINT64_MAX);
        const auto complaint = complaint_of([&] { file.advise(Advice::normal, UINT64_MAX, 1); });
        REQUIRE(contains(complaint, scratch.path()));
        std::array<std::byte, 1> byte;
        REQUIRE(contains(complaint_of([&] { file.pread(byte, UINT64_MAX); }),
                         "read \"" + scratch.path() + '"'));
    });
}

TEST_CASE("what always has more, or takes more, is left at the deadline", "[os][file]") {
    on_workers_and_io([] {
        using weft::Deadline;
        const Deadline over{Deadline::Clock::time_point{}};
        auto zeros = File::open("/dev/zero", OpenMode::read);
        auto nothing = File::open("/dev/null", OpenMode::write);
        const auto copy = [&] { zeros.copy_range(0, std::uint64_t{1} << 50, nothing, 0, 1ms); };
        REQUIRE(is(error_of(copy), std::errc::timed_out));
        const auto read = [] { weft::io::read_file("/dev/zero", 1ms); };
        REQUIRE(is(error_of(read), std::errc::timed_out));
        const auto data = pattern(1000);
        const std::vector<weft::io::ConstBuffer> many(100, {data.data(), data.size()});
        const auto write = [&] { nothing.write_all(std::span{many}, over); };
        REQUIRE(is(error_of(write), std::errc::timed_out));
    });
}

TEST_CASE("past the page cache what is aligned is read back, what is not is explained",
          "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh | OpenMode::direct);
        constexpr std::size_t block = 4096;
        const auto aligned = [](std::vector<std::byte>& from) {
            void* at = from.data();
            std::size_t room = from.size();
            return std::span{static_cast<std::byte*>(std::align(block, 4 * block, at, room)),
                             4 * block};
        };
        auto data = pattern(5 * block);
        std::vector<std::byte> memory(5 * block);
        file.write_all(aligned(data));
        REQUIRE(file.pread_exactly(aligned(memory), 0) == 4 * block);
        REQUIRE(std::ranges::equal(aligned(data), aligned(memory)));
        REQUIRE(file.status().direct_memory > 0);
        REQUIRE(file.status().direct_offset > 0);

        const auto complaint =
            complaint_of([&] { file.pread(aligned(memory).subspan(1, block), 1); });
        REQUIRE(contains(complaint,
                         "offsets and lengths of " + std::to_string(file.status().direct_offset)));
        REQUIRE_FALSE(contains(complaint_of([&] { file.seek(-1); }), "past the page cache"));
    });
}

TEST_CASE("a range that no block ends with is copied from a file past the page cache",
          "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto data = pattern(10'000);
        File::open(scratch.path(), fresh).write_all(std::span{data});
        File from;
        const auto error =
            error_of([&] { from = File::open(scratch.path(), OpenMode::read | OpenMode::direct); });
        if (error) SKIP("there is no way past the page cache");
        // By the kernel, if it can, and by us.
        for (const OpenMode mode : {fresh, OpenMode::append | OpenMode::create}) {
            for (const std::size_t length : {std::size_t{9'000}, data.size()}) {
                weft::io::write_file(scratch.path("copy"), "");
                auto copy = File::open(scratch.path("copy"), mode);
                REQUIRE(from.copy_range(0, length, copy, 0) == length);
                const std::string got = weft::io::read_file(scratch.path("copy"));
                REQUIRE(std::ranges::equal(std::as_bytes(std::span{got}),
                                           std::span{data}.first(length)));
            }
        }
    });
}

TEST_CASE("a file without a name gets one when it is complete", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.directory(), OpenMode::write | OpenMode::nameless);
        file.write_all("complete");
        REQUIRE(file.status().links == 0);
        REQUIRE_FALSE(weft::io::exists(scratch.path()));
        file.link(scratch.path());
        REQUIRE(weft::io::read_file(scratch.path()) == "complete");
        REQUIRE(is(error_of([&] { file.link(scratch.path()); }), std::errc::file_exists));
    });
}

TEST_CASE("who closes the last of a large file lets others run meanwhile", "[os][file][close]") {
    for (const auto io : available_io()) {
        weft::run(
            [] {
                const Scratch scratch;
                const auto others_run_while_closing = [&](std::size_t size, bool by_destructor) {
                    auto file =
                        File::open(scratch.directory(), OpenMode::write | OpenMode::nameless);
                    const auto data = pattern(size);
                    file.write_all(std::span{data});
                    std::atomic<bool> ran{false};
                    auto other = weft::spawn([&] { ran = true; });
                    by_destructor ? void(file = File{}) : file.close();
                    const bool ran_meanwhile = ran;
                    other.join();
                    return ran_meanwhile;
                };
                // The thread may be done before its fiber is about to wait, but not each time.
                while (!others_run_while_closing(4 << 20, false)) {
                }
                while (!others_run_while_closing(4 << 20, true)) {
                }
                REQUIRE_FALSE(others_run_while_closing(4 << 10, false));
            },
            {.workers = 1, .io = io});
    }
}

TEST_CASE("permissions, owner and times of an open file are set", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        file.permissions(0640);
        REQUIRE(file.status().mode == 0640);
        const auto before = file.status();
        file.owner(-1, -1);
        REQUIRE(file.status().user == before.user);
        if (::geteuid() == 0) {
            file.owner(65'533, 65'534);
            REQUIRE(file.status().user == 65'533);
            REQUIRE(file.status().group == 65'534);
        }
        using Time = weft::io::FileStatus::Time;
        const Time before_1970{-1500ms};
        const Time later{std::chrono::seconds{1'000'000'000} + 7ns};
        file.times(before_1970, later);
        REQUIRE(file.status().accessed == before_1970);
        REQUIRE(file.status().modified == later);
        file.times(std::nullopt, before_1970);
        REQUIRE(file.status().modified == before_1970);
        REQUIRE(file.status().accessed == before_1970);
        file.close();
        REQUIRE(is(error_of([&] { file.permissions(0600); }), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("a range is copied, to a file, to one opened with append, from one that tells no size",
          "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto data = pattern(1'000'000);
        auto from = File::open(scratch.path(), fresh);
        from.write_all(std::span{data});
        auto to = File::open(scratch.path("copy"), fresh);
        REQUIRE(from.copy_range(100, 500'000, to, 7) == 500'000);
        REQUIRE(from.copy_range(900'000, 500'000, to, 500'007) == 100'000);
        REQUIRE(from.copy_range(900'000, UINT64_MAX, to, 500'007) == 100'000);
        std::vector<std::byte> got(600'000);
        REQUIRE(to.pread_exactly(got, 7) == got.size());
        REQUIRE(std::equal(got.begin(), got.begin() + 500'000, data.begin() + 100));
        REQUIRE(std::equal(got.begin() + 500'000, got.end(), data.begin() + 900'000));
        REQUIRE(from.tell() == data.size());

        auto appended = File::open(scratch.path("log"), OpenMode::append | OpenMode::create);
        REQUIRE(from.copy_range(0, 5, appended, 0) == 5);
        REQUIRE(from.copy_range(0, 5, appended, 0) == 5);
        REQUIRE(appended.size() == 10);

        auto told = File::open("/proc/self/status");
        REQUIRE(told.copy_range(0, 100'000, to, 0) > 100);
        auto read_only = File::open(scratch.path());
        REQUIRE(is(error_of([&] { from.copy_range(0, 5, read_only, 0); }),
                   std::errc::bad_file_descriptor));
    });
}

TEST_CASE("a lock on a file is shared or not, is waited for, and goes with it",
          "[os][file][lock]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto one = File::open(scratch.path(), fresh);
        auto other = File::open(scratch.path());
        REQUIRE(one.lock(FileLock::shared));
        REQUIRE(other.try_lock(FileLock::shared));
        REQUIRE_FALSE(one.try_lock());
        REQUIRE_FALSE(one.lock(FileLock::exclusive, 3ms));
        other.unlock();
        REQUIRE(one.lock());
        auto waiter = weft::spawn([&] { return other.lock(); });
        auto cancelled = weft::spawn([path = scratch.path()] { File::open(path).lock(); });
        weft::this_fiber::sleep_for(5ms);
        REQUIRE_FALSE(waiter.done());
        cancelled.cancel();
        REQUIRE_THROWS_AS(cancelled.get(), weft::Cancelled);
        one.close();
        REQUIRE(waiter.get());

        auto third = File::open(scratch.path());
        auto closed = weft::spawn([&] { return error_of([&] { third.lock(); }); });
        weft::this_fiber::sleep_for(3ms);
        third.close();
        REQUIRE(is(closed.get(), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("a lock on a file is waited for no longer than asked, though no thread is free",
          "[os][file][lock][deadline]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        {
            const BusyThreads busy;
            REQUIRE_FALSE(file.lock(FileLock::exclusive, 5ms));
        }
        REQUIRE(file.try_lock());
    });
}

// Through io_uring most of these need no thread: there they may be quicker than the deadline.
TEST_CASE("what a file is to do is given up at its deadline, and then was not done",
          "[os][file][deadline]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        file.write_all("as it was");
        auto to = File::open(scratch.path("to"), fresh);
        struct Call {
            const char* name;
            std::function<void(Deadline)> make;
        };
        const Call calls[] = {
            {"open", [&](Deadline d) { File::open(scratch.path("new"), fresh, 0600, d); }},
            {"truncate", [&](Deadline d) { file.truncate(1, d); }},
            {"allocate", [&](Deadline d) { file.allocate(0, 9000, Allocate::extend, d); }},
            {"sync", [&](Deadline d) { file.sync(d); }},
            {"sync_data", [&](Deadline d) { file.sync_data(d); }},
            {"write_back", [&](Deadline d) { file.write_back(0, 0, d); }},
            {"advise", [&](Deadline d) { file.advise(Advice::will_need, 0, 0, d); }},
            {"copy_range", [&](Deadline d) { file.copy_range(0, 9, to, 0, d); }},
            {"link", [&](Deadline d) { file.link(scratch.path("link"), d); }},
        };
        const bool by_threads = weft::Runtime::current().io() == weft::Io::epoll;
        {
            const BusyThreads busy;
            for (const Call& call : calls) {
                INFO(call.name);
                const auto error = error_of([&] { call.make(1ms); });
                REQUIRE((is(error, std::errc::timed_out) || (!by_threads && !error)));
                const auto passed = error_of([&] { call.make(Deadline::Clock::time_point{}); });
                REQUIRE((is(passed, std::errc::timed_out) || !by_threads));
            }
            REQUIRE((to.size() == 0 && file.status().links <= (by_threads ? 1u : 2u)));
            if (by_threads) REQUIRE(file.size() == 9);
        }
        if (by_threads) REQUIRE(weft::io::list_directory(scratch.directory()).size() == 2);
    });
}

TEST_CASE("a part of a file is made zeros", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        auto file = File::open(scratch.path(), fresh);
        file.write_all(std::string(12'288, 'x'));
        const auto error = error_of([&] { file.allocate(4096, 4096, Allocate::zero); });
        // Some file systems cannot, and say so.
        REQUIRE((!error || is(error, std::errc::operation_not_supported)));
        std::vector<std::byte> got(12'288);
        REQUIRE(file.pread_exactly(got, 0) == got.size());
        const auto zeros = static_cast<std::size_t>(std::ranges::count(got, std::byte{0}));
        REQUIRE(zeros == (error ? 0 : 4096));
        REQUIRE((error || got[4096] == std::byte{0}));
    });
}

TEST_CASE("what a file is opened with is what the system says of it", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto flags_with = [&](OpenMode mode) {
            auto file = File::open(scratch.path(), fresh | mode);
            file.write_all("text");
            return ::fcntl(file.fd(), F_GETFL);
        };
        REQUIRE((flags_with(OpenMode::read) & O_SYNC) == 0);
        REQUIRE((flags_with(OpenMode::sync_data) & O_SYNC) == O_DSYNC);
        REQUIRE((flags_with(OpenMode::sync) & O_SYNC) == O_SYNC);

        weft::io::symlink(scratch.path(), scratch.path("link"));
        REQUIRE(weft::io::read_file(scratch.path("link")) == "text");
        REQUIRE(is(error_of([&] {
                       File::open(scratch.path("link"), OpenMode::read | OpenMode::no_follow);
                   }),
                   std::errc::too_many_symbolic_link_levels));
    });
}

TEST_CASE("opening a FIFO waits for its other end, and keeps no worker", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string path = scratch.path();
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        const auto read = [&] {
            auto file = File::open(path);
            CHECK((::fcntl(file.fd(), F_GETFL) & O_NONBLOCK) == 0);
            return text_of(file);
        };
        auto first = weft::spawn(read);
        until_in_flight(1);
        REQUIRE_FALSE(first.done());
        File::open(path, OpenMode::write).write_all("through");
        REQUIRE(first.get() == "through");

        auto writer = weft::spawn([&] { File::open(path, OpenMode::append).write_all("again"); });
        weft::this_fiber::sleep_for(3ms);
        REQUIRE_FALSE(writer.done());
        REQUIRE(read() == "again");
        writer.get();

        auto late = weft::spawn(read);
        int fd = -1;
        while (fd < 0) {
            fd = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            weft::this_fiber::yield();
        }
        REQUIRE(::write(fd, "gone", 4) == 4);
        ::close(fd);
        REQUIRE(late.get() == "gone");
    });
}

TEST_CASE("a FIFO without another end is given up, and told from what is not there", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string path = scratch.path();
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        const std::size_t before = open_fds();
        for (const OpenMode mode : {OpenMode::read, OpenMode::write}) {
            REQUIRE(is(error_of([&] { File::open(path, mode, 0, 3ms); }), std::errc::timed_out));
            auto cancelled = weft::spawn([&] { File::open(path, mode); });
            weft::this_fiber::yield();
            cancelled.cancel();
            REQUIRE_THROWS_AS(cancelled.get(), weft::Cancelled);
        }
        REQUIRE(open_fds() == before);
        weft::io::UnixListener socket{weft::io::UnixAddress{scratch.path("socket")}};
        REQUIRE(is(error_of([&] { File::open(scratch.path("socket"), OpenMode::write); }),
                   std::errc::no_such_device_or_address));
    });
}

TEST_CASE("plain threads wait for the other end of a FIFO, too", "[os][file]") {
    const Scratch scratch;
    REQUIRE(::mkfifo(scratch.path().c_str(), 0600) == 0);
    REQUIRE(is(error_of([&] { File::open(scratch.path(), OpenMode::read, 0, 3ms); }),
               std::errc::timed_out));
    std::thread writer{[&] { File::open(scratch.path(), OpenMode::write).write_all("through"); }};
    auto file = File::open(scratch.path());
    CHECK(text_of(file) == "through");
    writer.join();
}

TEST_CASE("on plain threads a write to a FIFO ends at its deadline", "[os][file][deadline]") {
    const Scratch scratch;
    REQUIRE(::mkfifo(scratch.path().c_str(), 0600) == 0);
    auto both = File::open(scratch.path(), OpenMode::read | OpenMode::write);
    auto file = File::open(scratch.path(), OpenMode::write);
    const auto data = pattern(1 << 20);
    std::size_t written = 0;
    std::error_code error;
    while (!error) error = error_of([&] { written += file.write(data, 1ms); });
    REQUIRE(is(error, std::errc::timed_out));
    REQUIRE(written > 0);
    std::vector<std::byte> got(written);
    REQUIRE(both.read_exactly(got) == written);
    REQUIRE(got[4095] == data[4095]);
}

TEST_CASE("nothing of a file is left open", "[os][file]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto use = [&] {
            auto file = File::open(scratch.path(), fresh);
            file.write_all("text");
            auto copy = File::open(scratch.path("copy"), fresh);
            file.copy_range(0, 4, copy, 0);
            error_of([&] { File::open(scratch.path("none")); });
            weft::io::list_directory(scratch.directory());
            weft::io::read_file(scratch.path());
        };
        use();
        const std::size_t before = open_fds();
        for (int i = 0; i < 20; ++i) use();
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("short reads and writes go on where they stopped", "[os][file]") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        INFO("seed: " << seed);
        const auto main = [seed] {
            const Scratch scratch;
            const auto data = pattern(100'000, static_cast<std::uint32_t>(seed + 1));
            const ConstBuffer parts[] = {{data.data(), 10}, {data.data() + 10, data.size() - 10}};
            auto file = File::open(scratch.path(), fresh);
            file.write_all(std::span{data});
            REQUIRE(file.tell() == data.size());
            file.write_all(parts);
            file.pwrite_all(std::span{data}, 2 * data.size());
            std::vector<std::byte> got(3 * data.size() + 1);
            file.seek(0);
            got.resize(file.read_exactly(got));
            REQUIRE(got.size() == 3 * data.size());
            for (std::size_t at = 0; at < got.size(); at += data.size()) {
                REQUIRE(std::equal(data.begin(), data.end(), got.begin() + at));
            }
        };
        weft::simulate(seed, main, {.short_percent = 70, .delay_percent = 30});
    }
}

// --- in a process of its own ---

namespace {

const Child file_that_is_too_large{
    "file that is too large", [] {
        const Scratch scratch;
        const rlimit limit{100'000, 100'000};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        Expectations all;
        const auto fill = [&] {
            auto file = File::open(scratch.path(), fresh);
            const auto data = pattern(150'000);
            const auto error = error_of([&] { file.write_all(std::span{data}); });
            all.expect(is(error, std::errc::file_too_large), "write_all: " + error.message());
            all.expect(file.size() == 100'000, "size: " + std::to_string(file.size()));
            const auto longer = error_of([&] { file.truncate(200'000); });
            all.expect(is(longer, std::errc::file_too_large), "truncate: " + longer.message());
        };
        for (const weft::Io io : available_io()) weft::run(fill, {.workers = 2, .io = io});
        return all.wrong();
    }};

const Child disk_that_is_full{
    "disk that is full", [] {
        const Scratch scratch;
        if (!mount_small_disk(scratch.directory(), "256k")) return not_permitted;
        Expectations all;
        const auto fill = [&] {
            auto file = File::open(scratch.path(), fresh);
            const auto data = pattern(400'000);
            const auto full = error_of([&] { file.write_all(std::span{data}); });
            all.expect(is(full, std::errc::no_space_on_device), "write_all: " + full.message());
            std::vector<std::byte> got(400'000);
            got.resize(file.pread_exactly(got, 0));
            all.expect(got.size() >= 200'000, "room for " + std::to_string(got.size()));
            all.expect(std::equal(got.begin(), got.end(), data.begin()), "what fits is there");
            const auto more = error_of([&] { file.allocate(0, 400'000); });
            all.expect(is(more, std::errc::no_space_on_device), "allocate: " + more.message());
            // And a place that gets free can be written.
            file.truncate(0);
            file.pwrite_all(std::span{data}.first(100'000), 0);
            // What is copied there, by the kernel or by us, meets the same.
            for (const OpenMode mode : {fresh, OpenMode::append | OpenMode::create}) {
                auto copy = File::open(scratch.path("copy"), mode);
                const auto first = file.copy_range(0, 100'000, copy, 0);
                all.expect(first == 100'000, "copied " + std::to_string(first));
                const auto error = error_of([&] { file.copy_range(0, 100'000, copy, 100'000); });
                all.expect(is(error, std::errc::no_space_on_device), "copy: " + error.message());
                weft::io::remove(scratch.path("copy"));
            }
            weft::io::remove(scratch.path());
        };
        for (const weft::Io io : available_io()) weft::run(fill, {.workers = 2, .io = io});
        ::umount(scratch.directory().c_str());
        return all.wrong();
    }};

}  // namespace

TEST_CASE("what exceeds the limit of a file's size is an error, not the end", "[os][file]") {
    const auto outcome = file_that_is_too_large.run();
    INFO(outcome.describe());
    REQUIRE(outcome.exited_with(0));
}

TEST_CASE("a full disk is an error that says where", "[os][file]") {
    const auto outcome = disk_that_is_full.run();
    INFO(outcome.describe());
    if (outcome.exited_with(not_permitted)) SKIP("no namespaces of one's own are to be had");
    REQUIRE(outcome.exited_with(0));
}
