#include "http/connection.hpp"

#include <weft/cancelled.hpp>
#include <weft/this_fiber.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <system_error>
#include <utility>

namespace server {

using namespace std::chrono_literals;

Connection::Connection(weft::io::TcpStream stream, const Site& site, const Settings& settings,
                       const weft::Event& stopping)
    : stream_{std::move(stream)}, site_{site}, settings_{settings}, stopping_{stopping} {}

void Connection::serve() {
    bool open = true;
    while (open && wait_for_request()) {
        const weft::this_fiber::Shield shield;
        open = answer_request();
        if (!open) drain();
    }
}

/// Returns whether one begins: false when the peer closed, or was idle too long.
bool Connection::wait_for_request() {
    if (buffer_.size() != 0) return true;  // pipelined
    stream_.expires_at(settings_.idle_timeout);
    boost::system::error_code error;
    buffer_.commit(stream_.read_some(buffer_.prepare(1024), error));
    return !error;
}

/// Returns whether another request can follow.
bool Connection::answer_request() {
    try {
        Exchange exchange{stream_, buffer_, settings_, stopping_};
        if (const auto refusal = try_to_answer(exchange)) exchange.send(*refusal);
        return exchange.keeps_open();
    } catch (const PeerGone&) {
        return false;
    }
}

/// Returns what is to be said instead, if the answer did not come about.
std::optional<Refusal> Connection::try_to_answer(Exchange& exchange) const {
    try {
        exchange.receive();
        site_.answer(exchange);
        return std::nullopt;
    } catch (const Refusal& refusal) {
        return refusal;
    } catch (const PeerGone&) {
        throw;
    } catch (const weft::Cancelled&) {
        throw;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", exchange.to_string().c_str(), error.what());
    } catch (...) {
        std::fprintf(stderr, "%s: an exception of unknown type\n", exchange.to_string().c_str());
    }
    if (exchange.begun()) throw PeerGone{};  // too late for a status: cut the answer short
    return Refusal{http::status::internal_server_error, "the server failed"};
}

/// Closing with something unread resets the connection, and the reset may
/// overtake the answer. So let the peer finish first, but not for long.
void Connection::drain() noexcept {
    try {
        stream_.shutdown(weft::io::Shutdown::write);
    } catch (const std::system_error&) {
        return;  // gone already
    }
    stream_.expires_at(1s);
    boost::system::error_code error;
    buffer_.clear();
    while (!error) stream_.read_some(buffer_.prepare(4096), error);
}

}  // namespace server
