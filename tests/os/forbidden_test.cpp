// What a filter of system calls forbids, as in a sandbox: an error at once, or after a pause.
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/seccomp.hpp"

#include <weft/io/process.hpp>
#include <weft/io/tcp.hpp>

#include <chrono>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
namespace io = weft::io;

namespace {

constexpr int cannot_forbid = 255;

/// Runs `body` on each driver, in a process that may not use `calls`: it cannot be taken back.
/// Returns 0 if it returned true on all.
template <class Body>
int without(std::initializer_list<unsigned> calls, Body&& body) {
    for (const weft::Io driver : available_io()) {
        const pid_t child = ::fork();
        if (child == 0) {
            bool right = false;
            for (const unsigned call : calls) {
                if (!forbid(call, EPERM)) _exit(cannot_forbid);
            }
            weft::run([&] { right = body(); }, {.workers = 2, .io = driver});
            _exit(right ? 0 : 1);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return WEXITSTATUS(status);
    }
    return 0;
}

bool accept_gives_up() {
    io::TcpListener listener{io::Address::loopback_v4(0)};
    const auto client = io::TcpStream::connect(listener.local_address());
    return is(error_of([&] { listener.accept(30ms); }), std::errc::timed_out);
}

/// It ends with the worker that started it, by the kernel's hand.
bool run_gives_up(io::ProcessGroup group) {
    io::RunOptions options;
    options.process.group = group;
    options.process.dies_with_parent = true;
    const auto error = error_of([&] { io::run({"sleep", "1000"}, options, 10ms); });
    return is(error, std::errc::operation_not_permitted);
}

const Child accepting{"no accept4", [] { return without({SYS_accept4}, accept_gives_up); }};
const Child killing{"no signals to others", [] {
                        return without({SYS_kill, SYS_pidfd_send_signal}, [] {
                            return run_gives_up(io::ProcessGroup::inherited) &&
                                   run_gives_up(io::ProcessGroup::own);
                        });
                    }};

/// What somebody forgot to mark is closed all the same, and what is given is there.
bool child_has_what_it_is_given() {
    int ends[2];
    if (::pipe(ends) != 0) return false;
    const int high = ::fcntl(ends[0], F_DUPFD, 200);
    const auto there = [](int fd) { return "test -e /proc/self/fd/" + std::to_string(fd); };
    const std::string script = there(ends[1]) + " && ! " + there(ends[0]) + " && ! " + there(high);
    io::RunOptions options;
    options.process.fds = {{ends[1], ends[1]}};
    const bool right = io::run({"sh", "-c", script}, options).status.success();
    for (const int fd : {ends[0], ends[1], high}) ::close(fd);
    return right;
}

const Child listing{"no close_range",
                    [] { return without({SYS_close_range}, child_has_what_it_is_given); }};
const Child guessing{
    "no close_range and no list", [] {
        const rlimit few{1024, 1024};
        ::setrlimit(RLIMIT_NOFILE, &few);
        return without({SYS_close_range, SYS_getdents64}, child_has_what_it_is_given);
    }};

void require_right(const Child& child) {
    const Outcome outcome = child.run();
    INFO(outcome.describe());
    if (outcome.exited_with(cannot_forbid)) SKIP("no system call can be forbidden here");
    REQUIRE(outcome.exited_with(0));
}

}  // namespace

TEST_CASE("an accept that can never succeed keeps to its deadline", "[os][tcp]") {
    require_right(accepting);
}

TEST_CASE("a command that may not be killed at its deadline is left, and told", "[os][process]") {
    require_right(killing);
}

TEST_CASE("a child has no descriptor but those it is given, where each is to be marked by itself",
          "[os][process]") {
    require_right(listing);
    require_right(guessing);
}
