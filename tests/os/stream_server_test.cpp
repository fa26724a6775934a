// What stream_server.hpp promises.
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/fiber_pool.hpp>
#include <weft/io/stream_server.hpp>
#include <weft/io/tcp.hpp>

#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::Deadline;
using weft::FiberPool;
using weft::io::Address;
using weft::io::StreamServer;
using weft::io::TcpListener;
using weft::io::TcpStream;

namespace {

constexpr auto for_ever = std::chrono::nanoseconds::max();

void echo(TcpStream& peer) {
    for (;;) {
        const std::string text = read_text(peer);
        if (text.empty()) return;
        peer.write_all(text);
    }
}

/// Sends a text and gets it back.
void ask(TcpStream& stream, const std::string& text) {
    stream.write_all(text);
    std::string answer(text.size(), '\0');
    REQUIRE(stream.read_exactly(std::as_writable_bytes(std::span{answer})) == text.size());
    REQUIRE(answer == text);
}

struct Listening {
    TcpListener listener{Address::loopback_v4(0)};
    Address address = listener.local_address();
};

std::atomic<int> reports{0};
std::string last_report;  // written before `reports`, read after

void keep_report(std::uint64_t, std::string_view, std::exception_ptr error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        last_report = e.what();
    }
    ++reports;
}

/// An echo server that runs, with one connection.
struct Running {
    Running() { ask(client, "hello"); }

    Listening here;
    FiberPool pool{10};
    StreamServer<TcpListener, void (*)(TcpStream&)> server{
        std::move(here.listener), echo, pool, {.grace = for_ever}};
    weft::Fiber<bool> serving = weft::spawn([this] { return server.serve(); });
    TcpStream client = TcpStream::connect(here.address);
};

/// Fails after as many connections as it is told.
class Failing {
public:
    explicit Failing(TcpListener listener, int good)
        : listener_{std::move(listener)}, good_{good} {}
    TcpStream accept() {
        if (good_-- == 0) throw std::system_error{EINVAL, std::system_category(), "accept"};
        return listener_.accept();
    }
    void close() noexcept { listener_.close(); }

private:
    TcpListener listener_;
    int good_;
};

/// Counts who is in accept().
class Counting {
public:
    Counting(TcpListener listener, std::atomic<std::size_t>& accepting)
        : listener_{std::move(listener)}, accepting_{&accepting} {}
    TcpStream accept() {
        struct Inside {
            explicit Inside(std::atomic<std::size_t>& of) : count{of} { ++count; }
            ~Inside() { --count; }
            std::atomic<std::size_t>& count;
        };
        const Inside inside{*accepting_};
        return listener_.accept();
    }
    void close() noexcept { listener_.close(); }

private:
    TcpListener listener_;
    std::atomic<std::size_t>* accepting_;
};

/// Holds all memory there is for fibers, while it lives.
class NoFibers {
public:
    NoFibers() {
        fibers_.reserve(1 << 20);
        try {
            for (;;) fibers_.push_back(weft::spawn([this] { go_.wait(); }));
        } catch (const std::system_error& error) {
            if (error.code() != std::errc::not_enough_memory) throw;
        }
    }
    ~NoFibers() {
        go_.set();
        weft::join_all(fibers_);
    }

private:
    weft::Event go_;
    std::vector<weft::Fiber<>> fibers_;
};

const Child without_memory{"serves without memory for fibers", [] {
                               return weft::run(
                                   [] {
                                       Listening here;
                                       FiberPool pool{10};
                                       StreamServer server{std::move(here.listener), echo, pool};
                                       auto serving = weft::spawn([&] { return server.serve(); });
                                       auto first = TcpStream::connect(here.address);
                                       first.write_all("1");
                                       if (read_text(first) != "1") return 2;
                                       limit_address_space(std::size_t{600} << 20);
                                       std::optional<NoFibers> shortage{std::in_place};
                                       // One turn to accept may have found its fiber before; not
                                       // two. (Of more workers, some may have stacks left over.)
                                       std::vector<TcpStream> more;
                                       for (int i = 0; i < 3; ++i) {
                                           more.push_back(TcpStream::connect(here.address));
                                           more.back().write_all("2");
                                       }
                                       first.write_all("3");
                                       if (read_text(first) != "3") return 3;
                                       if (server.accepted() == 4) return 4;
                                       shortage.reset();
                                       for (TcpStream& stream : more) {
                                           if (read_text(stream) != "2") return 5;
                                           stream.close();
                                       }
                                       first.close();
                                       server.stop();
                                       return serving.get() ? 0 : 6;
                                   },
                                   {.workers = 1});
                           }};

}  // namespace

TEST_CASE("a StreamServer handles connections at once, until it is stopped", "[os][server]") {
    on_workers_and_io([] {
        constexpr int clients = 20;
        Listening here;
        FiberPool pool{100};
        StreamServer server{std::move(here.listener), echo, pool, {.grace = for_ever}};
        auto serving = weft::spawn([&] { return server.serve(); });
        {
            std::vector<TcpStream> streams;
            for (int i = 0; i < clients; ++i) streams.push_back(TcpStream::connect(here.address));
            for (int round = 0; round < 3; ++round) {
                for (int i = 0; i < clients; ++i) ask(streams[i], "I am " + std::to_string(i));
            }
            CHECK(server.accepted() == clients);
            CHECK(server.connections() == clients);
        }
        server.stop();
        CHECK(serving.get());
        CHECK(server.connections() == 0);
        CHECK_THROWS_AS(TcpStream::connect(here.address), std::system_error);
    });
}

TEST_CASE("a connection may stop its server, which waits for it", "[os][server]") {
    on_workers_and_io([] {
        Listening here;
        FiberPool pool{10};
        std::atomic<bool> ended{false};
        weft::io::StreamServerBase* self = nullptr;
        StreamServer server{std::move(here.listener),
                            [&](TcpStream stream) {
                                self->stop();
                                echo(stream);
                                ended = true;
                            },
                            pool,
                            {.grace = for_ever}};
        self = &server;
        auto serving = weft::spawn([&] { return server.serve(); });
        auto stream = TcpStream::connect(here.address);
        ask(stream, "hello");
        CHECK_FALSE(serving.done());
        stream.close();
        CHECK(serving.get());
        CHECK(ended);
    });
}

TEST_CASE("nothing is accepted while the pool is full", "[os][server]") {
    on_workers_and_io([] {
        Listening here;
        FiberPool pool{2};
        StreamServer server{std::move(here.listener), echo, pool, {.grace = for_ever}};
        auto serving = weft::spawn([&] { return server.serve(); });
        auto first = TcpStream::connect(here.address);
        auto second = TcpStream::connect(here.address);
        ask(first, "1");
        ask(second, "2");
        auto third = TcpStream::connect(here.address);
        third.write_all("3");
        // It had many occasions to be accepted.
        for (int i = 0; i < 50; ++i) {
            ask(first, "1");
            ask(second, "2");
        }
        CHECK(server.accepted() == 2);
        first.close();
        CHECK(read_text(third) == "3");
        CHECK(server.accepted() == 3);
        second.close();
        third.close();
        server.stop();
        CHECK(serving.get());
    });
}

TEST_CASE("connections that are there after the grace are cancelled", "[os][server]") {
    on_workers_and_io([] {
        Listening here;
        FiberPool pool{10};
        std::atomic<bool> cancelled{false};
        StreamServer server{std::move(here.listener),
                            [&](TcpStream& stream) {
                                try {
                                    echo(stream);
                                } catch (const weft::Cancelled&) {
                                    cancelled = true;
                                    throw;
                                }
                            },
                            pool,
                            {.grace = 0ns}};
        auto serving = weft::spawn([&] { return server.serve(); });
        auto stream = TcpStream::connect(here.address);
        ask(stream, "hello");
        server.stop();
        CHECK_FALSE(serving.get());
        CHECK(cancelled);
        CHECK(read_text(stream).empty());
    });
}

TEST_CASE("a handler's exception is reported, and ends its connection only", "[os][server]") {
    for (const auto io : available_io()) {
        reports = 0;
        weft::run(
            [] {
                Listening here;
                FiberPool pool{10};
                StreamServer server{std::move(here.listener),
                                    [&](TcpStream& stream) {
                                        const std::string text = read_text(stream);
                                        if (text == "fail") throw std::runtime_error{"as told"};
                                        stream.write_all(text);
                                    },
                                    pool};
                auto serving = weft::spawn([&] { return server.serve(); });
                auto bad = TcpStream::connect(here.address);
                bad.write_all("fail");
                CHECK(read_text(bad).empty());
                auto good = TcpStream::connect(here.address);
                ask(good, "fine");
                CHECK(reports == 1);
                CHECK(last_report == "as told");
                server.stop();
                CHECK(serving.get());
            },
            {.workers = 2, .io = io, .on_unhandled = &keep_report});
    }
}

TEST_CASE("serve() throws what made accepting impossible, when the others have ended",
          "[os][server]") {
    on_workers_and_io([] {
        Listening here;
        FiberPool pool{10};
        StreamServer server{Failing{std::move(here.listener), 1}, echo, pool, {.grace = for_ever}};
        auto stream = TcpStream::connect(here.address);
        auto asking = weft::spawn([&] {
            ask(stream, "hello");
            stream.close();
        });
        try {
            server.serve();
            FAIL("no exception");
        } catch (const std::system_error& error) {
            CHECK(error.code().value() == EINVAL);
        }
        CHECK(server.connections() == 0);
        asking.get();
    });
}

TEST_CASE("a pool that somebody else closes ends its server", "[os][server]") {
    on_workers_and_io([] {
        Running running;
        running.pool.terminate();
        CHECK_THROWS_AS(running.serving.get(), weft::PoolClosed);
        CHECK(running.server.connections() == 0);
    });
}

TEST_CASE("several listeners are served, of one port too", "[os][server]") {
    on_workers_and_io([] {
        TcpListener first{Address::loopback_v4(0), {.reuse_port = true}};
        const Address shared = first.local_address();
        TcpListener second{shared, {.reuse_port = true}};
        Listening other;
        FiberPool pool{100};
        StreamServer server{std::move(first), echo, pool, {.grace = for_ever}};
        server.add(std::move(second));
        server.add(std::move(other.listener));
        auto serving = weft::spawn([&] { return server.serve(); });
        // The kernel chooses between the two: more than one will meet both.
        for (int i = 0; i < 32; ++i) {
            auto stream = TcpStream::connect(shared);
            ask(stream, "hello");
        }
        auto stream = TcpStream::connect(other.address);
        ask(stream, "hello");
        stream.close();
        CHECK(server.accepted() == 33);
        server.stop();
        CHECK(serving.get());
    });
}

TEST_CASE("each worker accepts for itself, if asked to", "[os][server]") {
    on_workers_and_io([] {
        const std::size_t workers = weft::Runtime::current().workers();
        Listening here;
        std::atomic<std::size_t> accepting{0};
        FiberPool pool{100};
        StreamServer server{Counting{std::move(here.listener), accepting},
                            echo,
                            pool,
                            {.grace = for_ever, .accept_on_each_worker = true}};
        auto serving = weft::spawn([&] { return server.serve(); });
        const auto until_all_accept = [&] {
            while (accepting < workers) weft::this_fiber::yield();
        };
        until_all_accept();
        std::vector<TcpStream> streams;
        for (int i = 0; i < 20; ++i) streams.push_back(TcpStream::connect(here.address));
        for (int i = 0; i < 20; ++i) ask(streams[i], "I am " + std::to_string(i));
        until_all_accept();
        CHECK(accepting == workers);
        streams.clear();
        server.stop();
        CHECK(serving.get());
        CHECK(accepting == 0);
    });
}

TEST_CASE("listeners that all workers accept from leave each other places of the pool",
          "[os][server]") {
    on_workers_and_io([] {
        Listening first;
        Listening second;
        FiberPool pool{3};
        StreamServer server{std::move(first.listener),
                            echo,
                            pool,
                            {.grace = for_ever, .accept_on_each_worker = true}};
        server.add(std::move(second.listener));
        auto serving = weft::spawn([&] { return server.serve(); });
        for (const Address& address : {first.address, second.address}) {
            auto stream = TcpStream::connect(address);
            ask(stream, "hello");
        }
        server.stop();
        CHECK(serving.get());
    });
}

TEST_CASE("a listener to which nobody connects keeps one place for its next connection",
          "[os][server]") {
    on_workers_and_io([] {
        Listening busy;
        Listening idle;
        FiberPool pool{3};
        std::atomic<std::size_t> accepting{0};
        StreamServer server{
            Counting{std::move(busy.listener), accepting}, echo, pool, {.grace = for_ever}};
        server.add(Counting{std::move(idle.listener), accepting});
        auto serving = weft::spawn([&] { return server.serve(); });
        while (accepting < 2) weft::this_fiber::yield();
        auto first = TcpStream::connect(busy.address);
        auto second = TcpStream::connect(busy.address);
        ask(first, "1");
        ask(second, "2");
        auto third = TcpStream::connect(busy.address);
        third.write_all("3");
        // It had many occasions to be accepted.
        for (int i = 0; i < 50; ++i) ask(first, "1");
        CHECK(server.accepted() == 2);
        auto other = TcpStream::connect(idle.address);
        ask(other, "has a place");
        CHECK(server.accepted() == 3);
        first.close();
        second.close();
        CHECK(read_text(third) == "3");
        third.close();
        other.close();
        server.stop();
        CHECK(serving.get());
    });
}

TEST_CASE("a cancelled serve() leaves no connection", "[os][server]") {
    on_workers_and_io([] {
        Running running;
        running.serving.cancel();
        CHECK_THROWS_AS(running.serving.get(), weft::Cancelled);
        CHECK(running.server.connections() == 0);
        CHECK(read_text(running.client).empty());
    });
}

TEST_CASE("a cancellation cuts the grace short", "[os][server]") {
    on_workers_and_io([] {
        Running running;
        running.server.stop();
        while (running.pool.unfinished() > 1) weft::this_fiber::yield();  // nobody accepts any more
        running.serving.cancel();
        CHECK_THROWS_AS(running.serving.get(), weft::Cancelled);
        CHECK(running.server.connections() == 0);
    });
}

TEST_CASE("a server that was stopped before does not serve", "[os][server]") {
    on_workers_and_io([] {
        Listening here;
        FiberPool pool{10};
        StreamServer server{std::move(here.listener), echo, pool};
        server.stop();
        CHECK(server.serve());
        CHECK(server.accepted() == 0);
    });
}

TEST_CASE("a pool whose initializer throws is asked again after a pause", "[os][server]") {
    on_workers_and_io([] {
        Listening here;
        std::atomic<int> calls{0};
        FiberPool pool{10, {}, [&calls] {
                           if (++calls <= 3) throw std::runtime_error{"not yet"};
                       }};
        StreamServer server{std::move(here.listener), echo, pool, {.grace = for_ever}};
        auto serving = weft::spawn([&] { return server.serve(); });
        auto stream = TcpStream::connect(here.address);
        ask(stream, "hello");
        CHECK(calls <= 5);  // another waits for the next connection, or is about to
        stream.close();
        server.stop();
        CHECK(serving.get());
    });
}

TEST_CASE("without memory for a fiber a server accepts when there is some again", "[os][server]") {
    if (under_sanitizer) return;  // they map more than any limit
    const Outcome outcome = without_memory.run();
    INFO(outcome.describe());
    CHECK(outcome.exited_with(0));
}
