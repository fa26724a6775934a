#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/io/directory.hpp>
#include <weft/io/file_system.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include <sys/stat.h>

using namespace weft::test;
using weft::io::Directory;
using weft::io::DirectoryEntry;
using weft::io::FileType;

TEST_CASE("a directory tells names, types and which file", "[os][directory]") {
    on_workers_and_io([] {
        const Scratch scratch;
        REQUIRE(weft::io::list_directory(scratch.directory()).empty());
        weft::io::write_file(scratch.path("file"), "text");
        weft::io::make_directory(scratch.path("directory"));
        weft::io::symlink("file", scratch.path("link"));
        REQUIRE(::mkfifo(scratch.path("fifo").c_str(), 0600) == 0);
        std::set<std::pair<std::string, FileType>> found;
        for (const DirectoryEntry& each : weft::io::list_directory(scratch.directory())) {
            found.emplace(each.name, each.type);
            REQUIRE(each.inode == weft::io::symlink_status(scratch.path(each.name)).inode);
        }
        REQUIRE(found ==
                std::set<std::pair<std::string, FileType>>{{"file", FileType::regular},
                                                           {"directory", FileType::directory},
                                                           {"link", FileType::symlink},
                                                           {"fifo", FileType::fifo}});
    });
}

TEST_CASE("a large directory comes in pieces, each name once", "[os][directory]") {
    const Scratch scratch;
    std::set<std::string> made;
    for (int i = 0; i < 5000; ++i) {
        // 32 KiB hold some hundred of these.
        const std::string name = "a name that is not short " + std::to_string(i);
        made.insert(name);
        std::ofstream{scratch.path(name)};
    }
    on_workers_and_io([&] {
        std::set<std::string> found;
        std::size_t count = 0;
        Directory directory{scratch.directory()};
        for (const DirectoryEntry& each : directory) {
            found.insert(each.name);
            ++count;
        }
        REQUIRE(count == made.size());
        REQUIRE(found == made);
        REQUIRE(directory.next() == nullptr);
    });
}

TEST_CASE("a directory with more entries than asked for is refused", "[os][directory]") {
    on_workers_and_io([] {
        const Scratch scratch;
        REQUIRE(weft::io::list_directory(scratch.directory(), 0).empty());
        for (const char* name : {"a", "b", "c"}) weft::io::write_file(scratch.path(name), "");
        REQUIRE(weft::io::list_directory(scratch.directory(), 3).size() == 3);
        REQUIRE(weft::io::list_directory(scratch.directory(), SIZE_MAX).size() == 3);
        const std::size_t before = open_fds();
        for (const std::size_t most : {0u, 2u}) {
            try {
                weft::io::list_directory(scratch.directory(), most);
                FAIL("listed");
            } catch (const std::system_error& error) {
                REQUIRE(is(error.code(), std::errc::value_too_large));
                const std::string what = error.what();
                REQUIRE(what.find(std::to_string(most) + " entries") != what.npos);
                REQUIRE(what.find(scratch.directory()) != what.npos);
            }
        }
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("the names in a directory are brought to the disk", "[os][directory]") {
    on_workers_and_io([] {
        const Scratch scratch;
        Directory all{scratch.directory()};
        weft::io::write_file(scratch.path("new"), "1");
        all.sync();
        REQUIRE(all.next() != nullptr);
        all.sync();
        all.close();
        REQUIRE(is(error_of([&] { all.sync(); }), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("what is no directory, or closed, is an error by name", "[os][directory]") {
    on_workers_and_io([] {
        const Scratch scratch;
        const auto open = [&] { Directory{scratch.path("none")}; };
        REQUIRE(is(error_of(open), std::errc::no_such_file_or_directory));
        weft::io::write_file(scratch.path("file"), "");
        try {
            Directory{scratch.path("file")};
            FAIL("opened");
        } catch (const std::system_error& error) {
            REQUIRE(is(error.code(), std::errc::not_a_directory));
            REQUIRE(std::string{error.what()}.find(scratch.path("file")) != std::string::npos);
        }
        Directory directory{scratch.directory()};
        directory.close();
        REQUIRE(is(error_of([&] { directory.next(); }), std::errc::bad_file_descriptor));

        Directory left{scratch.directory()};
        REQUIRE(left.next() != nullptr);
        Directory taken{std::move(left)};
        REQUIRE(is(error_of([&] { left.next(); }), std::errc::bad_file_descriptor));
        REQUIRE(taken.next() == nullptr);
        REQUIRE(taken.next() == nullptr);
    });
}

TEST_CASE("a cancelled fiber does not read a directory, a plain thread does", "[os][directory]") {
    const Scratch scratch;
    weft::io::write_file(scratch.path(), "from a plain thread");
    REQUIRE(weft::io::list_directory(scratch.directory()).size() == 1);
    on_workers_and_io([&] {
        std::atomic<bool> go{false};
        auto fiber = weft::spawn([&] {
            while (!go) weft::this_fiber::yield();
            weft::io::list_directory(scratch.directory());
        });
        fiber.cancel();
        go = true;
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
    });
}
