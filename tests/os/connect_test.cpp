#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/fd.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/io/connect.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::Address;
using weft::io::ConnectOptions;
using weft::io::TcpListener;
using weft::io::TcpStream;

namespace {

/// An address whose port is taken by nobody who listens.
class Refusing {
public:
    explicit Refusing(const Address& host) : fd_{::socket(host.data()->sa_family, SOCK_STREAM, 0)} {
        REQUIRE(::bind(fd_, host.data(), static_cast<socklen_t>(host.size())) == 0);
        sockaddr_storage name{};
        socklen_t size = sizeof name;
        REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size) == 0);
        address = Address::from(reinterpret_cast<sockaddr*>(&name), size);
    }
    Address address;

private:
    Fd fd_;
};

/// A listener that takes nobody any more: connecting to it lasts for ever.
class Silent {
public:
    Silent() : listener_{Address::loopback_v4(0), {.backlog = 0}} {
        for (;;) {
            try {
                fillers_.push_back(TcpStream::connect(address(), 20ms));
            } catch (const std::system_error&) {
                return;
            }
        }
    }
    Address address() const { return listener_.local_address(); }

private:
    TcpListener listener_;
    std::vector<TcpStream> fillers_;
};

std::string complaint_of(const std::vector<Address>& addresses, weft::Deadline deadline,
                         std::errc expected) {
    try {
        weft::io::connect(addresses, {}, deadline);
    } catch (const std::system_error& error) {
        REQUIRE(is(error.code(), expected));
        return error.what();
    }
    FAIL("connected");
    return {};
}

}  // namespace

TEST_CASE("a host is connected to by name or number", "[os][connect]") {
    on_workers_and_io([] {
        TcpListener listener{Address::loopback_v4(0)};
        const auto port = std::to_string(listener.local_address().port());
        for (const char* host : {"localhost", "127.0.0.1"}) {
            auto client = weft::io::connect(host, port);
            auto server = listener.accept();
            client.write_all("hello");
            client.close();
            REQUIRE(read_to_end(server) == "hello");
        }
        auto client = weft::io::connect("localhost", listener.local_address().port());
        REQUIRE(client.peer_address() == listener.local_address());
        for (const Address& found : weft::io::resolve("127.0.0.1", 80)) {
            REQUIRE(found == Address::loopback_v4(80));
        }
    });
}

TEST_CASE("an address that refuses is passed over", "[os][connect]") {
    on_workers_and_io([] {
        const Refusing v4{Address::loopback_v4(0)};
        const Refusing v6{Address::loopback_v6(0)};
        TcpListener listener{Address::loopback_v4(0)};
        const std::vector addresses{v6.address, v4.address, listener.local_address()};
        const auto stream = weft::io::connect(addresses);
        REQUIRE(stream.peer_address() == listener.local_address());
    });
}

TEST_CASE("an address that is silent is given up when another answers", "[os][connect]") {
    on_workers_and_io([] {
        const Silent silent;
        TcpListener listener{Address::loopback_v4(0)};
        const std::size_t before = open_fds();
        {
            const std::vector addresses{silent.address(), listener.local_address()};
            const auto stream = weft::io::connect(addresses, {.attempt_delay = 5ms});
            REQUIRE(stream.peer_address() == listener.local_address());
            REQUIRE(open_fds() == before + 1);
        }
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("when none answers, the error lists each and what was wrong", "[os][connect]") {
    on_workers_and_io([] {
        const Refusing v4{Address::loopback_v4(0)};
        const Refusing v6{Address::loopback_v6(0)};
        const Silent silent;
        const std::size_t before = open_fds();
        const std::string all = complaint_of({v6.address, v4.address}, weft::Deadline::never(),
                                             std::errc::connection_refused);
        INFO(all);
        REQUIRE(all.find(v6.address.to_string() + ": Connection refused; " +
                         v4.address.to_string() + ": Connection refused") != all.npos);
        const std::string late = complaint_of({v4.address, silent.address(), silent.address()},
                                              30ms, std::errc::timed_out);
        INFO(late);
        REQUIRE(late.find(v4.address.to_string() + ": Connection refused") != late.npos);
        REQUIRE(late.find(silent.address().to_string() + ": no answer") != late.npos);
        REQUIRE(late.find(silent.address().to_string() + ": not tried") != late.npos);
        REQUIRE_THROWS_AS(weft::io::connect(std::vector<Address>{}), std::invalid_argument);
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("a host is connected to with the options of a stream", "[os][connect]") {
    on_workers_and_io([] {
        const Refusing v4{Address::loopback_v4(0)};
        const Refusing v6{Address::loopback_v6(0)};
        TcpListener listener{Address::loopback_v4(0)};
        const weft::io::TcpConnectOptions tcp{.local = Address{"127.0.0.2", 0},
                                              .receive_buffer = 8192,
                                              .no_delay = true,
                                              .keep_alive = weft::io::KeepAlive{}};
        const auto by_name =
            weft::io::connect("127.0.0.1", listener.local_address().port(), {.tcp = tcp});
        const std::vector both{v6.address, listener.local_address()};  // one has no such address
        const auto by_address = weft::io::connect(both, {.tcp = tcp});
        for (const auto* stream : {&by_name, &by_address}) {
            REQUIRE(stream->local_address().host() == "127.0.0.2");
            REQUIRE(stream->receive_buffer() == 2 * 8192);
            REQUIRE(stream->no_delay());
            REQUIRE(stream->keep_alive());
        }
        const std::size_t before = open_fds();
        const auto error_with = [&](const weft::io::TcpConnectOptions& options) {
            return error_of([&] { weft::io::connect({&v6.address, 1}, {.tcp = options}); });
        };
        REQUIRE(is(error_with(tcp), std::errc::address_family_not_supported));
        // The one that cannot be reached is not what is told.
        const std::vector refusing{v4.address, v6.address};
        REQUIRE(is(error_of([&] { weft::io::connect(refusing, {.tcp = tcp}); }),
                   std::errc::connection_refused));
        REQUIRE(is(error_with({.keep_alive = weft::io::KeepAlive{.count = 128}}),
                   std::errc::invalid_argument));
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("an attempt that failed while a child has a copy of it is not taken for one that won",
          "[os][connect]") {
    std::optional<Silent> first{std::in_place};
    const Silent second;
    const std::vector addresses{first->address(), second.address()};
    const std::size_t before = open_fds();
    std::string complaint;
    std::thread connecting{[&] {
        try {
            const auto stream = weft::io::connect(addresses, {.attempt_delay = 0ms}, 1500ms);
            complaint = "connected by " + std::to_string(stream.fd());
        } catch (const std::system_error& error) {
            complaint = error.what();
        }
    }};
    while (open_fds() < before + 4) std::this_thread::yield();  // both, and two to wait by
    const pid_t child = ::fork();
    if (child == 0) {
        first.reset();  // it has a copy of the listener, too
        ::pause();
        ::_exit(0);
    }
    first.reset();  // the next SYN, a second after the first, is refused
    connecting.join();
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    INFO(complaint);
    REQUIRE(complaint.find(addresses[0].to_string() + ": Connection refused") != complaint.npos);
    REQUIRE(complaint.find(addresses[1].to_string() + ": no answer") != complaint.npos);
}

TEST_CASE("a cancelled connect leaves nothing open", "[os][connect][cancel]") {
    on_workers_and_io([] {
        const Silent silent;
        const std::size_t before = open_fds();
        auto fiber = weft::spawn([&] {
            const std::vector addresses{silent.address(), silent.address()};
            weft::io::connect(addresses, {.attempt_delay = 1ms});
        });
        until_in_flight(1);
        fiber.cancel();
        REQUIRE_THROWS_AS(fiber.get(), weft::Cancelled);
        REQUIRE(open_fds() == before);
    });
}

TEST_CASE("plain threads connect to hosts too", "[os][connect]") {
    TcpListener listener{Address::loopback_v4(0)};
    const Refusing refusing{Address::loopback_v4(0)};
    const std::vector addresses{refusing.address, listener.local_address()};
    REQUIRE(weft::io::connect(addresses).is_open());
    REQUIRE(is(error_of([&] { weft::io::connect("127.0.0.1", "1", 5s); }),
               std::errc::connection_refused));
}

TEST_CASE("a host is connected to in every simulated order", "[os][connect]") {
    on_seeds(20, [](std::uint64_t) {
        const Refusing refusing{Address::loopback_v4(0)};
        TcpListener listener{Address::loopback_v4(0)};
        auto server = weft::spawn([&] { return listener.accept(); });
        const std::vector addresses{refusing.address, listener.local_address()};
        auto client = weft::io::connect(addresses);
        auto accepted = server.get();
        client.write_all("hello");
        client.close();
        REQUIRE(read_to_end(accepted) == "hello");
    });
}
