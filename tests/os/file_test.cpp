#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/io/file.hpp>

#include <array>
#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::File;
using weft::io::OpenMode;

namespace {

/// A name in a directory of its own, which goes with it.
class Scratch {
public:
    Scratch() {
        char name[] = "/tmp/weft-file-test-XXXXXX";
        directory_ = ::mkdtemp(name);
    }
    ~Scratch() {
        ::unlink(path().c_str());
        ::rmdir(directory_.c_str());
    }
    std::string path() const { return directory_ + "/file"; }
    const std::string& directory() const { return directory_; }

private:
    std::string directory_;
};

std::string text_of(File& file, std::size_t most = 100) {
    std::string text(most, '\0');
    text.resize(file.read(std::as_writable_bytes(std::span{text})));
    return text;
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
        for (const auto& status : {file.status(), File::status_of(scratch.path())}) {
            REQUIRE(status.size == 5);
            REQUIRE(status.mode == 0600);
            REQUIRE(status.is_regular);
            REQUIRE_FALSE(status.is_directory);
            REQUIRE(status.modified > before - 5s);
            REQUIRE(status.modified < before + 60s);
        }
        REQUIRE(File::status_of(scratch.directory()).is_directory);
        REQUIRE(is(error_of([&] { File::status_of(scratch.directory() + "/nothing"); }),
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

TEST_CASE("plain threads use files too", "[os][file]") {
    const Scratch scratch;
    auto file = File::open(scratch.path(), fresh);
    file.write_all("plain");
    file.sync();
    file.seek(0);
    REQUIRE(text_of(file) == "plain");
    REQUIRE(File::status_of(scratch.path()).size == 5);
    REQUIRE(is(error_of([&] { File::open(scratch.path() + "x"); }),
               std::errc::no_such_file_or_directory));
}
