#include "support/catch.hpp"
#include "support/fd.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/scratch.hpp"
#include "support/tcp.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber_pool.hpp>
#include <weft/io/stream_server.hpp>
#include <weft/io/unix.hpp>

#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::io::ExistingPath;
using weft::io::Shutdown;
using weft::io::UnixAddress;
using weft::io::UnixListener;
using weft::io::UnixStream;

namespace {

/// A path for a socket, in a directory of its own.
struct Place {
    const Scratch scratch{};
    const std::string path = scratch.path("socket");
    const UnixAddress address{path};

    bool exists() const { return std::filesystem::exists(path); }
    /// A socket that nobody listens on any more.
    void leave_stale() const {
        const Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        REQUIRE(::bind(fd, address.data(), static_cast<socklen_t>(address.size())) == 0);
    }
};

void echo_until_end(UnixStream stream) {
    std::array<std::byte, 3000> buffer;
    while (const std::size_t got = stream.read(buffer)) {
        stream.write_all(std::span{buffer}.first(got));
    }
}

bool echoes(const UnixAddress& address, std::size_t size) {
    auto stream = UnixStream::connect(address);
    const auto sent = pattern(size, static_cast<std::uint32_t>(size));
    for (int round = 0; round < 3; ++round) {
        stream.write_all(std::span{sent});
        std::vector<std::byte> got(size);
        if (stream.read_exactly(got) != size || got != sent) return false;
    }
    return true;
}

std::string text_of_error(const std::function<void()>& body) {
    try {
        body();
    } catch (const std::system_error& error) {
        return error.what();
    }
    return {};
}

}  // namespace

TEST_CASE("many connections on a path echo what they are sent", "[os][unix]") {
    on_all_io([] {
        const Place place;
        UnixListener listener{place.address};
        constexpr std::size_t count = 20;
        auto server = weft::spawn([&] {
            for (std::size_t i = 0; i < count; ++i) weft::spawn(echo_until_end, listener.accept());
        });
        std::vector<weft::Fiber<bool>> clients;
        for (std::size_t i = 0; i < count; ++i) {
            clients.push_back(weft::spawn(echoes, place.address, 1 + i * 997));
        }
        for (auto& client : clients) REQUIRE(client.get());
        server.get();
    });
}

TEST_CASE("a StreamServer serves Unix connections", "[os][unix]") {
    on_workers_and_io([] {
        const Place place;
        weft::FiberPool pool{10};
        weft::io::StreamServer server{UnixListener{place.address}, echo_until_end, pool};
        auto serving = weft::spawn([&] { return server.serve(); });
        REQUIRE(echoes(place.address, 10'000));
        server.stop();
        REQUIRE(serving.get());
        REQUIRE_FALSE(place.exists());
    });
}

TEST_CASE("two streams of a pair talk with each other, more than a buffer holds", "[os][unix]") {
    on_all_io([] {
        auto [left, right] = UnixStream::pair();
        const auto sent = pattern(600'000);
        auto writer = weft::spawn([&left = left, &sent] {
            left.write_all(std::span{sent});
            left.shutdown(Shutdown::write);
        });
        std::vector<std::byte> got(sent.size());
        REQUIRE(right.read_exactly(got) == got.size());
        REQUIRE(got == sent);
        REQUIRE(read_text(right).empty());
        right.write_all("and back");
        REQUIRE(read_text(left) == "and back");
        writer.get();
    });
}

TEST_CASE("a listener is where its name says, and its path goes with it", "[os][unix]") {
    on_workers_and_io([] {
        const Place place;
        UnixListener listener{place.address};
        REQUIRE(listener.local_address() == place.address);
        auto client = UnixStream::connect(place.address);
        auto server = listener.accept();
        REQUIRE(client.peer_address() == place.address);
        REQUIRE(client.local_address().is_unnamed());
        REQUIRE(server.local_address() == place.address);
        REQUIRE(place.exists());
        listener.close();
        REQUIRE_FALSE(place.exists());
        listener.close();
        client.write_all("the connection stays");
        REQUIRE(read_text(server) == "the connection stays");
        REQUIRE(is(error_of([&] { UnixStream::connect(place.address); }),
                   std::errc::no_such_file_or_directory));
        { const UnixListener short_lived{place.address}; }
        REQUIRE_FALSE(place.exists());
    });
}

TEST_CASE("abstract names hold any bytes, and one is picked on request", "[os][unix]") {
    on_workers_and_io([] {
        const std::string name{"weft\0test\0", 10};
        const auto own = UnixAddress::abstract(name + std::to_string(::getpid()));
        UnixListener listener{own};
        auto client = UnixStream::connect(own);
        auto server = listener.accept();
        REQUIRE(client.peer_address() == own);
        client.write_all("abstract");
        REQUIRE(read_text(server) == "abstract");
        REQUIRE(is(error_of([&] { UnixListener{own}; }), std::errc::address_in_use));

        UnixListener picked{UnixAddress{}};
        REQUIRE(picked.local_address().is_abstract());
        const auto second = UnixStream::connect(picked.local_address());
        REQUIRE(picked.accept().is_open());
    });
}

TEST_CASE("a path has the permissions asked for", "[os][unix]") {
    const Place place;
    const UnixListener listener{place.address, {.permissions = 0600}};
    REQUIRE(std::filesystem::status(place.path).permissions() == std::filesystem::perms{0600});
}

TEST_CASE("what lies on the path is refused, and a stale socket told as such", "[os][unix]") {
    const Place place;
    place.leave_stale();
    const auto listen = [&] { UnixListener{place.address}; };
    REQUIRE(is(error_of(listen), std::errc::address_in_use));
    REQUIRE(text_of_error(listen).find("stale") != std::string::npos);
    REQUIRE(text_of_error(listen).find(place.path) != std::string::npos);
    REQUIRE(place.exists());
}

TEST_CASE("a stale socket is replaced if asked, and nothing else is", "[os][unix]") {
    const Place place;
    place.leave_stale();
    const auto replace = [&] {
        return UnixListener{place.address, {.existing = ExistingPath::replace_stale}};
    };
    {
        UnixListener listener = replace();
        REQUIRE(is(error_of(replace), std::errc::address_in_use));
        REQUIRE(text_of_error(replace).find("stale") == std::string::npos);
        // The question whether it lives was a connection, which is over.
        UnixStream question = listener.accept(1s);
        REQUIRE(read_text(question).empty());
        REQUIRE(UnixStream::connect(place.address).is_open());
    }
    REQUIRE_FALSE(place.exists());

    const int file = ::creat(place.path.c_str(), 0600);
    ::close(file);
    REQUIRE(is(error_of(replace), std::errc::address_in_use));
    REQUIRE(place.exists());
}

TEST_CASE("a listener leaves the path alone that another has taken over", "[os][unix]") {
    const Place place;
    UnixListener old{place.address};
    ::unlink(place.path.c_str());
    UnixListener successor{place.address};
    old.close();
    REQUIRE(place.exists());
    REQUIRE(UnixStream::connect(place.address).is_open());
    successor.close();
    REQUIRE_FALSE(place.exists());
}

TEST_CASE("a child made by fork that drops its copy of a listener leaves the path alone",
          "[os][unix]") {
    const Place place;
    const Place other;
    UnixListener listener{place.address};
    std::optional<UnixListener> dropped{other.address};
    const auto in_child = [&] {
        UnixListener moved{std::move(listener)};
        moved.close();
        dropped.reset();
        const Place own;
        { const UnixListener made{own.address}; }
        return own.exists() ? 1 : 0;
    };
    const pid_t child = ::fork();
    // What sanitizers do about threads after a fork is their own affair.
    if (child == 0) ::_exit(under_sanitizer ? 0 : in_child());
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    REQUIRE(UnixStream::connect(place.address).is_open());
    REQUIRE(UnixStream::connect(other.address).is_open());
    listener.close();
    dropped.reset();
    REQUIRE_FALSE(place.exists());
    REQUIRE_FALSE(other.exists());
}

TEST_CASE("the path follows its listener, and stays with a released one", "[os][unix]") {
    const Place place;
    UnixListener moved;
    {
        UnixListener listener{place.address};
        UnixListener next{std::move(listener)};
        moved = std::move(next);
    }
    REQUIRE(place.exists());
    ::close(moved.release());
    REQUIRE(place.exists());
    moved.close();
    REQUIRE(place.exists());
}

namespace {

/// A listener that takes no more connections: the next connect() waits.
struct FullUnixListener {
    UnixListener listener{UnixAddress{}, {.backlog = 0}};  // has room for one
    UnixStream queued = UnixStream::connect(listener.local_address());
};

/// Every blocking call there is, on streams on which it waits.
struct Waits {
    std::pair<UnixStream, UnixStream> idle = UnixStream::pair();
    std::pair<UnixStream, UnixStream> full = UnixStream::pair();
    UnixListener listener{UnixAddress{}};
    FullUnixListener full_listener;
    std::array<std::byte, 16> buffer{};
    std::vector<std::byte> data = pattern(100'000);

    Waits() { fill(full.first); }

    std::vector<std::function<void(Deadline)>> all() {
        return {
            [this](Deadline d) { idle.first.read(buffer, d); },
            [this](Deadline d) { idle.first.read_exactly(buffer, d); },
            [this](Deadline d) { idle.first.receive_with_fds(buffer, {}, d); },
            [this](Deadline d) { full.first.write(data, d); },
            [this](Deadline d) { full.first.write_all(std::span{data}, d); },
            [this](Deadline d) { full.first.send_with_fds(data, {}, d); },
            [this](Deadline d) { listener.accept(d); },
            [this](Deadline d) { UnixStream::connect(full_listener.listener.local_address(), d); },
        };
    }
};

}  // namespace

TEST_CASE("every call on Unix sockets gives up at its deadline", "[os][unix][deadline]") {
    on_workers_and_io([] {
        Waits waits;
        int number = 0;
        for (const auto& call : waits.all()) {
            const auto begin = Deadline::Clock::now();
            const std::error_code error = error_of([&] { call(begin + 5ms); });
            INFO("call " << number++ << ": " << error.message());
            REQUIRE(is(error, std::errc::timed_out));
            REQUIRE(Deadline::Clock::now() >= begin + 5ms);
            REQUIRE(is(error_of([&] { call(begin); }), std::errc::timed_out));
        }
    });
}

TEST_CASE("every call on Unix sockets ends when its fiber is cancelled", "[os][unix][cancel]") {
    on_all_io([] {
        Waits waits;
        for (const auto& call : waits.all()) {
            auto fiber = waiting([&] { call(Deadline::never()); });
            fiber.cancel();
            REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
        }
    });
}

TEST_CASE("closing ends every call on Unix sockets with EBADF", "[os][unix][close]") {
    on_all_io([] {
        Waits waits;
        std::vector<weft::Fiber<std::error_code>> fibers;
        auto calls = waits.all();
        calls.pop_back();  // nobody else has what connect() makes
        for (const auto& call : calls) {
            fibers.push_back(
                waiting([&call] { return error_of([&] { call(Deadline::never()); }); }));
        }
        waits.idle.first.close();
        waits.full.first.close();
        waits.listener.close();
        for (auto& fiber : fibers) REQUIRE(is(fiber.get(), std::errc::bad_file_descriptor));
    });
}

TEST_CASE("connecting to a full listener goes on when there is room", "[os][unix]") {
    on_all_io([] {
        FullUnixListener full;
        auto connecting =
            waiting([&] { return UnixStream::connect(full.listener.local_address()); });
        REQUIRE_FALSE(connecting.done());
        REQUIRE(full.listener.accept().is_open());
        auto client = connecting.get();
        auto server = full.listener.accept();
        client.write_all("room");
        REQUIRE(read_text(server) == "room");
    });
}

TEST_CASE("a Unix peer may go at any step", "[os][unix]") {
    on_all_io([] {
        UnixListener listener{UnixAddress{}};
        const auto address = listener.local_address();

        UnixStream::connect(address).close();  // before it is accepted
        auto gone = listener.accept();
        REQUIRE(read_text(gone).empty());
        REQUIRE(is(error_of([&] { gone.write_all("x"); }), std::errc::broken_pipe));

        auto [left, right] = UnixStream::pair();  // while the other reads
        auto reader = waiting([&left = left] { return read_text(left); });
        right.close();
        REQUIRE(reader.get().empty());

        auto [full, idle] = UnixStream::pair();  // while the other writes, with bytes unread
        fill(full);
        auto writer = waiting([&full = full] { return error_of([&] { full.write_all("more"); }); });
        idle.close();
        REQUIRE(is(writer.get(), std::errc::broken_pipe));
        REQUIRE(is(error_of([&full = full] { read_text(full); }), std::errc::connection_reset));

        auto [half, ends] = UnixStream::pair();  // in the middle of what is wanted whole
        ends.write_all("abc");
        half.write_all("never read");
        auto exact = waiting([&half = half] {
            std::array<std::byte, 10> buffer;
            return error_of([&] { half.read_exactly(buffer); });
        });
        ends.close();
        REQUIRE(is(exact.get(), std::errc::connection_reset));

        auto queued = UnixStream::connect(address);  // the listener, with it in its queue
        listener.close();
        REQUIRE(is(error_of([&] { read_text(queued); }), std::errc::connection_reset));
        REQUIRE(is(error_of([&] { UnixStream::connect(address); }), std::errc::connection_refused));
    });
}

TEST_CASE("a refused Unix connection names the address", "[os][unix]") {
    const Place place;
    const auto connect = [&] { UnixStream::connect(place.address); };
    REQUIRE(is(error_of(connect), std::errc::no_such_file_or_directory));
    place.leave_stale();
    REQUIRE(is(error_of(connect), std::errc::connection_refused));
    REQUIRE(text_of_error(connect).find(place.path) != std::string::npos);
}

TEST_CASE("Unix sockets leave no descriptor behind", "[os][unix]") {
    on_workers_and_io([] {
        const std::size_t before = open_fds();
        {
            Waits waits;
            for (const auto& call : waits.all()) error_of([&] { call(1ms); });
            const Place place;
            place.leave_stale();
            error_of([&] { UnixListener{place.address}; });
            error_of([&] { UnixListener{UnixAddress{"/no/such/directory"}}; });
            error_of([&] { UnixStream::connect(place.address); });
        }
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("plain threads use Unix sockets too", "[os][unix]") {
    UnixListener listener{UnixAddress{}};
    std::thread server{[&] { echo_until_end(listener.accept()); }};
    auto client = UnixStream::connect(listener.local_address());
    client.write_all("thread");
    std::array<std::byte, 6> buffer;
    REQUIRE(client.read_exactly(buffer) == 6);
    client.close();
    server.join();
    REQUIRE(is(error_of([&] { listener.accept(1ms); }), std::errc::timed_out));
    Waits waits;
    for (const auto& call : waits.all()) {
        REQUIRE(is(error_of([&] { call(1ms); }), std::errc::timed_out));
    }
}

TEST_CASE("messages that wait go both ways at once", "[os][unix]") {
    on_workers_and_io([] {
        constexpr std::size_t size = (weft::test::under_sanitizer ? 1 : 4) << 20;
        const auto data = pattern(100'000);
        const auto send = [&data](UnixStream& stream) {
            for (std::size_t sent = 0; sent < size;) {
                const std::size_t length = sent % 8 == 0 ? data.size() : 1 + sent % 100;
                const weft::io::ConstBuffer pieces[] = {{data.data(), length}, {data.data(), 1}};
                sent += stream.write(pieces);
            }
            stream.shutdown(Shutdown::write);
        };
        std::vector<std::pair<UnixStream, UnixStream>> pairs(4);
        for (auto& pair : pairs) pair = UnixStream::pair();
        std::vector<weft::Fiber<>> senders;
        std::vector<weft::Fiber<std::size_t>> receivers;
        for (auto& [left, right] : pairs) {
            for (UnixStream* stream : {&left, &right}) {
                senders.push_back(weft::spawn([&send, stream] { send(*stream); }));
                receivers.push_back(weft::spawn([stream] { return read_to_end(*stream).size(); }));
            }
        }
        for (auto& sender : senders) sender.get();
        for (auto& receiver : receivers) REQUIRE(receiver.get() >= size);
    });
}
