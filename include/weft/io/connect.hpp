#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/io/address.hpp>
#include <weft/io/resolve.hpp>
#include <weft/io/tcp.hpp>

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace weft::io {

struct ConnectOptions {
    Family family = Family::any;
    /// How long an address has before the next is tried beside it.
    std::chrono::milliseconds attempt_delay{250};
    /// Of each attempt. Addresses of another family than that of `tcp.local` are left out, or if
    /// there are no others, fail.
    TcpConnectOptions tcp{};
};

/// Connects to the first of a host's addresses that answers: "Happy Eyeballs", RFC 8305.
/// They are tried in the order of resolve(), IPv6 and IPv4 by turns, each
/// `attempt_delay` after the one before, or as soon as one fails. When one is connected,
/// all others are given up. Of that RFC section 3 is not done: both families are looked up before
/// the first attempt, and a name server that never answers for one of them delays it.
///
/// Blocks: until one is connected, all have failed, or `deadline`. Cancellation point.
/// Throws std::system_error as resolve() does; with the error of the address that failed
/// last when all have, or timed_out, and with the error of each in its text; with the name of one
/// of `options.tcp` that is refused. Then nothing is open.
/// Thread safety: any fiber or thread.
WEFT_API TcpStream connect(std::string_view host, std::string_view service,
                           Deadline deadline = Deadline::never());
WEFT_API TcpStream connect(std::string_view host, std::string_view service,
                           const ConnectOptions& options, Deadline deadline = Deadline::never());

/// The same, the port by its number.
inline TcpStream connect(std::string_view host, std::uint16_t port,
                         Deadline deadline = Deadline::never()) {
    return connect(host, std::to_string(port), deadline);
}
inline TcpStream connect(std::string_view host, std::uint16_t port, const ConnectOptions& options,
                         Deadline deadline = Deadline::never()) {
    return connect(host, std::to_string(port), options, deadline);
}

/// The same to addresses that are known, in their order but for the turns.
/// Throws std::invalid_argument when there are none.
WEFT_API TcpStream connect(std::span<const Address> addresses, const ConnectOptions& options = {},
                           Deadline deadline = Deadline::never());

}  // namespace weft::io
