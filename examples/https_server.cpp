// Answers each request over TLS with a line of text: TcpStream, OpenSSL and StreamServer.
//
//   https_server PORT CERTIFICATE.pem KEY.pem      and then, elsewhere:
//   curl --cacert CERTIFICATE.pem https://localhost:PORT/
#include "tls/tls_stream.hpp"

#include <weft/fiber_pool.hpp>
#include <weft/io/stream_server.hpp>
#include <weft/runtime.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <system_error>
#include <utility>

using namespace std::chrono_literals;

/// Reads up to the end of a request without a body. False at the end of the connection.
bool read_request(tls::Stream& stream, std::string& read) {
    std::array<char, 4096> buffer;
    while (read.find("\r\n\r\n") == std::string::npos) {
        const std::size_t size = stream.read(buffer, 30s);
        if (size == 0 || read.size() > 65536) return false;
        read.append(buffer.data(), size);
    }
    read.erase(0, read.find("\r\n\r\n") + 4);
    return true;
}

void answer_all(tls::Stream& stream) {
    const std::string body = "hello, and nobody listens\n";
    const std::string answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " +
                               std::to_string(body.size()) + "\r\n\r\n" + body;
    std::string read;
    while (read_request(stream, read)) stream.write_all(answer, 10s);
    stream.shutdown(1s);
}

void serve(std::uint16_t port, const tls::Context& context) {
    weft::io::TcpListener listener{weft::io::Address::loopback_v4(port)};
    std::printf("listening on %s\n", listener.local_address().to_string().c_str());
    std::fflush(stdout);
    weft::FiberPool connections{10'000};
    const auto handle = [&context](weft::io::TcpStream stream) {
        try {
            auto encrypted = tls::Stream::accept(std::move(stream), *context, 10s);
            answer_all(encrypted);
        } catch (const tls::Error& error) {
            std::fprintf(stderr, "%s\n", error.what());
        } catch (const std::system_error& error) {
            std::fprintf(stderr, "%s\n", error.what());
        }
    };
    weft::io::StreamServer server{std::move(listener), handle, connections};
    server.serve();
}

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: https_server PORT CERTIFICATE KEY\n");
        return 2;
    }
    try {
        const tls::Context context = tls::server_context(argv[2], argv[3]);
        const auto port = static_cast<std::uint16_t>(std::atoi(argv[1]));
        weft::run([&] { serve(port, context); });
    } catch (const std::exception& error) {
        std::fprintf(stderr, "https_server: %s\n", error.what());
        return 1;
    }
}
