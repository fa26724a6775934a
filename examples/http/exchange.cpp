#include "http/exchange.hpp"

#include "http/date.hpp"

#include <boost/beast/core/string.hpp>

#include <utility>

namespace server {

namespace {

using boost::system::error_code;

/// Turns what went wrong with reading into the answer to it.
[[noreturn]] void refuse(const error_code& error) {
    using http::status;
    if (error == http::error::end_of_stream) throw PeerGone{};
    if (error == http::error::header_limit) {
        throw Refusal{status::request_header_fields_too_large, "the header is too large"};
    }
    if (error == http::error::body_limit) {
        throw Refusal{status::payload_too_large, "the body is too large"};
    }
    if (error == http::error::bad_version) {
        throw Refusal{status::http_version_not_supported, "HTTP/1.0 and HTTP/1.1 only"};
    }
    if (error == boost::system::errc::timed_out) {
        throw Refusal{status::request_timeout, "the request took too long to arrive"};
    }
    if (error.category() == make_error_code(http::error::bad_target).category()) {
        throw Refusal{status::bad_request, error.message()};
    }
    throw PeerGone{};  // a reset, or whatever else the network does
}

}  // namespace

Exchange::Exchange(weft::io::TcpStream& stream, beast::flat_buffer& buffer,
                   const Settings& settings, const weft::Event& stopping)
    : stream_{stream}, buffer_{buffer}, settings_{settings}, stopping_{stopping} {
    parser_.header_limit(static_cast<std::uint32_t>(settings.header_limit));
    parser_.body_limit(settings.body_limit);
}

std::string Exchange::to_string() const {
    return std::string{parser_.get().method_string()} + ' ' + std::string{parser_.get().target()};
}

void Exchange::receive() {
    receive_header();
    check_header();
    receive_body();
    keep_alive_ = parser_.get().keep_alive();
}

void Exchange::receive_header() {
    stream_.expires_at(settings_.header_timeout);
    error_code error;
    http::read_header(stream_, buffer_, parser_, error);
    if (error) refuse(error);
}

void Exchange::check_header() {
    const auto& request = parser_.get();
    const auto bad = [](const char* why) { return Refusal{http::status::bad_request, why}; };

    if (request.version() != 10 && request.version() != 11) {
        throw Refusal{http::status::http_version_not_supported, "HTTP/1.0 and HTTP/1.1 only"};
    }
    const auto hosts = request.count(http::field::host);
    if (hosts > 1) throw bad("more than one Host field");
    if (hosts == 0 && request.version() == 11) throw bad("the Host field is missing");

    // Where the body ends must not be a matter of opinion between us and a
    // proxy in front: that is how requests are smuggled.
    if (const auto coding = request[http::field::transfer_encoding]; !coding.empty()) {
        if (request.version() == 10) throw bad("Transfer-Encoding in HTTP/1.0");
        if (!beast::iequals(coding, "chunked")) {
            throw Refusal{http::status::not_implemented, "no transfer coding but chunked"};
        }
    }

    auto target = parse_target({request.target().data(), request.target().size()});
    if (!target) throw bad("malformed target");
    target_ = std::move(*target);
}

void Exchange::receive_body() {
    if (parser_.is_done()) return;
    if (beast::iequals(parser_.get()[http::field::expect], "100-continue")) {
        stream_.expires_at(settings_.write_timeout);
        error_code error;
        net::write(stream_, net::buffer(std::string_view{"HTTP/1.1 100 Continue\r\n\r\n"}), error);
        check(error);
    }
    stream_.expires_at(settings_.body_timeout);
    error_code error;
    http::read(stream_, buffer_, parser_, error);
    if (error) refuse(error);
}

void Exchange::send(http::status status, std::string_view content_type, std::string body) {
    Response response;
    response.result(status);
    keep_alive_ = keep_alive_ && !stopping_.is_set();
    set_common(response, content_type);
    response.content_length(body.size());
    response.body() = std::move(body);
    write(response);
}

void Exchange::send(const Refusal& refusal) {
    Response response;
    response.result(refusal.status);
    keep_alive_ = keep_alive_ && !stopping_.is_set();
    set_common(response, "text/plain; charset=utf-8");
    if (!refusal.allow.empty()) response.set(http::field::allow, refusal.allow);
    response.body() = refusal.why + '\n';
    response.content_length(response.body().size());
    write(response);
}

void Exchange::begin(std::string_view content_type, std::optional<std::uint64_t> length) {
    http::response<http::empty_body> response;
    chunked_ = !length && parser_.get().version() == 11;
    const bool ends_by_close = !length && !chunked_;
    keep_alive_ = keep_alive_ && !ends_by_close && !stopping_.is_set();
    set_common(response, content_type);
    if (length) response.content_length(*length);
    if (chunked_) response.chunked(true);

    begun_ = true;
    stream_.expires_at(settings_.write_timeout);
    http::response_serializer<http::empty_body> serializer{response};
    error_code error;
    http::write_header(stream_, serializer, error);
    check(error);
}

void Exchange::piece(std::string_view bytes) {
    if (bytes.empty() || method() == http::verb::head) return;
    const net::const_buffer buffer{bytes.data(), bytes.size()};
    stream_.expires_at(settings_.write_timeout);
    error_code error;
    if (chunked_) {
        net::write(stream_, http::make_chunk(buffer), error);
    } else {
        net::write(stream_, buffer, error);
    }
    check(error);
}

void Exchange::end() {
    if (chunked_ && method() != http::verb::head) {
        stream_.expires_at(settings_.write_timeout);
        error_code error;
        net::write(stream_, http::make_chunk_last(), error);
        check(error);
    }
    answered_ = true;
}

template <class Body>
void Exchange::set_common(http::response<Body>& response, std::string_view content_type) const {
    response.version(parser_.get().version() == 10 ? 10 : 11);
    response.keep_alive(keep_alive_);
    const auto date = http_date();
    response.set(http::field::date, date.text.data());
    response.set(http::field::server, "weft");
    response.set(http::field::content_type, {content_type.data(), content_type.size()});
}

void Exchange::write(const Response& response) {
    begun_ = true;
    stream_.expires_at(settings_.write_timeout);
    http::response_serializer<http::string_body> serializer{response};
    error_code error;
    if (method() == http::verb::head) {
        http::write_header(stream_, serializer, error);
    } else {
        http::write(stream_, serializer, error);
    }
    check(error);
    answered_ = true;
}

void Exchange::check(const error_code& error) const {
    if (error) throw PeerGone{};  // a time-out too: it takes nothing more
}

}  // namespace server
