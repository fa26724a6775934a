// A process that may start no more threads once its runtime is there (RLIMIT_NPROC, a
// container's limit): what needs one is made by the caller's own, or fails; nothing hangs.
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/namespaces.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/seccomp.hpp"
#include "support/tcp.hpp"

#include <weft/fiber.hpp>
#include <weft/io/directory.hpp>
#include <weft/io/file.hpp>
#include <weft/io/file_system.hpp>
#include <weft/io/process.hpp>
#include <weft/io/resolve.hpp>
#include <weft/run_blocking.hpp>

#include <cerrno>
#include <string>
#include <vector>

#include <sys/syscall.h>

using namespace weft::test;
using weft::io::File;
using weft::io::FileLock;
using weft::io::OpenMode;

namespace {

constexpr int cannot_forbid = 78;
constexpr OpenMode fresh = OpenMode::read | OpenMode::write | OpenMode::create | OpenMode::truncate;

/// Opens, locks, copies, lists: through epoll each step needs a thread, through io_uring
/// those that rings do not know.
bool copies_a_file(const Scratch& scratch, std::size_t number) {
    const auto name = std::to_string(number);
    const auto data = pattern(100'000, static_cast<std::uint32_t>(number));
    auto file = File::open(scratch.path(name), fresh);
    if (!file.lock(FileLock::exclusive)) return false;
    file.write_all(std::span{data});
    auto copy = File::open(scratch.path(name + ".copy"), fresh);
    if (file.copy_range(0, data.size(), copy, 0) != data.size()) return false;
    std::vector<std::byte> got(data.size());
    return copy.pread_exactly(got, 0) == data.size() && got == data &&
           !weft::io::list_directory(scratch.directory()).empty();
}

void go_without_threads(Expectations& all) {
    const Scratch scratch;
    std::vector<weft::Fiber<bool>> fibers;
    for (std::size_t i = 0; i < 50; ++i) {
        fibers.push_back(weft::spawn([&scratch, i] { return copies_a_file(scratch, i); }));
    }
    for (auto& each : fibers) all.expect(each.get(), "files are copied");

    const auto expect_none = [&all](const char* what, std::error_code error) {
        all.expect(is(error, std::errc::resource_unavailable_try_again),
                   std::string{what} + ": " + error.message());
    };
    expect_none("run_blocking", error_of([] { weft::run_blocking([] {}); }));
    expect_none("resolve", error_of([] { weft::io::resolve("localhost", "80"); }));
    expect_none("a process", error_of([] { weft::io::run({"true"}); }));
}

int without_threads(unsigned workers) {
    Expectations all;
    int forbidden = 0;
    for (const weft::Io io : available_io()) {
        const pid_t child = ::fork();  // for each driver: it cannot be taken back
        if (child == 0) {
            weft::run(
                [&] {
                    if (!forbid(SYS_clone3, EAGAIN) || !forbid(SYS_clone, EAGAIN)) _exit(255);
                    go_without_threads(all);
                },
                {.workers = workers, .io = io});
            _exit(all.wrong());
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        forbidden += WIFEXITED(status) && WEXITSTATUS(status) == 255;
        all.expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, name_of(io));
    }
    return forbidden > 0 ? cannot_forbid : all.wrong();
}

const Child one{"no threads for one worker", [] { return without_threads(1); }};
const Child several{"no threads for several workers", [] { return without_threads(4); }};

}  // namespace

TEST_CASE("without another thread files work, and what needs one says so", "[runtime][io]") {
    for (const Child* child : {&one, &several}) {
        const Outcome outcome = child->run();
        INFO(outcome.describe());
        if (outcome.exited_with(cannot_forbid)) SKIP("no system call can be forbidden here");
        REQUIRE(outcome.exited_with(0));
    }
}
