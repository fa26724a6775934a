// Gets a page over TLS, from a server that proves who it is.
//
//   https_get HOST PORT [AUTHORITIES.pem]
#include "tls/tls_stream.hpp"

#include <weft/io/connect.hpp>
#include <weft/runtime.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

using namespace std::chrono_literals;

void get(const std::string& host, const std::string& port, const tls::Context& context) {
    const weft::Deadline deadline = 10s;
    auto stream =
        tls::Stream::connect(weft::io::connect(host, port, deadline), *context, host, deadline);
    stream.write_all("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n", deadline);
    std::array<char, 4096> buffer;
    const std::size_t size = stream.read(buffer, deadline);
    std::fwrite(buffer.data(), 1, size, stdout);
    stream.shutdown(deadline);
}

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: https_get HOST PORT [AUTHORITIES]\n");
        return 2;
    }
    try {
        const tls::Context context = tls::client_context(argc > 3 ? argv[3] : "");
        weft::run([&] { get(argv[1], argv[2], context); });
    } catch (const std::exception& error) {
        std::fprintf(stderr, "https_get: %s\n", error.what());
        return 1;
    }
}
