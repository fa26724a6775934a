// fork() in a fiber, for a child that soon execs or exits: the parent goes on
// as if nothing had been.
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"

#include <weft/fiber.hpp>
#include <weft/io/pipe.hpp>
#include <weft/io/tcp.hpp>
#include <weft/semaphore.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <cstddef>
#include <span>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace {

int status_of(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

// What the parent does meanwhile: I/O, deadlines, wake-ups. Returns the rounds
// that were right.
class Traffic {
public:
    Traffic() {
        weft::io::TcpListener listener{weft::io::Address::loopback_v4(0)};
        auto accepting = weft::spawn([&] { return listener.accept(); });
        client_ = weft::io::TcpStream::connect(listener.local_address());
        echo_ = weft::spawn([stream = accepting.get()]() mutable {
            std::byte byte[1];
            while (stream.read(byte) == 1) stream.write(byte);
        });
        sender_ = weft::spawn([this] {
            for (unsigned round = 0; !over_; ++round) {
                const std::byte sent[1] = {static_cast<std::byte>(round)};
                std::byte received[1] = {};
                client_.write(sent);
                if (client_.read(received) == 1 && received[0] == sent[0]) ++right_;
                if (round % 8 == 0) weft::this_fiber::sleep_for(20us);
            }
            client_.close();
        });
    }
    int rounds() const { return right_; }
    void finish() {
        over_ = true;
        sender_.get();
        echo_.get();
    }

private:
    weft::io::TcpStream client_;
    weft::Fiber<> echo_;
    weft::Fiber<> sender_;
    std::atomic<bool> over_{false};
    std::atomic<int> right_{0};
};

}  // namespace

TEST_CASE("children forked in a fiber that exit do not harm the parent", "[fork]") {
    weft::test::on_workers_and_io([] {
        Traffic traffic;
        int ended_well = 0;
        for (int i = 0; i < 100; ++i) {
            const pid_t pid = ::fork();
            if (pid == 0) ::_exit(5);
            REQUIRE(pid > 0);
            const int status = status_of(pid);
            ended_well += WIFEXITED(status) && WEXITSTATUS(status) == 5 ? 1 : 0;
            const int before = traffic.rounds();
            while (traffic.rounds() < before + 3) weft::this_fiber::yield();
        }
        CHECK(ended_well == 100);
        traffic.finish();
    });
}

TEST_CASE("children forked in a fiber that exec inherit no descriptor of the runtime", "[fork]") {
    weft::test::on_workers_and_io([] {
        Traffic traffic;
        for (int i = 0; i < 10; ++i) {
            const pid_t pid = ::fork();
            if (pid == 0) {
                // Succeeds if, beside the standard three and the directory itself, there is none
                // that is a ring, an epoll or an event descriptor.
                ::execl("/bin/sh", "sh", "-c", "! ls -l /proc/self/fd | grep -q anon_inode",
                        static_cast<char*>(nullptr));
                ::_exit(126);
            }
            REQUIRE(pid > 0);
            const int status = status_of(pid);
            CHECK(WIFEXITED(status));
            CHECK(WEXITSTATUS(status) == 0);
            const int before = traffic.rounds();
            while (traffic.rounds() < before + 3) weft::this_fiber::yield();
        }
        traffic.finish();
    });
}

TEST_CASE("a child that uses its memory and its parent's stacks leaves the parent's alone",
          "[fork]") {
    weft::test::on_workers([] {
        std::vector<int> numbers(1000, 1);
        for (int i = 0; i < 20; ++i) {
            const pid_t pid = ::fork();
            if (pid == 0) {
                for (int& number : numbers) number = 2;
                ::_exit(numbers[999]);
            }
            REQUIRE(pid > 0);
            CHECK(WEXITSTATUS(status_of(pid)) == 2);
            weft::spawn([&] {
                for (int& number : numbers) number = number == 1 ? 1 : 0;
            }).join();
            CHECK(numbers == std::vector<int>(1000, 1));
        }
    });
}

// What the child's threads tell each other the parent's must not hear: else its read ends as
// if its own descriptor were closed.
TEST_CASE("a child that closes what it reads does not end its parent's reads", "[fork]") {
    if (weft::test::under_tsan) SKIP("TSan lets no child of threads start one");
    using weft::io::Pipe;
    auto [reader, writer] = Pipe::open();
    std::byte byte[1] = {};
    const auto read_at_once = [&, &reader = reader] { reader.read(byte, 1ms); };
    REQUIRE(weft::test::error_of(read_at_once) == std::errc::timed_out);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::alarm(weft::test::time_limit() / 3);  // its parent may hear what was for it
        for (int round = 0; round < 100; ++round) {
            auto [mine, kept_open] = Pipe::open();
            std::thread closer{[&mine = mine] { mine.close(); }};
            const auto error = weft::test::error_of([&, &mine = mine] { mine.read(byte); });
            closer.join();
            if (error != std::errc::bad_file_descriptor) ::_exit(1);
        }
        writer.write(byte);
        ::_exit(0);
    }
    REQUIRE(pid > 0);
    writer.close();
    CHECK(reader.read(byte) == 1);
    CHECK(status_of(pid) == 0);
}
