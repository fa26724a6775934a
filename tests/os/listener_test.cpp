// Listeners of others: from a service manager, another process, a library.
#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/fd.hpp"
#include "support/runtime.hpp"
#include "support/tcp.hpp"

#include <weft/fiber.hpp>
#include <weft/fiber_pool.hpp>
#include <weft/io/stream_server.hpp>
#include <weft/io/tcp.hpp>
#include <weft/io/unix.hpp>

#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

using namespace weft::test;
using weft::io::Address;
using weft::io::TcpListener;
using weft::io::TcpStream;
using weft::io::UnixAddress;
using weft::io::UnixListener;
using weft::io::UnixStream;

namespace {

/// One that blocks, as a service manager passes it on.
int listening_socket(const Address& local) {
    Fd fd{::socket(local.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::bind(fd, local.data(), static_cast<socklen_t>(local.size())) == 0);
    REQUIRE(::listen(fd, 10) == 0);
    return fd.release();
}

template <class Listener>
void require_refused(int fd, std::errc why) {
    INFO("descriptor: " << fd);
    const std::string number = std::to_string(fd);
    try {
        Listener{fd};
        FAIL("it was taken over");
    } catch (const std::system_error& error) {
        REQUIRE(error.code() == why);
        REQUIRE(std::string{error.what()}.find("descriptor " + number) != std::string::npos);
    }
    if (fd >= 0) REQUIRE(::fcntl(fd, F_GETFD) >= 0);
}

}  // namespace

TEST_CASE("a TCP socket that listens already is taken over, and served", "[os][tcp][server]") {
    on_workers_and_io([] {
        for (const auto& here : {Address::loopback_v4(0), Address::loopback_v6(0)}) {
            TcpListener listener{listening_socket(here)};
            const Address where = listener.local_address();
            auto accepting = weft::spawn([&] { return listener.accept(); });
            auto first = TcpStream::connect(where);
            accepting.get().write_all("one");
            REQUIRE(read_text(first) == "one");

            weft::FiberPool pool{4};
            weft::io::StreamServer server{std::move(listener),
                                          [](TcpStream stream) { stream.write_all("two"); }, pool};
            auto serving = weft::spawn([&] { return server.serve(); });
            auto second = TcpStream::connect(where);
            REQUIRE(read_text(second) == "two");
            server.stop();
            REQUIRE(serving.get());
        }
    });
}

TEST_CASE("a Unix socket that listens already is taken over, and leaves its path", "[os][unix]") {
    on_workers_and_io([] {
        UnixListener made{UnixAddress{}};
        const UnixAddress where = made.local_address();
        UnixListener listener{made.release()};
        REQUIRE(listener.local_address() == where);
        auto accepting = weft::spawn([&] { return listener.accept(); });
        auto client = UnixStream::connect(where);
        accepting.get().write_all("one");
        REQUIRE(read_text(client) == "one");
    });
}

TEST_CASE("what is no listener of the kind is refused, and stays the caller's", "[os][tcp]") {
    const Fd unconnected{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const Fd datagrams{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const Fd null{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    const UnixListener unix_one{UnixAddress{}};
    const TcpListener tcp_one{Address::loopback_v4(0)};
    require_refused<TcpListener>(unconnected, std::errc::invalid_argument);
    require_refused<TcpListener>(datagrams, std::errc::wrong_protocol_type);
    require_refused<TcpListener>(null, std::errc::not_a_socket);
    require_refused<TcpListener>(unix_one.fd(), std::errc::wrong_protocol_type);
    require_refused<TcpListener>(-1, std::errc::bad_file_descriptor);
    require_refused<UnixListener>(tcp_one.fd(), std::errc::wrong_protocol_type);
    require_refused<UnixListener>(-1, std::errc::bad_file_descriptor);
}

TEST_CASE("an IPv4 peer of an IPv6 socket gets packets with the options, too", "[os][tcp]") {
    on_workers_and_io([] {
        TcpListener listener{Address::any_v6(0)};
        const auto port = listener.local_address().port();
        auto client = TcpStream::connect(Address::loopback_v4(port));
        auto stream = listener.accept();
        const auto option_of_v4 = [&](int name) {
            int value = 0;
            socklen_t size = sizeof value;
            REQUIRE(::getsockopt(stream.fd(), IPPROTO_IP, name, &value, &size) == 0);
            return value;
        };
        stream.type_of_service(0x20);
        REQUIRE(stream.type_of_service() == 0x20);
        REQUIRE(option_of_v4(IP_TOS) == 0x20);
        stream.time_to_live(7);
        REQUIRE(option_of_v4(IP_TTL) == 7);
        stream.time_to_live(-1);
        REQUIRE(option_of_v4(IP_TTL) > 7);
    });
}
