// A weft server for the comparison: a fiber per connection, written the way a
// user would write it. Layer: benchmarks, net.
#pragma once

#include "common/arguments.hpp"
#include "net/exchange.hpp"
#include "net/sockets.hpp"

#include <weft/fiber.hpp>
#include <weft/io/address.hpp>
#include <weft/io/tcp.hpp>
#include <weft/runtime.hpp>

#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace bench {

inline weft::Io io_named(const std::string& name) {
    if (name == "uring") return weft::Io::uring;
    if (name == "epoll") return weft::Io::epoll;
    if (name == "auto") return weft::Io::automatic;
    throw std::invalid_argument{"--io is one of uring, epoll, auto; not " + name};
}

inline weft::Options weft_options(const Arguments& arguments) {
    weft::Options options;
    options.workers = static_cast<unsigned>(arguments.integer("workers", 1));
    options.io = io_named(arguments.text("io", "auto"));
    return options;
}

/// Answers until the peer is gone. With memory of its own for each connection:
inline void converse(weft::io::TcpStream stream, Protocol protocol) {
    Exchange exchange{protocol};
    for (;;) {
        const std::size_t received = stream.read(exchange.space());
        if (received == 0) return;
        stream.write_all(exchange.answer(received));
    }
}

/// With memory that weft lends, while there is something in it.
inline void converse_in_lent(weft::io::TcpStream stream, Protocol protocol) {
    Exchange exchange{protocol};
    while (const weft::io::LentBytes received = stream.receive()) {
        stream.write_all(exchange.answer_to(received.bytes()));
    }
}

using Converse = void (*)(weft::io::TcpStream, Protocol);

/// A load generator that is done resets its connections: no error of ours.
inline void converse_until_reset(weft::io::TcpStream stream, Protocol protocol, Converse converse) {
    try {
        converse(std::move(stream), protocol);
    } catch (const std::system_error&) {
        return;
    }
}

inline void serve_for_ever(int port, Protocol protocol, Converse converse) {
    weft::io::TcpListener listener{
        weft::io::Address::loopback_v4(static_cast<std::uint16_t>(port))};
    for (;;) {
        weft::io::TcpStream stream = listener.accept();
        stream.no_delay(true);
        weft::spawn([stream = std::move(stream), protocol, converse]() mutable {
            converse_until_reset(std::move(stream), protocol, converse);
        });
    }
}

/// The main function of both programs.
inline int serve_with_weft(const Arguments& arguments, Protocol protocol) {
    raise_descriptor_limit();
    const int port = arguments.integer("port", 7000);
    const Converse how = arguments.integer("lent", 0) != 0 ? converse_in_lent : converse;
    weft::run([=] { serve_for_ever(port, protocol, how); }, weft_options(arguments));
    return 0;
}

}  // namespace bench
