// system(), popen() and waitpid() of hundreds of fibers.
#include "clients/crowd.hpp"
#include "support/fd.hpp"
#include "support/scratch.hpp"

#include <weft/fiber_ref.hpp>

#include <poll.h>
#include <sys/stat.h>

using namespace weft::test;

namespace {

/// Two named pipes: commands say in one that they are there, and read a line of the other.
struct PipeGate : Gate {
    std::size_t waiting(std::size_t wanted) override {
        pollfd readable{here, POLLIN, 0};
        while (arrived < wanted && ::poll(&readable, 1, 60'000) == 1) {
            char lines[4096];
            arrived += static_cast<std::size_t>(::read(here, lines, sizeof lines));
        }
        return arrived;
    }
    void open() override {
        for (std::size_t i = 0; i < arrived; ++i) put(go, "\n");
    }
    std::string command() const {
        return "echo > " + scratch.path("here") + "; read line < " + scratch.path("go") + "; ";
    }
    Fd make(const char* name) const {
        REQUIRE(::mkfifo(scratch.path(name).c_str(), 0600) == 0);
        return Fd{::open(scratch.path(name).c_str(), O_RDWR | O_CLOEXEC)};
    }
    const Scratch scratch;
    const Fd here = make("here");
    const Fd go = make("go");
    std::size_t arrived = 0;
};

constexpr int code_of(std::size_t number) { return static_cast<int>(number % 50); }

/// Nothing, or what system() says.
std::string run(const PipeGate& gate, std::size_t number, const std::string& last) {
    const auto command = gate.command() + last + "; exit " + std::to_string(code_of(number));
    const int status = ::system(command.c_str());
    return WIFEXITED(status) && WEXITSTATUS(status) == code_of(number) ? ""
                                                                       : std::to_string(status);
}

/// Lets others run until each fiber waits in `reason`.
template <class Fibers>
void until_all_doing(const Fibers& fibers, std::string_view reason) {
    for (const weft::FiberRef each : fibers) {
        while (each.doing() != reason) weft::this_fiber::yield();
    }
}

/// What a command says by popen(), or the system of it; and how it ended.
std::pair<std::string, int> read_from(const std::string& command) {
    FILE* const stream = ::popen(command.c_str(), "r");
    if (stream == nullptr) return {std::strerror(errno), -1};
    char said[32] = {};
    // stdio's own read() is none that a hook could take; the descriptor's is.
    const ssize_t size = ::read(::fileno(stream), said, sizeof said - 1);
    std::string text = size < 0 ? std::strerror(errno) : said;
    return {std::move(text), ::pclose(stream)};
}

}  // namespace

TEST_CASE("200 commands run at once", "[clients][system]") {
    require_nothing_left_open([] {
        PipeGate gate;
        require_all_at_once("system(\"sleep 1\")", gate,
                            [&](std::size_t number) { return run(gate, number, "sleep 1"); });
    });
}

TEST_CASE("200 commands are read from at once", "[clients][system]") {
    require_nothing_left_open([] {
        PipeGate gate;
        require_all_at_once("popen", gate, [&](std::size_t number) -> std::string {
            const auto say = std::to_string(number);
            const auto [said, status] = read_from(gate.command() + "echo " + say);
            if (said != say + "\n") return "wrong: " + said;
            return status == 0 ? "" : "failed";
        });
    });
}

// system() cannot say that its child goes on, so it is waited for, and answers as ever.
TEST_CASE("a cancelled command comes to its end", "[clients][system]") {
    require_nothing_left_open([] {
        PipeGate gate;
        const auto errors = interrupted(
            gate, [&](std::size_t number) { return run(gate, number, "true"); },
            [&](auto& fibers) {
                weft::cancel_all(fibers);
                gate.open();
            });
        REQUIRE(errors == std::vector<std::string>(errors.size(), " [thrown]"));
    });
}

TEST_CASE("a cancelled read from a command fails, and its end is waited for", "[clients][system]") {
    require_nothing_left_open([] {
        PipeGate gate;
        const auto errors = interrupted(
            gate,
            [&](std::size_t) {
                const auto [said, status] = read_from(gate.command() + "exit 3");
                return said + ' ' + std::to_string(WEXITSTATUS(status));
            },
            [&](auto& fibers) {
                until_all_doing(fibers, "read");
                weft::cancel_all(fibers);
                until_all_doing(fibers, "a call that blocks a thread");  // pclose()
                gate.open();
            });
        require_all_say(errors, "Operation canceled 3 [thrown]");
    });
}

TEST_CASE("a Timeout is thrown after the command", "[clients][system]") {
    require_nothing_left_open([] {
        run_hooked([] {
            int status = -1;
            bool thrown = false;
            try {
                const weft::Timeout limit{20ms};
                status = ::system("sleep 0.1; exit 3");
                weft::this_fiber::check_cancelled();
            } catch (const weft::TimedOut&) {
                thrown = true;
            }
            REQUIRE(WEXITSTATUS(status) == 3);
            REQUIRE(thrown);
        });
    });
}

TEST_CASE("a command that is killed says so", "[clients][system]") {
    require_nothing_left_open([] {
        run_hooked([] {
            const auto killed = [](std::size_t number) -> std::string {
                const char* const command = "kill -9 $$";
                const int status = number % 2 == 0 ? ::system(command) : read_from(command).second;
                return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? ""
                                                                          : std::to_string(status);
            };
            for (auto& each : spawn_requests(killed, 50)) REQUIRE(each.get().empty());
        });
    });
}
