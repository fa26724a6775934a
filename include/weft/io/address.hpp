#pragma once

#include <weft/detail/export.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

struct sockaddr;

namespace weft::io {

/// An IPv4 or IPv6 address with a port. A value; cheap to copy.
class WEFT_API Address {
public:
    /// 0.0.0.0, port 0.
    Address() noexcept;

    /// From numbers and dots, or an IPv6 literal with optional %scope; no name
    /// look-up. Throws std::invalid_argument that quotes `host` when it is neither.
    Address(std::string_view host, std::uint16_t port);

    static Address loopback_v4(std::uint16_t port);
    static Address loopback_v6(std::uint16_t port);
    /// All interfaces; the IPv6 one also takes IPv4 where the system maps it.
    static Address any_v4(std::uint16_t port);
    static Address any_v6(std::uint16_t port);

    /// A copy. Throws std::invalid_argument for a family that is neither IPv4 nor IPv6.
    static Address from(const sockaddr* address, std::size_t size);

    bool is_v6() const noexcept;
    std::uint16_t port() const noexcept;
    /// The host alone: "127.0.0.1", "::1".
    std::string host() const;
    /// "127.0.0.1:80", "[::1]:80".
    std::string to_string() const;

    const sockaddr* data() const noexcept;
    std::size_t size() const noexcept;

    bool operator==(const Address& other) const noexcept;

private:
    alignas(8) unsigned char storage_[28];  // as large as a sockaddr_in6
    std::uint32_t size_;
};

}  // namespace weft::io
