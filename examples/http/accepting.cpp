// Server. (Not server.cpp: Meson would give its object the name of http_server.cpp's.)
#include "http/server.hpp"

#include "http/connection.hpp"

#include <weft/cancelled.hpp>

#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

namespace server {

Server::Server(const Settings& settings, weft::Event& stop)
    : settings_{settings},
      stop_{stop},
      site_{settings},
      listener_{weft::io::Address{settings.host, settings.port}} {
    room_.set();
}

void Server::serve() {
    announce();
    auto acceptor = weft::spawn({.name = "acceptor"}, [this] { accept_all(); });
    stop_.wait();
    acceptor.cancel();
    acceptor.join();
    listener_.close();
    end_connections();
    try {
        acceptor.get();
    } catch (const weft::Cancelled&) {
        // The usual end.
    }
}

void Server::announce() const {
    const auto& runtime = weft::Runtime::current();
    std::printf("listening on http://%s (%u workers, %s)\n",
                listener_.local_address().to_string().c_str(), runtime.workers(),
                runtime.io() == weft::Io::uring ? "uring" : "epoll");
    std::fflush(stdout);
}

void Server::accept_all() {
    // Whatever ends the accepting ends the server.
    struct StopAtEnd {
        weft::Event& stop;
        ~StopAtEnd() { stop.set(); }
    } const stop_at_end{stop_};

    for (;;) {
        room_.wait();
        admit(listener_.accept());
    }
}

void Server::admit(weft::io::TcpStream stream) try {
    stream.no_delay(true);
    const std::string name = "connection " + std::to_string(++accepted_);

    // Held over the spawn, so that the fiber cannot end before its handle is
    // in its place. Neither suspends.
    const std::lock_guard lock{mutex_};
    const auto place = connections_.emplace(connections_.end());
    try {
        *place = weft::spawn({.name = name}, [this, place, stream = std::move(stream)]() mutable {
            struct LeaveAtEnd {
                Server& server;
                Connections::iterator place;
                ~LeaveAtEnd() { server.leave(place); }
            } const leave_at_end{*this, place};
            Connection{std::move(stream), site_, settings_, stop_}.serve();
        });
    } catch (...) {
        connections_.erase(place);
        throw;
    }
    if (connections_.size() == settings_.max_connections) room_.clear();
} catch (const std::system_error& error) {
    // No memory for a fiber, or the peer is gone: this connection is dropped.
    std::fprintf(stderr, "connection %llu refused: %s\n",
                 static_cast<unsigned long long>(accepted_), error.what());
}

void Server::leave(Connections::iterator place) noexcept {
    const std::lock_guard lock{mutex_};
    if (ending_) return;
    connections_.erase(place);
    room_.set();
}

/// A fiber that is cancelled before it ran never runs, and so never leaves:
/// the handles must be dropped here.
void Server::end_connections() {
    Connections last;
    {
        const std::lock_guard lock{mutex_};
        ending_ = true;
        last.swap(connections_);
    }
    for (auto& connection : last) connection.cancel();
    for (auto& connection : last) connection.join();
}

}  // namespace server
