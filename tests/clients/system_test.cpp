// system(), popen() and waitpid() of hundreds of fibers.
#include "clients/crowd.hpp"
#include "support/fd.hpp"
#include "support/scratch.hpp"

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

}  // namespace

TEST_CASE("200 commands run at once", "[clients][system]") {
    require_nothing_left_open([] {
        PipeGate gate;
        require_all_at_once("system(\"sleep 1\")", gate, [&](std::size_t number) -> std::string {
            const int code = static_cast<int>(number % 50);
            const auto command = gate.command() + "sleep 1; exit " + std::to_string(code);
            const int status = ::system(command.c_str());
            return WIFEXITED(status) && WEXITSTATUS(status) == code ? "" : std::to_string(status);
        });
    });
}

TEST_CASE("200 commands are read from at once", "[clients][system]") {
    require_nothing_left_open([] {
        PipeGate gate;
        require_all_at_once("popen", gate, [&](std::size_t number) -> std::string {
            const auto say = std::to_string(number);
            FILE* const stream = ::popen((gate.command() + "echo " + say).c_str(), "r");
            if (stream == nullptr) return std::strerror(errno);
            char said[32] = {};
            // stdio's own read() is none that a hook could take; the descriptor's is.
            const ssize_t size = ::read(::fileno(stream), said, sizeof said - 1);
            if (size <= 0 || said != say + "\n") return "wrong";
            return ::pclose(stream) == 0 ? "" : "failed";
        });
    });
}
