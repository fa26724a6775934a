#pragma once

#include "http/beast.hpp"
#include "http/options.hpp"
#include "http/target.hpp"

#include <weft/event.hpp>
#include <weft/io/tcp.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace server {

/// Thrown by whoever cannot or will not answer a request: becomes the answer.
struct Refusal {
    http::status status;
    std::string why;
    std::string allow = {};  ///< the Allow field of a 405
};

/// Thrown when the peer went away or takes nothing more: nothing can be answered.
struct PeerGone {};

/// One request and the way to its answer.
///
/// Every call but the getters blocks the fiber until the peer did its part or
/// ran out of time, and throws PeerGone when it is not there any more.
/// Answer by one send(), or by begin(), piece()... and end().
class Exchange {
public:
    /// `buffer` carries what was read beyond one request over to the next.
    Exchange(weft::io::TcpStream& stream, beast::flat_buffer& buffer, const Settings& settings,
             const weft::Event& stopping);

    /// Reads the request. Throws Refusal when it is malformed, too large or too late.
    void receive();

    http::verb method() const { return parser_.get().method(); }
    const std::string& body() const { return parser_.get().body(); }
    const Target& target() const noexcept { return target_; }
    /// "GET /path", for the log.
    std::string to_string() const;

    /// Answers with a whole body.
    void send(http::status status, std::string_view content_type, std::string body);
    /// Answers with the reason in plain text.
    void send(const Refusal& refusal);

    /// Answers 200, piece by piece; without a length, chunked (for HTTP/1.0: up
    /// to the close). A HEAD request gets the header only.
    void begin(std::string_view content_type, std::optional<std::uint64_t> length = {});
    void piece(std::string_view bytes);
    void end();

    /// Whether an answer has begun.
    bool begun() const noexcept { return begun_; }
    /// Whether the next request can follow on the same connection.
    bool keeps_open() const noexcept { return answered_ && keep_alive_; }

private:
    using Response = http::response<http::string_body>;

    void receive_header();
    void receive_body();
    void check_header();
    template <class Body>
    void set_common(http::response<Body>& response, std::string_view content_type) const;
    void write(const Response& response);
    void check(const boost::system::error_code& error) const;

    weft::io::TcpStream& stream_;
    beast::flat_buffer& buffer_;
    const Settings& settings_;
    const weft::Event& stopping_;

    http::request_parser<http::string_body> parser_;
    Target target_;
    bool keep_alive_ = false;  // until the whole request was read
    bool begun_ = false;
    bool answered_ = false;
    bool chunked_ = false;
};

}  // namespace server
