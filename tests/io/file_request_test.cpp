// What is done to names and to whole files: by io_uring, by a ring that does not know
// how, which hands it to the Offload, by the epoll driver, and on a plain thread.
#include "io/epoll_driver.hpp"
#include "io/offload.hpp"
#include "io/operation.hpp"
#include "io/uring_rig.hpp"
#include "support/catch.hpp"
#include "support/fd.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::detail::BlockingCall;
using weft::detail::EpollDriver;
using Code = Request::Code;

namespace {

class Folder {
public:
    Folder() {
        REQUIRE(::mkdtemp(path_.data()) != nullptr);
        fd_ = Fd{::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path_); }

    int fd() const { return fd_; }
    std::set<std::string> names() const {
        std::set<std::string> all;
        for (const auto& each : std::filesystem::directory_iterator{path_}) {
            all.insert(each.path().filename().string());
        }
        return all;
    }

private:
    std::string path_ = "/tmp/weft-file-request-XXXXXX";
    Fd fd_;
};

template <class Driver>
auto performer(Driver& driver) {
    return [&driver](const Request& request) {
        Operation operation{request};
        driver.submit(operation);
        while (driver.in_flight() > 0) {
            driver.wait(0ms);
            std::this_thread::yield();  // to a thread of the Offload
        }
        return operation.await();
    };
}

/// Calls `body(perform)`, where `int perform(const Request&)`, for each way there is.
template <class Body>
void each_way(Body&& body) {
    for (const auto& support : supports()) {
        INFO("io_uring, operations: " << support.operations);
        UringDriver driver{support, offload()};
        driver.attach();
        body(performer(driver));
    }
    {
        INFO("epoll");
        EpollDriver driver{offload()};
        body(performer(driver));
    }
    INFO("plain thread");
    body([](const Request& request) {
        Operation operation{request};
        return perform_on_thread(operation, weft::Deadline::never());
    });
}

}  // namespace

TEST_CASE("names are made, moved, linked and removed", "[io][file]") {
    each_way([](auto perform) {
        const Folder folder;
        const auto make = [&] {
            return perform(
                {.code = Code::mkdirat, .fd = folder.fd(), .buffer = "d", .length = 0700});
        };
        const auto move = [&](Code code, const char* from, const char* to, std::uint32_t flags) {
            return perform({.code = code,
                            .fd = folder.fd(),
                            .buffer = from,
                            .flags = flags,
                            .extra = const_cast<char*>(to)});
        };
        const auto remove = [&](const char* name, std::uint32_t flags) {
            return perform(
                {.code = Code::unlinkat, .fd = folder.fd(), .buffer = name, .flags = flags});
        };
        CHECK(make() == 0);
        CHECK(make() == -EEXIST);
        CHECK(move(Code::symlinkat, "d", "soft", 0) == 0);
        CHECK(move(Code::linkat, "soft", "hard", 0) == 0);
        CHECK(move(Code::renameat, "soft", "hard", RENAME_NOREPLACE) == -EEXIST);
        CHECK(move(Code::renameat, "soft", "moved", RENAME_NOREPLACE) == 0);
        CHECK(folder.names() == std::set<std::string>{"d", "hard", "moved"});
        CHECK(move(Code::renameat, "d", "hard", RENAME_EXCHANGE) == 0);
        CHECK(remove("hard", 0) == -EISDIR);
        CHECK(remove("hard", AT_REMOVEDIR) == 0);
        CHECK(remove("moved", 0) == 0);
        CHECK(remove("d", 0) == 0);
        CHECK(folder.names().empty());
    });
}

TEST_CASE("space is allocated, given back and cut off", "[io][file]") {
    each_way([](auto perform) {
        const Folder folder;
        const Fd fd{::openat(folder.fd(), "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
        const auto allocate = [&](std::uint32_t mode, std::int64_t offset, std::int64_t size) {
            return perform(
                {.code = Code::fallocate, .fd = fd, .flags = mode, .offset = offset, .size = size});
        };
        const auto status = [&] {
            struct stat found {};
            ::fstat(fd, &found);
            return found;
        };
        CHECK(allocate(0, 0, 65536) == 0);
        CHECK(status().st_size == 65536);
        CHECK(status().st_blocks == 128);
        CHECK(allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 32768) == 0);
        CHECK(status().st_blocks == 64);
        CHECK(perform({.code = Code::ftruncate, .fd = fd, .size = std::int64_t{5} << 32}) == 0);
        CHECK(status().st_size == std::int64_t{5} << 32);
        CHECK(perform({.code = Code::fadvise, .fd = fd, .flags = POSIX_FADV_WILLNEED}) == 0);
        CHECK(perform({.code = Code::sync_file_range,
                       .fd = fd,
                       .length = 4096,
                       .flags = SYNC_FILE_RANGE_WRITE}) == 0);
        CHECK(allocate(0, 0, 0) == -EINVAL);
    });
}

TEST_CASE("a call is made where it may sleep, and brings what it returns", "[io][file]") {
    each_way([](auto perform) {
        int counter = 6;
        BlockingCall call{[](void* context) noexcept { return ++*static_cast<int*>(context); },
                          &counter};
        CHECK(perform({.code = Code::call, .extra = &call}) == 7);
        CHECK(counter == 7);
    });
}

TEST_CASE("what was handed over and has not begun is cancelled", "[io][uring][file]") {
    for (const auto& support : supports()) {
        UringDriver driver{support, offload()};
        driver.attach();
        std::atomic<bool> open{false};
        BlockingCall call{[](void* context) noexcept {
                              while (!*static_cast<std::atomic<bool>*>(context)) {
                                  std::this_thread::yield();
                              }
                              return 0;
                          },
                          &open};
        std::vector<std::unique_ptr<Operation>> all;
        for (std::size_t i = 0; i < Offload::default_threads + 1; ++i) {
            const Request request{.code = Code::call, .extra = &call};
            all.push_back(std::make_unique<Operation>(request));
            driver.submit(*all.back());
        }
        driver.cancel(*all.back());
        REQUIRE(all.back()->await() == -ECANCELED);
        open = true;
        all.pop_back();
        for (const auto& each : all) REQUIRE(each->await() == 0);
        while (driver.in_flight() > 0) std::this_thread::yield();
    }
}
