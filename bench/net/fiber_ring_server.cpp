// See servers.hpp. A fiber puts its operation into the ring and parks until the
// completion makes it ready; all operations of a turn are submitted by one
// enter. The operation lives on the fiber's stack.
#include "net/hand_fibers.hpp"
#include "net/ring.hpp"
#include "net/servers.hpp"

namespace bench {
namespace {

struct Operation {
    HandFibers::Fiber* fiber;
    int result = 0;
};

constexpr std::uint64_t accepting = 0;  // as user data; else it is the Operation

class FiberRingServer {
public:
    FiberRingServer(int listener, Protocol protocol) : listener_{listener}, protocol_{protocol} {
        self = this;
        ring_.accept_for_ever(listener_, accepting);
    }

    void serve_once() {
        ring_.submit_and_wait();
        ring_.drain([this](const io_uring_cqe& completion) {
            if (completion.user_data == accepting) return accepted(completion);
            auto& operation = *reinterpret_cast<Operation*>(completion.user_data);
            operation.result = completion.res;
            fibers_.ready(*operation.fiber);
        });
        fibers_.run_ready();
    }

private:
    void accepted(const io_uring_cqe& completion) {
        if (completion.res >= 0) {
            fibers_.spawn(reinterpret_cast<void*>(static_cast<std::intptr_t>(completion.res)));
        }
        if ((completion.flags & IORING_CQE_F_MORE) == 0) {
            ring_.accept_for_ever(listener_, accepting);
        }
    }

    /// Parks until the operation in `entry` is complete.
    int await(io_uring_sqe& entry) {
        Operation operation{&fibers_.current()};
        io_uring_sqe_set_data(&entry, &operation);
        fibers_.park();
        return operation.result;
    }

    int receive(int fd, std::span<std::byte> space) {
        io_uring_sqe& entry = ring_.next();
        io_uring_prep_recv(&entry, fd, space.data(), space.size(), 0);
        return await(entry);
    }

    bool send_all(int fd, std::span<const std::byte> data) {
        while (!data.empty()) {
            io_uring_sqe& entry = ring_.next();
            io_uring_prep_send(&entry, fd, data.data(), data.size(), MSG_NOSIGNAL | MSG_WAITALL);
            const int sent = await(entry);
            if (sent < 0) return false;
            data = data.subspan(static_cast<std::size_t>(sent));
        }
        return true;
    }

    void converse(int fd) {
        const Descriptor socket{fd};
        Exchange exchange{protocol_};
        for (;;) {
            const int received = receive(fd, exchange.space());
            if (received <= 0) return;
            if (!send_all(fd, exchange.answer(static_cast<std::size_t>(received)))) return;
        }
    }

    static void fiber_body(void* fd) {
        self->converse(static_cast<int>(reinterpret_cast<std::intptr_t>(fd)));
    }

    static inline FiberRingServer* self = nullptr;

    int listener_;
    Protocol protocol_;
    Ring ring_;
    HandFibers fibers_{&fiber_body};
};

}  // namespace

void serve_by_fibers_on_ring(int listener, Protocol protocol) {
    FiberRingServer server{listener, protocol};
    for (;;) server.serve_once();
}

}  // namespace bench
