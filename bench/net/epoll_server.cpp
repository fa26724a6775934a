// See servers.hpp. A connection waits for room to send while pending is not
// empty, else for something to receive; the edge says only that either may be so.
#include "net/epoll.hpp"
#include "net/servers.hpp"

namespace bench {
namespace {

struct Connection {
    Descriptor socket;
    Exchange exchange;
    std::span<const std::byte> pending = {};  // still to be sent
    bool drained = false;                     // the last receive took all there was
};

enum class Progress { waits, ended };

Progress ended_unless_again() noexcept {
    return errno == EAGAIN ? Progress::waits : Progress::ended;
}

/// Goes as far as it can without waiting.
Progress advance(Connection& connection) {
    const int fd = connection.socket.get();
    for (;;) {
        while (!connection.pending.empty()) {
            const auto& pending = connection.pending;
            const ssize_t sent = send(fd, pending.data(), pending.size(), MSG_NOSIGNAL);
            if (sent < 0) return ended_unless_again();
            connection.pending = pending.subspan(static_cast<std::size_t>(sent));
            // After a short receive another would only say EAGAIN, at 250 ns.
            if (connection.pending.empty() && connection.drained) return Progress::waits;
        }
        const auto space = connection.exchange.space();
        const ssize_t received = recv(fd, space.data(), space.size(), 0);
        if (received < 0) return ended_unless_again();
        if (received == 0) return Progress::ended;
        connection.drained = static_cast<std::size_t>(received) < space.size();
        connection.pending = connection.exchange.answer(static_cast<std::size_t>(received));
    }
}

}  // namespace

void serve_by_epoll(int listener, Protocol protocol) {
    Epoll epoll;
    epoll.add(listener, EPOLLIN, nullptr);
    for (;;) {
        for (const epoll_event& event : epoll.wait()) {
            auto* connection = static_cast<Connection*>(event.data.ptr);
            if (connection == nullptr) {
                accept_all(listener, [&epoll, protocol](int fd) {
                    epoll.add_connection(fd, new Connection{Descriptor{fd}, Exchange{protocol}});
                });
            } else if (advance(*connection) == Progress::ended) {
                delete connection;
            }
        }
    }
}

}  // namespace bench
