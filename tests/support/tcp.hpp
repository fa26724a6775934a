// Connected streams and what may go wrong with them.
#pragma once

#include "support/catch.hpp"
#include "support/errors.hpp"

#include <weft/fiber.hpp>
#include <weft/io/tcp.hpp>
#include <weft/runtime.hpp>
#include <weft/this_fiber.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace weft::test {

struct Connection {
    io::TcpStream client;
    io::TcpStream server;
};

inline Connection connection() {
    io::TcpListener listener{io::Address::loopback_v4(0)};
    auto client = io::TcpStream::connect(listener.local_address());
    return {std::move(client), listener.accept()};
}

/// A listener that takes no more connections: the next connect() waits.
struct FullListener {
    io::TcpListener listener{io::Address::loopback_v4(0), {.backlog = 0}};  // has room for one
    io::TcpStream queued = io::TcpStream::connect(listener.local_address());

    FullListener() {
        while (!is_full()) this_fiber::yield();
    }
    /// Of a listener these two tell the length of its queue, and what that may be.
    bool is_full() const {
        tcp_info info{};
        socklen_t size = sizeof info;
        REQUIRE(::getsockopt(listener.fd(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
        return info.tcpi_unacked > info.tcpi_sacked;
    }
};

/// Unix sockets, whose buffers, other than TCP's, once full stay full.
inline Connection socket_pair() {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        throw std::system_error(errno, std::system_category(), "socketpair");
    }
    return {io::TcpStream{pair[0]}, io::TcpStream{pair[1]}};
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text.data(), text.size()});
}

inline std::string read_text(io::StreamSocket& stream, std::size_t most = 4096) {
    std::string text(most, '\0');
    text.resize(stream.read(std::as_writable_bytes(std::span{text})));
    return text;
}

inline std::string read_to_end(io::StreamSocket& stream) {
    std::string all;
    for (;;) {
        const std::string part = read_text(stream);
        if (part.empty()) return all;
        all += part;
    }
}

/// Bytes that differ from place to place.
inline std::vector<std::byte> pattern(std::size_t size, std::uint32_t seed = 1) {
    std::vector<std::byte> data(size);
    for (std::byte& byte : data) {
        seed = seed * 1664525u + 1013904223u;
        byte = static_cast<std::byte>(seed >> 24);
    }
    return data;
}

/// Lets others run until `count` operations of this runtime are in flight.
inline void until_in_flight(std::uint64_t count) {
    while (Runtime::current().counters().operations < count) this_fiber::yield();
}

/// Fills what the kernel buffers for a Unix stream, so that the next write waits.
inline std::size_t fill(io::StreamSocket& stream) {
    const auto data = pattern(65536);
    std::size_t sum = 0;
    try {
        for (;;) sum += stream.write(data, Deadline::Clock::time_point{});
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::timed_out) throw;
    }
    return sum;
}

}  // namespace weft::test
