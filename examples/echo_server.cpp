// Sends back what it is sent: a fiber per connection, each a plain loop.
//
//   echo_server [PORT]        and then, elsewhere:  nc 127.0.0.1 7000
#include <weft/fiber_pool.hpp>
#include <weft/io/stream_server.hpp>
#include <weft/io/tcp.hpp>
#include <weft/runtime.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <utility>

namespace io = weft::io;

void echo(io::TcpStream& peer) {
    while (const io::LentBytes received = peer.receive()) peer.write_all(received.bytes());
}

void serve(std::uint16_t port) {
    io::TcpListener listener{io::Address::loopback_v4(port)};
    std::printf("listening on %s\n", listener.local_address().to_string().c_str());
    std::fflush(stdout);
    weft::FiberPool connections{10'000};
    io::StreamServer server{std::move(listener), echo, connections};
    server.serve();
}

int main(int argc, char** argv) {
    const int port = argc > 1 ? std::atoi(argv[1]) : 7000;
    try {
        weft::run([port] { serve(static_cast<std::uint16_t>(port)); });
    } catch (const std::exception& error) {
        std::fprintf(stderr, "echo_server: %s\n", error.what());
        return 1;
    }
}
