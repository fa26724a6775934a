// Boost.Beast over TcpStream, as a client of the library would use it.
#include "support/catch.hpp"

#if __has_include(<boost/beast.hpp>)

#include "support/runtime.hpp"
#include "support/tcp.hpp"

#if defined(__GNUC__) && \
    !defined(__clang__)  // with sanitizers GCC 12 believes it of Boost.Optional
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <weft/io/unix.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <array>
#include <vector>

namespace beast = boost::beast;
namespace http = boost::beast::http;
using namespace std::chrono_literals;
using namespace weft::test;
using weft::io::TcpStream;

template <>
struct weft::io::EndOfStream<boost::system::error_code> {
    static boost::system::error_code value() { return boost::asio::error::eof; }
};

static_assert(beast::is_sync_stream<TcpStream>::value);
static_assert(beast::is_sync_stream<weft::io::UnixStream>::value);

namespace {

void answer(TcpStream& stream) {
    beast::flat_buffer buffer;
    for (;;) {
        http::request<http::string_body> request;
        beast::error_code error;
        http::read(stream, buffer, request, error);
        if (error == http::error::end_of_stream) return;
        http::response<http::string_body> response{http::status::ok, request.version()};
        response.body() = "you said " + request.body();
        response.keep_alive(request.keep_alive());
        response.prepare_payload();
        http::write(stream, response, error);
    }
}

}  // namespace

TEST_CASE("Beast talks HTTP over a stream, keep-alive and all", "[os][beast]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        auto answering = weft::spawn([&server = server] { answer(server); });
        beast::flat_buffer buffer;
        for (const std::size_t size : {0u, 10u, 100'000u}) {
            http::request<http::string_body> request{http::verb::post, "/", 11};
            request.body() = std::string(size, 'z');
            request.prepare_payload();
            http::write(client, request);
            http::response<http::string_body> response;
            http::read(client, buffer, response);
            REQUIRE(response.body() == "you said " + request.body());
        }
        client.close();
        answering.get();
    });
}

TEST_CASE("the end, a time-out and other errors reach Beast as its own", "[os][beast]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        std::array<char, 4> memory;
        const auto buffer = boost::asio::buffer(memory);
        beast::error_code error;

        server.expires_at(1ms);
        REQUIRE(server.read_some(buffer, error) == 0);
        REQUIRE(error == boost::asio::error::timed_out);
        REQUIRE(error == boost::system::errc::timed_out);
        server.expires_at(weft::Deadline::never());

        REQUIRE(client.write_some(boost::asio::buffer("ab", 2), error) == 2);
        REQUIRE_FALSE(error);
        REQUIRE(server.read_some(buffer, error) == 2);
        REQUIRE_FALSE(error);

        client.close();
        REQUIRE(server.read_some(buffer, error) == 0);
        REQUIRE(error == boost::asio::error::eof);
        REQUIRE(server.read_some(boost::asio::mutable_buffer{}, error) == 0);
        REQUIRE_FALSE(error);
        REQUIRE(client.write_some(boost::asio::buffer("ab", 2), error) == 0);
        REQUIRE(error == boost::asio::error::bad_descriptor);

        std::error_code plain;
        REQUIRE(server.read_some(buffer, plain) == 0);
        REQUIRE(plain == weft::io::StreamError::end_of_stream);
        REQUIRE(plain.message() == "end of stream");
        REQUIRE(error_of([&, &server = server] { server.read_some(buffer); }) ==
                weft::io::StreamError::end_of_stream);
    });
}

TEST_CASE("buffer sequences of every kind are taken", "[os][beast]") {
    on_workers_and_io([] {
        auto [client, server] = connection();
        std::vector<boost::asio::const_buffer> out;
        for (int i = 0; i < 40; ++i)
            out.push_back(boost::asio::buffer(i % 2 == 0 ? "x" : "", i % 2 == 0));
        REQUIRE(client.write_some(out) == 16);  // the first 16 that are not empty
        std::array<char, 3> first;
        std::array<char, 20> second;
        const std::array<boost::asio::mutable_buffer, 2> in{boost::asio::buffer(first),
                                                            boost::asio::buffer(second)};
        REQUIRE(server.read_some(in) == 16);
        beast::multi_buffer many;
        client.write_all("multi");
        many.commit(server.read_some(many.prepare(100)));
        REQUIRE(beast::buffers_to_string(many.data()) == "multi");
    });
}

#endif
