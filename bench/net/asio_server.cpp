// Boost.Asio, one thread, callbacks: what most C++ servers stand on. Layer: benchmarks, net.
//
//   asio_server --port=7000 [--http=1]
//
// Built twice: on epoll, and as asio_ring_server on Asio's io_uring backend.
#include "common/arguments.hpp"
#include "net/exchange.hpp"
#include "net/sockets.hpp"

#include <boost/asio.hpp>

#include <memory>
#include <utility>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(tcp::socket socket, bench::Protocol protocol)
        : socket_{std::move(socket)}, exchange_{protocol} {}

    void receive() {
        const auto space = exchange_.space();
        socket_.async_read_some(
            asio::buffer(space.data(), space.size()),
            [self = shared_from_this()](const boost::system::error_code& error, std::size_t size) {
                if (!error) self->reply(size);
            });
    }

private:
    void reply(std::size_t received) {
        const auto answer = exchange_.answer(received);
        if (answer.empty()) return receive();
        asio::async_write(
            socket_, asio::buffer(answer.data(), answer.size()),
            [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                if (!error) self->receive();
            });
    }

    tcp::socket socket_;
    bench::Exchange exchange_;
};

void accept_next(tcp::acceptor& acceptor, bench::Protocol protocol) {
    acceptor.async_accept(
        [&acceptor, protocol](const boost::system::error_code& error, tcp::socket socket) {
            if (!error) std::make_shared<Session>(std::move(socket), protocol)->receive();
            accept_next(acceptor, protocol);
        });
}

}  // namespace

int main(int count, char** values) {
    const bench::Arguments arguments{count, values};
    const auto protocol =
        arguments.integer("http", 0) != 0 ? bench::Protocol::http : bench::Protocol::echo;
    bench::raise_descriptor_limit();
    asio::io_context context{1};
    auto listener = bench::listen_on_loopback(arguments.integer("port", 7000), bench::Blocking::no);
    tcp::acceptor acceptor{context, tcp::v4(), listener.release()};
    accept_next(acceptor, protocol);
    context.run();
}
