// A process that may not use io_uring, from its start to its end.
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/seccomp.hpp"
#include "support/tcp.hpp"

#include <weft/fiber.hpp>
#include <weft/io/file.hpp>
#include <weft/io/tcp.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>

using namespace std::chrono_literals;
using namespace weft::test;

namespace {

/// Sockets, a file and a timer at once. Returns whether all went well.
bool all_works() {
    auto [client, server] = connection();
    auto echo = weft::spawn([&server = server] { server.write_all(read_text(server)); });
    auto head = weft::spawn([] {
        std::array<std::byte, 4> magic{};
        auto program = weft::io::File::open("/proc/self/exe");
        return program.pread(magic, 0) == 4 && magic[1] == std::byte{'E'};
    });
    weft::this_fiber::sleep_for(1ms);
    client.write_all("hello");
    const bool answered = read_text(client) == "hello";
    echo.get();
    return head.get() && answered;
}

const Child forbidden{"a process without io_uring", [] {
                          if (!forbid(SYS_io_uring_setup, EPERM)) return 2;
                          for (int i = 0; i < 2; ++i) {
                              bool good = false;
                              weft::run(
                                  [&good] {
                                      const bool epoll =
                                          weft::Runtime::current().io() == weft::Io::epoll;
                                      good = epoll && all_works();
                                  },
                                  {.workers = 2});
                              if (!good) return 3;
                          }
                          return 0;
                      }};

const Child insisting{"a process that insists on io_uring", [] {
                          if (!forbid(SYS_io_uring_setup, EPERM)) return 2;
                          try {
                              weft::run([] {}, {.workers = 1, .io = weft::Io::uring});
                          } catch (const std::system_error& error) {
                              const std::string what = error.what();
                              return what.find("io_uring_setup") != std::string::npos ? 0 : 4;
                          }
                          return 3;
                      }};

}  // namespace

TEST_CASE("without io_uring all works by epoll, and that is said once", "[runtime][io]") {
    const Outcome outcome = forbidden.run();
    INFO(outcome.describe());
    REQUIRE(outcome.exited_with(0));
    if (std::getenv("WEFT_IO") != nullptr) return;  // then it was asked for
    CHECK(outcome.says("io_uring_setup"));
    CHECK(std::count(outcome.errors.begin(), outcome.errors.end(), '\n') == 1);
}

TEST_CASE("who insists on io_uring is told why it cannot be", "[runtime][io]") {
    const Outcome outcome = insisting.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}
