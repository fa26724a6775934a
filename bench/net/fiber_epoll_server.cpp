// See servers.hpp. A fiber tries the call and parks when it would block; the
// edge makes it ready again. A connection lives on its fiber's stack.
#include "net/epoll.hpp"
#include "net/hand_fibers.hpp"
#include "net/servers.hpp"

namespace bench {
namespace {

/// What a parked fiber waits for.
enum class Waiting : std::uint8_t { for_nothing, to_receive, to_send };

struct Connection {
    Descriptor socket;
    HandFibers::Fiber* fiber;
    Waiting waiting = Waiting::for_nothing;
    bool drained = false;  // nothing to receive until the next edge
};

class FiberEpollServer {
public:
    FiberEpollServer(int listener, Protocol protocol) : listener_{listener}, protocol_{protocol} {
        self = this;
        epoll_.add(listener_, EPOLLIN, nullptr);
    }

    void serve_once() {
        for (const epoll_event& event : epoll_.wait()) {
            auto* connection = static_cast<Connection*>(event.data.ptr);
            if (connection == nullptr) {
                accept_all(listener_, [this](int fd) {
                    fibers_.spawn(reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)));
                });
            } else {
                wake(*connection, event.events);
            }
        }
        fibers_.run_ready();
    }

private:
    void wake(Connection& connection, std::uint32_t events) {
        constexpr std::uint32_t broken = EPOLLHUP | EPOLLERR;
        const bool readable = (events & (EPOLLIN | EPOLLRDHUP | broken)) != 0;
        const bool writable = (events & (EPOLLOUT | broken)) != 0;
        if (readable) connection.drained = false;
        const bool can_go_on = (readable && connection.waiting == Waiting::to_receive) ||
                               (writable && connection.waiting == Waiting::to_send);
        if (!can_go_on) return;
        connection.waiting = Waiting::for_nothing;
        fibers_.ready(*connection.fiber);
    }

    void wait(Connection& connection, Waiting what) {
        connection.waiting = what;
        fibers_.park();
    }

    ssize_t receive(Connection& connection, std::span<std::byte> space) {
        for (;;) {
            if (!connection.drained) {
                const ssize_t received =
                    recv(connection.socket.get(), space.data(), space.size(), 0);
                if (received >= 0) {
                    connection.drained =
                        received > 0 && static_cast<std::size_t>(received) < space.size();
                    return received;
                }
                if (errno != EAGAIN) return -1;
            }
            wait(connection, Waiting::to_receive);
        }
    }

    bool send_all(Connection& connection, std::span<const std::byte> data) {
        while (!data.empty()) {
            const ssize_t sent =
                send(connection.socket.get(), data.data(), data.size(), MSG_NOSIGNAL);
            if (sent >= 0) {
                data = data.subspan(static_cast<std::size_t>(sent));
            } else if (errno == EAGAIN) {
                wait(connection, Waiting::to_send);
            } else {
                return false;
            }
        }
        return true;
    }

    void converse(int fd) {
        Connection connection{Descriptor{fd}, &fibers_.current()};
        epoll_.add_connection(fd, &connection);
        Exchange exchange{protocol_};
        for (;;) {
            const ssize_t received = receive(connection, exchange.space());
            if (received <= 0) return;
            if (!send_all(connection, exchange.answer(static_cast<std::size_t>(received)))) return;
        }
    }

    static void fiber_body(void* fd) {
        self->converse(static_cast<int>(reinterpret_cast<std::intptr_t>(fd)));
    }

    static inline FiberEpollServer* self = nullptr;

    int listener_;
    Protocol protocol_;
    Epoll epoll_;
    HandFibers fibers_{&fiber_body};
};

}  // namespace

void serve_by_fibers_on_epoll(int listener, Protocol protocol) {
    FiberEpollServer server{listener, protocol};
    for (;;) server.serve_once();
}

}  // namespace bench
