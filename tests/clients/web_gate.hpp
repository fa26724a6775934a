// The gate of slow_web.py, and a way to say a line to a server and hear one: by a plain thread.
#pragma once

#include "clients/crowd.hpp"
#include "support/fd.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

namespace weft::test {

/// A plain connection to a port of 127.0.0.1. What waits longer than a minute hears nothing.
class Line {
public:
    explicit Line(int port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const timeval minute{60, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof minute);
        REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    }
    /// What is answered; nothing after a minute.
    std::string ask(const std::string& text) {
        put(fd_, text);
        char buffer[4096];
        const ssize_t size = ::recv(fd_, buffer, sizeof buffer, 0);
        return {buffer, size > 0 ? static_cast<std::size_t>(size) : 0};
    }

private:
    const Fd fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

struct WebGate : Gate {
    std::size_t waiting(std::size_t wanted) override {
        return get("/waiting?n=" + std::to_string(wanted)).empty() ? 0 : wanted;
    }
    void open() override { get("/open"); }

private:
    std::string get(const std::string& target) {
        return line_.ask("GET " + target + " HTTP/1.1\r\nHost: gate\r\n\r\n");
    }
    Line line_{std::stoi(server("WEFT_TEST_HTTP"))};
};

}  // namespace weft::test
