#include "support/catch.hpp"
#include "support/seccomp.hpp"

#include "io/probe.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

using weft::detail::probe_uring;
using weft::test::forbid;

namespace {

/// What probe_uring() says in a child process that may not use `call`.
std::string refusal_without(unsigned call, unsigned error) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    if (child == 0) {
        if (!forbid(call, error)) _exit(2);
        const std::string refusal = probe_uring().refusal;
        _exit(write(ends[1], refusal.data(), refusal.size()) == static_cast<ssize_t>(refusal.size())
                  ? 0
                  : 3);
    }
    close(ends[1]);
    char text[200];
    const ssize_t size = read(ends[0], text, sizeof text);
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    REQUIRE(status == 0);
    return {text, size > 0 ? static_cast<std::size_t>(size) : 0};
}

}  // namespace

TEST_CASE("a probe agrees with itself", "[io][probe]") {
    const auto once = probe_uring();
    const auto again = probe_uring();
    REQUIRE(once.refusal == again.refusal);
    REQUIRE(once.message_ring == again.message_ring);
    REQUIRE(once.absolute_timeout == again.absolute_timeout);
    REQUIRE(once.no_iowait == again.no_iowait);
    REQUIRE(once.accept_polls_first == again.accept_polls_first);
}

TEST_CASE("a forbidden io_uring is noticed, and why", "[io][probe]") {
    if (!probe_uring()) SKIP("io_uring is forbidden here already");
    const std::string set_up = refusal_without(SYS_io_uring_setup, EPERM);
    REQUIRE(set_up.find("io_uring_setup") != std::string::npos);
    REQUIRE(set_up.find("Operation not permitted") != std::string::npos);
    REQUIRE(refusal_without(SYS_io_uring_setup, ENOSYS).find("not implemented") !=
            std::string::npos);
    REQUIRE(refusal_without(SYS_io_uring_enter, EPERM).find("io_uring_enter") != std::string::npos);
    REQUIRE_FALSE(refusal_without(SYS_io_uring_register, EPERM).empty());
}
