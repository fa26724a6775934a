#include "support/busy_threads.hpp"
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"

#include <weft/fiber.hpp>
#include <weft/io/directory.hpp>
#include <weft/io/file_system.hpp>
#include <weft/this_fiber.hpp>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>

namespace io = weft::io;
using namespace std::chrono_literals;
using namespace weft::test;
using io::Rename;

TEST_CASE("a name is moved over another, beside it, or for it", "[os][file_system]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string one = scratch.path("one");
        const std::string other = scratch.path("other");
        io::write_file(one, "1");
        io::rename(one, other);
        REQUIRE_FALSE(io::exists(one));
        io::write_file(one, "2");
        REQUIRE(is(error_of([&] { io::rename(one, other, Rename::no_replace); }),
                   std::errc::file_exists));
        io::rename(one, other, Rename::exchange);
        REQUIRE(io::read_file(one) == "1");
        REQUIRE(io::read_file(other) == "2");
        io::rename(one, other);
        REQUIRE(io::read_file(other) == "1");
        REQUIRE(is(error_of([&] { io::rename(one, other, Rename::exchange); }),
                   std::errc::no_such_file_or_directory));
    });
}

TEST_CASE("names are added and removed", "[os][file_system]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string file = scratch.path("file");
        io::write_file(file, "text", 0640);
        io::link(file, scratch.path("second"));
        REQUIRE(io::status(file).links == 2);
        REQUIRE(io::status(file).mode == 0640);
        io::symlink("file", scratch.path("soft"));
        REQUIRE(io::read_link(scratch.path("soft")) == "file");
        REQUIRE(io::symlink_status(scratch.path("soft")).is_symlink());
        REQUIRE(io::status(scratch.path("soft")).is_regular());
        io::remove(file);
        io::remove(scratch.path("second"));
        REQUIRE_FALSE(io::exists(scratch.path("soft")));
        io::remove(scratch.path("soft"));
        io::make_directory(file, 0700);
        REQUIRE(is(error_of([&] { io::remove(file); }), std::errc::is_a_directory));
        io::write_file(file + "/in", "");
        REQUIRE(is(error_of([&] { io::remove_directory(file); }), std::errc::directory_not_empty));
        io::remove(file + "/in");
        io::remove_directory(file);
        REQUIRE_FALSE(io::exists(file));
        REQUIRE_FALSE(io::exists("/proc/version/below a file"));
    });
}

TEST_CASE("what a name stands for is given permissions, an owner and times", "[os][file_system]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string path = scratch.path();
        io::write_file(path, "1");
        io::permissions(path, 0604);
        REQUIRE(io::status(path).mode == 0604);
        const auto user = io::status(path).user;
        io::owner(path, -1, -1);
        REQUIRE(io::status(path).user == user);
        const io::FileStatus::Time then{std::chrono::seconds{1'000'000'000}};
        const auto accessed = io::status(path).accessed;
        io::times(path, std::nullopt, then);
        REQUIRE(io::status(path).modified == then);
        REQUIRE(io::status(path).accessed == accessed);
        const std::string gone = scratch.path("gone");
        for (const auto& set : {std::function<void()>{[&] { io::permissions(gone, 0600); }},
                                std::function<void()>{[&] { io::owner(gone, -1, -1); }},
                                std::function<void()>{[&] { io::times(gone, then, then); }}}) {
            REQUIRE(is(error_of(set), std::errc::no_such_file_or_directory));
        }
    });
}

TEST_CASE("a time further away than can be told is told as the last there is",
          "[os][file_system]") {
    const Scratch scratch;
    io::write_file(scratch.path(), "");
    using Time = io::FileStatus::Time;
    const auto is_told = [&](std::int64_t seconds, Time expected) {
        const timespec times[2] = {{seconds, 0}, {seconds, 0}};
        REQUIRE(::utimensat(AT_FDCWD, scratch.path().c_str(), times, 0) == 0);
        struct stat kept {};
        REQUIRE(::stat(scratch.path().c_str(), &kept) == 0);
        // Not all file systems keep such times.
        return kept.st_mtime != seconds || io::status(scratch.path()).modified == expected;
    };
    REQUIRE(is_told(9'000'000'000, Time{std::chrono::seconds{9'000'000'000}}));
    REQUIRE(is_told(10'000'000'000, Time::max()));
    REQUIRE(is_told(-10'000'000'000, Time::min()));
}

TEST_CASE("directories are made as deep as they are to be", "[os][file_system]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string deep = scratch.path("a/b//c/");
        REQUIRE(io::make_directories(deep));
        REQUIRE_FALSE(io::make_directories(deep));
        REQUIRE_FALSE(io::make_directories("/"));
        REQUIRE(io::status(scratch.path("a/b/c")).is_directory());
        io::write_file(scratch.path("file"), "");
        REQUIRE(is(error_of([&] { io::make_directories(scratch.path("file")); }),
                   std::errc::file_exists));
        REQUIRE(is(error_of([&] { io::make_directories(scratch.path("file/below")); }),
                   std::errc::not_a_directory));
        REQUIRE(is(error_of([&] { io::make_directory(scratch.path("x/y")); }),
                   std::errc::no_such_file_or_directory));
        // Where nothing can be made the system says so as if a parent was missing.
        for (const char* nowhere : {"/proc/weft_test/x", "/proc/self/weft_test/x/y"}) {
            REQUIRE(is(error_of([&] { io::make_directories(nowhere); }),
                       std::errc::no_such_file_or_directory));
        }
        // Nobody else is in the way.
        std::vector<weft::Fiber<bool>> makers;
        for (int i = 0; i < 8; ++i) {
            makers.push_back(
                weft::spawn([&] { return io::make_directories(scratch.path("x/y/z")); }));
        }
        int made = 0;
        for (auto& each : makers) made += each.get() ? 1 : 0;
        REQUIRE(made == 1);
    });
}

TEST_CASE("a file that is larger than asked for is refused", "[os][file_system]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::size_t open_before = open_fds();
        for (const std::size_t size : {0u, 1u, 4095u, 4096u, 4097u, 300'000u}) {
            const std::string text(size, 'x');
            io::write_file(scratch.path(), text);
            REQUIRE(io::read_file(scratch.path(), size) == text);
            REQUIRE(io::read_file(scratch.path(), size + 1) == text);
            REQUIRE(io::read_file(scratch.path(), SIZE_MAX, 10s) == text);
            if (size == 0) continue;
            try {
                io::read_file(scratch.path(), size - 1);
                FAIL("read");
            } catch (const std::system_error& error) {
                REQUIRE(is(error.code(), std::errc::file_too_large));
                const std::string what = error.what();
                REQUIRE(what.find(std::to_string(size - 1) + " bytes") != what.npos);
                REQUIRE(what.find(scratch.path()) != what.npos);
            }
        }
        // These tell no size, and the last has no end.
        // This one says that it has a page.
        REQUIRE(io::read_file("/sys/class/net/lo/mtu", 64).size() < 64);
        const std::size_t status = io::read_file("/proc/self/limits").size();
        REQUIRE(io::read_file("/proc/self/limits", status).size() == status);
        for (const std::size_t most : {std::size_t{0}, std::size_t{1}, status - 1}) {
            REQUIRE(is(error_of([&] { io::read_file("/proc/self/limits", most); }),
                       std::errc::file_too_large));
        }
        REQUIRE(
            is(error_of([] { io::read_file("/dev/zero", 100'000); }), std::errc::file_too_large));
        REQUIRE(open_fds() == open_before);
    });
}

TEST_CASE("whole files are read and written", "[os][file_system]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string large(300'000, 'x');
        io::write_file(scratch.path(), large);
        REQUIRE(io::read_file(scratch.path()) == large);
        io::write_file(scratch.path(), "short");
        REQUIRE(io::read_file(scratch.path()) == "short");
        io::write_file(scratch.path(), "");
        REQUIRE(io::read_file(scratch.path()).empty());
        REQUIRE(io::read_file("/proc/self/maps").size() > 4096);  // tells no size
        REQUIRE(
            is(error_of([&] { io::write_file("/dev/full", "x"); }), std::errc::no_space_on_device));
    });
}

TEST_CASE("an error has the operation and each path", "[os][file_system]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto says = [](auto&& body, std::initializer_list<std::string_view> parts) {
            try {
                body();
                return false;
            } catch (const std::system_error& error) {
                const std::string text = error.what();
                for (const auto& part : parts) {
                    if (text.find(part) == text.npos) return false;
                }
                return true;
            }
        };
        const std::string a = scratch.path("a");
        const std::string b = scratch.path("b");
        REQUIRE(says([&] { io::rename(a, b); }, {"rename", a, b}));
        REQUIRE(says([&] { io::link(a, b); }, {"link", a, b}));
        REQUIRE(says([&] { io::remove(a); }, {"remove", a}));
        REQUIRE(says([&] { io::read_link(a); }, {"link", a}));
        REQUIRE(says([&] { io::read_file(a); }, {"open", a}));
        REQUIRE(says([&] { io::status(a); }, {"status", a}));
        REQUIRE(says([&] { io::make_directory(b + "/c"); }, {"directory", b}));
        REQUIRE_THROWS_AS(io::remove(std::string_view{"a\0b", 3}), std::invalid_argument);
    });
}

TEST_CASE("plain threads work on names too", "[os][file_system]") {
    const Scratch scratch;
    REQUIRE(io::make_directories(scratch.path("a/b")));
    io::write_file(scratch.path("a/b/file"), "plain");
    io::rename(scratch.path("a/b/file"), scratch.path("a/file"), Rename::no_replace);
    io::symlink("file", scratch.path("a/link"));
    REQUIRE(io::read_link(scratch.path("a/link")) == "file");
    REQUIRE(io::read_file(scratch.path("a/link")) == "plain");
    io::remove_directory(scratch.path("a/b"));
    REQUIRE(is(error_of([&] { io::remove(scratch.path("a/b")); }),
               std::errc::no_such_file_or_directory));
}

TEST_CASE("names are worked on in every simulated order", "[os][file_system]") {
    on_seeds(10, [](std::uint64_t) {
        const Scratch scratch;
        std::vector<weft::Fiber<void>> fibers;
        for (int i = 0; i < 5; ++i) {
            fibers.push_back(weft::spawn([&, i] {
                const std::string mine = scratch.path(std::to_string(i));
                io::write_file(mine, mine);
                io::rename(mine, scratch.path("same"));
            }));
        }
        for (auto& each : fibers) each.get();
        REQUIRE(io::read_file(scratch.path("same")).starts_with(scratch.directory()));
    });
}

// Through io_uring most of these need no thread: there they may be quicker than the deadline.
TEST_CASE("what is to be done to a name is given up at its deadline, and then was not done",
          "[os][file_system][deadline]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const std::string file = scratch.path("file");
        const std::string empty = scratch.path("empty");
        const auto fresh = [&scratch](const char* name) { return scratch.path(name); };
        io::write_file(file, "text");
        io::make_directory(empty);
        io::symlink("file", fresh("soft"));
        io::Directory directory{scratch.directory()};

        struct Call {
            const char* name;
            std::function<void(weft::Deadline)> make;
        };
        const Call calls[] = {
            {"status", [&](auto d) { io::status(file, d); }},
            {"symlink_status", [&](auto d) { io::symlink_status(file, d); }},
            {"exists", [&](auto d) { io::exists(file, d); }},
            {"read_link", [&](auto d) { io::read_link(fresh("soft"), d); }},
            {"read_file", [&](auto d) { io::read_file(file, d); }},
            {"Directory",
             [&](auto d) {
                 io::Directory{scratch.directory(), d};
             }},
            {"next", [&](auto d) { directory.next(d); }},
            {"list_directory", [&](auto d) { io::list_directory(scratch.directory(), d); }},
            {"link", [&](auto d) { io::link(file, fresh("hard"), d); }},
            {"symlink", [&](auto d) { io::symlink("file", fresh("soft2"), d); }},
            {"make_directory", [&](auto d) { io::make_directory(fresh("made"), 0700, d); }},
            {"make_directories", [&](auto d) { io::make_directories(fresh("a/b"), 0700, d); }},
            {"write_file", [&](auto d) { io::write_file(fresh("written"), "x", 0600, d); }},
            {"remove_directory", [&](auto d) { io::remove_directory(empty, d); }},
            {"rename", [&](auto d) { io::rename(file, fresh("moved"), Rename::replace, d); }},
            {"remove", [&](auto d) { io::remove(fresh("soft"), d); }},
        };
        const bool by_threads = weft::Runtime::current().io() == weft::Io::epoll;
        {
            const BusyThreads busy;
            for (const Call& call : calls) {
                INFO(call.name);
                const auto passed = weft::Deadline::Clock::time_point{};
                const auto at_once = error_of([&] { call.make(passed); });
                REQUIRE((is(at_once, std::errc::timed_out) || (!by_threads && !at_once)));
                if (by_threads) {
                    REQUIRE(is(error_of([&] { call.make(1ms); }), std::errc::timed_out));
                }
            }
        }
        if (!by_threads) return;
        // All that there was, and nothing else; next() goes on where it was.
        int names = 0;
        while (directory.next() != nullptr) ++names;
        REQUIRE(names == 3);
        REQUIRE(io::list_directory(scratch.directory()).size() == 3);
        REQUIRE(io::read_file(file) == "text");
    });
}
