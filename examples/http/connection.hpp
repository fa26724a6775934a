#pragma once

#include "http/exchange.hpp"
#include "http/site.hpp"

#include <weft/event.hpp>
#include <weft/io/tcp.hpp>

namespace server {

/// One connection, from its first request to its last.
///
/// Waiting for a request to begin is the only thing here that a cancellation
/// interrupts; from its first byte to the end of its answer there is a Shield.
/// So stopping the server is cancelling all connections: idle ones end at once,
/// the others when they have answered.
class Connection {
public:
    Connection(weft::io::TcpStream stream, const Site& site, const Settings& settings,
               const weft::Event& stopping);

    /// Blocks: until the connection is over. Throws Cancelled.
    void serve();

private:
    bool wait_for_request();
    bool answer_request();
    std::optional<Refusal> try_to_answer(Exchange& exchange) const;
    void drain() noexcept;

    weft::io::TcpStream stream_;
    beast::flat_buffer buffer_;  // read, but not yet part of a request
    const Site& site_;
    const Settings& settings_;
    const weft::Event& stopping_;
};

}  // namespace server
