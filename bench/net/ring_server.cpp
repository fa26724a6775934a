// See servers.hpp. Invariant: a connection has exactly one operation in flight,
// a send while pending is not empty, else a receive. So it may be deleted
// whenever its completion is handled.
#include "net/ring.hpp"
#include "net/servers.hpp"

namespace bench {
namespace {

struct Connection {
    Descriptor socket;
    Exchange exchange;
    std::span<const std::byte> pending = {};  // still to be sent
};

constexpr std::uint64_t accepting = 0;  // as user data; else it is the Connection

class RingServer {
public:
    RingServer(int listener, Protocol protocol) : listener_{listener}, protocol_{protocol} {
        ring_.accept_for_ever(listener_, accepting);
    }

    void serve_once() {
        ring_.submit_and_wait();
        ring_.drain([this](const io_uring_cqe& completion) {
            if (completion.user_data == accepting) return accepted(completion);
            completed(*reinterpret_cast<Connection*>(completion.user_data), completion.res);
        });
    }

private:
    void accepted(const io_uring_cqe& completion) {
        if (completion.res >= 0) {
            start(*new Connection{Descriptor{completion.res}, Exchange{protocol_}});
        }
        if ((completion.flags & IORING_CQE_F_MORE) == 0) {
            ring_.accept_for_ever(listener_, accepting);
        }
    }

    void completed(Connection& connection, int result) {
        const bool sending = !connection.pending.empty();
        const bool ended = result < 0 || (result == 0 && !sending);
        if (ended) {
            delete &connection;
            return;
        }
        const auto bytes = static_cast<std::size_t>(result);
        connection.pending =
            sending ? connection.pending.subspan(bytes) : connection.exchange.answer(bytes);
        start(connection);
    }

    /// Puts the connection's next operation into the ring.
    void start(Connection& connection) {
        io_uring_sqe& entry = ring_.next();
        const int fd = connection.socket.get();
        if (!connection.pending.empty()) {
            const auto& pending = connection.pending;
            io_uring_prep_send(&entry, fd, pending.data(), pending.size(),
                               MSG_NOSIGNAL | MSG_WAITALL);
        } else {
            const auto space = connection.exchange.space();
            io_uring_prep_recv(&entry, fd, space.data(), space.size(), 0);
        }
        io_uring_sqe_set_data(&entry, &connection);
    }

    int listener_;
    Protocol protocol_;
    Ring ring_;
};

}  // namespace

void serve_by_ring(int listener, Protocol protocol) {
    RingServer server{listener, protocol};
    for (;;) server.serve_once();
}

}  // namespace bench
