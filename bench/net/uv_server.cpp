// libuv: the loop under Node.js. Layer: benchmarks, net.
//
//   uv_server --port=7000 [--http=1]
#include "common/arguments.hpp"
#include "net/exchange.hpp"
#include "net/sockets.hpp"

#include <uv.h>

namespace {

bench::Protocol protocol = bench::Protocol::echo;  // fixed before the loop

struct Connection {
    uv_tcp_t stream{};
    uv_write_t rest{};
    bench::Exchange exchange{protocol};
};

Connection& connection_of(void* handle) {
    return *static_cast<Connection*>(static_cast<uv_handle_t*>(handle)->data);
}

void close_connection(Connection& connection) {
    uv_close(reinterpret_cast<uv_handle_t*>(&connection.stream),
             [](uv_handle_t* handle) { delete &connection_of(handle); });
}

uv_stream_t* stream_of(Connection& connection) {
    return reinterpret_cast<uv_stream_t*>(&connection.stream);
}

void lend_space(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
    const auto space = connection_of(handle).exchange.space();
    *buffer =
        uv_buf_init(reinterpret_cast<char*>(space.data()), static_cast<unsigned>(space.size()));
}

void reply(uv_stream_t* stream, ssize_t received, const uv_buf_t*);

/// What the socket has no room for now. Nothing is received until it is gone.
void send_later(Connection& connection, uv_buf_t rest) {
    uv_read_stop(stream_of(connection));
    uv_write(&connection.rest, stream_of(connection), &rest, 1, [](uv_write_t* write, int status) {
        if (status == 0) uv_read_start(write->handle, lend_space, reply);
    });
}

void reply(uv_stream_t* stream, ssize_t received, const uv_buf_t*) {
    Connection& connection = connection_of(stream);
    if (received < 0) return close_connection(connection);
    if (received == 0) return;
    const auto answer = connection.exchange.answer(static_cast<std::size_t>(received));
    if (answer.empty()) return;
    auto* const begin = const_cast<char*>(reinterpret_cast<const char*>(answer.data()));
    uv_buf_t buffer = uv_buf_init(begin, static_cast<unsigned>(answer.size()));
    const int sent = uv_try_write(stream, &buffer, 1);
    const std::size_t done = sent > 0 ? static_cast<std::size_t>(sent) : 0;
    if (done == answer.size()) return;
    send_later(connection, uv_buf_init(begin + done, static_cast<unsigned>(answer.size() - done)));
}

void accept_one(uv_stream_t* listener, int status) {
    if (status < 0) return;
    auto* const connection = new Connection;
    uv_tcp_init(listener->loop, &connection->stream);
    connection->stream.data = connection;
    if (uv_accept(listener, stream_of(*connection)) != 0) return close_connection(*connection);
    uv_read_start(stream_of(*connection), lend_space, reply);
}

}  // namespace

int main(int count, char** values) {
    const bench::Arguments arguments{count, values};
    if (arguments.integer("http", 0) != 0) protocol = bench::Protocol::http;
    bench::raise_descriptor_limit();
    auto listening =
        bench::listen_on_loopback(arguments.integer("port", 7000), bench::Blocking::no);
    uv_loop_t* const loop = uv_default_loop();
    uv_tcp_t listener;
    uv_tcp_init(loop, &listener);
    uv_tcp_open(&listener, listening.release());
    if (uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 4096, accept_one) != 0) return 1;
    return uv_run(loop, UV_RUN_DEFAULT);
}
