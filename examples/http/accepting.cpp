// Server. (Not server.cpp: Meson would give its object the name of http_server.cpp's.)
#include "http/server.hpp"

#include "http/connection.hpp"

#include <weft/fiber.hpp>
#include <weft/io/signals.hpp>
#include <weft/io/stream_server.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace server {

using namespace std::chrono_literals;

namespace {

struct CancelAtEnd {
    weft::Fiber<>& fiber;
    ~CancelAtEnd() {
        fiber.cancel();
        fiber.join();
    }
};

}  // namespace

Server::Server(const Settings& settings)
    : settings_{settings},
      site_{settings},
      listener_{weft::io::Address{settings.host, settings.port}} {}

void Server::serve() {
    weft::io::Signals signals{SIGINT, SIGTERM};
    announce();
    weft::FiberPool pool{settings_.max_connections, {.name = "connection"}};
    weft::io::StreamServer server{
        std::move(listener_),
        [this](weft::io::TcpStream stream) {
            stream.no_delay(true);
            Connection{std::move(stream), site_, settings_, stopping_}.serve();
        },
        pool,
        // A cancelled Connection finishes what it has begun.
        {.grace = 0s}};
    weft::Fiber<> stopper = weft::spawn({.name = "stopper"}, [&] {
        signals.wait();
        stopping_.set();
        server.stop();
        std::_Exit(128 + signals.wait().number);  // asked twice
    });
    const CancelAtEnd end_stopper{stopper};
    server.serve();
}

void Server::announce() const {
    const auto& runtime = weft::Runtime::current();
    std::printf("listening on http://%s (%u workers, %s)\n",
                listener_.local_address().to_string().c_str(), runtime.workers(),
                runtime.io() == weft::Io::uring ? "uring" : "epoll");
    std::fflush(stdout);
}

}  // namespace server
