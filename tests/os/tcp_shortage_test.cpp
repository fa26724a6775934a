// accept() when there are no descriptors left. A program of its own, because it
// lowers the limit of the process.
#include "support/catch.hpp"
#include "support/fd.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/diag.hpp>
#include <weft/fiber_pool.hpp>
#include <weft/io/stream_server.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Address;
using weft::io::TcpListener;
using weft::io::TcpStream;

namespace {

/// Takes every descriptor the process may have, while it lives.
class Shortage {
public:
    Shortage() {
        getrlimit(RLIMIT_NOFILE, &before_);
        rlimit low = before_;
        low.rlim_cur = 200;
        setrlimit(RLIMIT_NOFILE, &low);
        for (int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC); fd >= 0; fd = ::dup(fd)) {
            taken_.push_back(fd);
        }
    }
    ~Shortage() {
        while (!taken_.empty()) free_one();
        setrlimit(RLIMIT_NOFILE, &before_);
    }
    void free_one() {
        ::close(taken_.back());
        taken_.pop_back();
    }

private:
    rlimit before_;
    std::vector<int> taken_;
};

/// Looks at what fibers wait for.
class Dump {
public:
    /// Lets others run until one waits for that.
    void until_waiting_for(const std::string& reason) {
        while (text().find(reason) == std::string::npos) weft::this_fiber::yield();
    }

private:
    std::string text() {
        REQUIRE(::ftruncate(fd_, 0) == 0);
        ::lseek(fd_, 0, SEEK_SET);
        weft::dump_fibers(fd_);
        std::string all(static_cast<std::size_t>(::lseek(fd_, 0, SEEK_CUR)), '\0');
        REQUIRE(::pread(fd_, all.data(), all.size(), 0) == static_cast<ssize_t>(all.size()));
        return all;
    }

    const Fd fd_{::memfd_create("dump", MFD_CLOEXEC)};
};

}  // namespace

TEST_CASE("accept waits while there are no descriptors, and goes on", "[os][tcp][shortage]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v4(0)};
        auto client = TcpStream::connect(listener.local_address());
        auto& runtime = weft::Runtime::current();
        Shortage shortage;
        const auto switches = runtime.counters().switches;
        REQUIRE(is(error_of([&] { listener.accept(60ms); }), std::errc::timed_out));
        // It tried after 5, 15 and 35 ms; nothing spun.
        REQUIRE(runtime.counters().switches - switches < 100);

        auto accepting = weft::spawn([&] { return listener.accept(); });
        until_waiting(accepting);
        REQUIRE_FALSE(accepting.done());
        shortage.free_one();
        auto server = accepting.get();
        client.write_all("at last");
        REQUIRE(read_text(server) == "at last");
    });
}

TEST_CASE("an accept that waits for descriptors can be cancelled and closed",
          "[os][tcp][shortage]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v4(0)};
        auto client = TcpStream::connect(listener.local_address());
        Shortage shortage;
        auto cancelled = weft::spawn([&] { listener.accept(); });
        auto closed = weft::spawn([&] { return error_of([&] { listener.accept(); }); });
        until_waiting(cancelled);
        until_waiting(closed);
        cancelled.cancel();
        REQUIRE_THROWS_AS(cancelled.get(), weft::Cancelled);
        listener.close();
        REQUIRE(is(closed.get(), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("a server that waits for descriptors can be stopped", "[os][tcp][shortage][server]") {
    on_workers_and_io([] {
        Dump dump;
        TcpListener listener{Address::loopback_v4(0)};
        const Address where = listener.local_address();
        auto client = TcpStream::connect(where);
        weft::FiberPool pool{4};
        weft::io::StreamServer server{std::move(listener), [](TcpStream) {}, pool};
        const Shortage shortage;
        auto serving = weft::spawn([&] { return server.serve(); });
        dump.until_waiting_for("out of descriptors for accept");
        server.stop();
        REQUIRE(serving.get());
        REQUIRE(server.accepted() == 0);
    });
}
