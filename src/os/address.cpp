// Layer: os. Uses: libc.
#include <weft/io/address.hpp>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace weft::io {

static_assert(sizeof(sockaddr_in6) == 28);

namespace {

[[noreturn]] void not_an_address(std::string_view host) {
    throw std::invalid_argument("not an IPv4 or IPv6 address: \"" + std::string{host} + '"');
}

/// The interface after the %, by name or number; 0 when there is none such.
std::uint32_t scope_from(const std::string& name) {
    if (name.find('\0') != name.npos) return 0;
    if (const unsigned index = ::if_nametoindex(name.c_str()); index != 0) return index;
    if (const int error = errno; error == EMFILE || error == ENFILE) {
        throw std::system_error(error, std::system_category(), "network interface \"" + name + '"');
    }
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    return error == std::errc{} && end == name.data() + name.size() ? number : 0;
}

sockaddr_in make_v4(in_addr host, std::uint16_t port) noexcept {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr = host;
    return address;
}

sockaddr_in6 make_v6(const in6_addr& host, std::uint16_t port, std::uint32_t scope) noexcept {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    address.sin6_addr = host;
    address.sin6_scope_id = scope;
    return address;
}

/// The system's structure, copied out of bytes.
template <class T>
T copy_of(const sockaddr* address) noexcept {
    T result{};
    std::memcpy(&result, address, sizeof result);
    return result;
}

template <class T>
Address wrap(const T& address) {
    return Address::from(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

}  // namespace

Address::Address() noexcept : storage_{}, size_{sizeof(sockaddr_in)} {
    const sockaddr_in nowhere = make_v4({}, 0);
    std::memcpy(storage_, &nowhere, sizeof nowhere);
}

Address::Address(std::string_view host, std::uint16_t port) : Address{} {
    const std::string text{host};
    if (in_addr v4{}; ::inet_pton(AF_INET, text.c_str(), &v4) == 1) {
        if (text.size() != std::strlen(text.c_str())) not_an_address(host);
        *this = wrap(make_v4(v4, port));
        return;
    }
    const std::size_t percent = text.find('%');
    std::uint32_t scope = 0;
    if (percent != std::string::npos) {
        scope = scope_from(text.substr(percent + 1));
        if (scope == 0) not_an_address(host);
    }
    const std::string literal = text.substr(0, percent);
    in6_addr v6{};
    const bool whole = literal.size() == std::strlen(literal.c_str());
    if (!whole || ::inet_pton(AF_INET6, literal.c_str(), &v6) != 1) not_an_address(host);
    *this = wrap(make_v6(v6, port, scope));
}

Address Address::loopback_v4(std::uint16_t port) {
    return wrap(make_v4({htonl(INADDR_LOOPBACK)}, port));
}

Address Address::loopback_v6(std::uint16_t port) {
    return wrap(make_v6(in6addr_loopback, port, 0));
}

Address Address::any_v4(std::uint16_t port) { return wrap(make_v4({htonl(INADDR_ANY)}, port)); }

Address Address::any_v6(std::uint16_t port) { return wrap(make_v6(in6addr_any, port, 0)); }

// Field by field, so that padding never decides whether two are equal.
Address Address::from(const sockaddr* address, std::size_t size) {
    Address result;
    if (size >= sizeof(sockaddr_in) && address->sa_family == AF_INET) {
        const auto given = copy_of<sockaddr_in>(address);
        const auto v4 = make_v4(given.sin_addr, ntohs(given.sin_port));
        std::memcpy(result.storage_, &v4, sizeof v4);
        result.size_ = sizeof v4;
        return result;
    }
    if (size >= sizeof(sockaddr_in6) && address->sa_family == AF_INET6) {
        const auto given = copy_of<sockaddr_in6>(address);
        const auto v6 = make_v6(given.sin6_addr, ntohs(given.sin6_port), given.sin6_scope_id);
        std::memcpy(result.storage_, &v6, sizeof v6);
        result.size_ = sizeof v6;
        return result;
    }
    throw std::invalid_argument("a socket address that is neither IPv4 nor IPv6");
}

bool Address::is_v6() const noexcept { return size_ == sizeof(sockaddr_in6); }

std::uint16_t Address::port() const noexcept {
    // At the same place in both.
    return ntohs(copy_of<sockaddr_in>(data()).sin_port);
}

std::string Address::host() const {
    char text[INET6_ADDRSTRLEN]{};
    if (!is_v6()) {
        const auto v4 = copy_of<sockaddr_in>(data());
        ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
        return text;
    }
    const auto v6 = copy_of<sockaddr_in6>(data());
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    if (v6.sin6_scope_id == 0) return text;
    char name[IF_NAMESIZE]{};
    if (::if_indextoname(v6.sin6_scope_id, name) != nullptr) {
        return std::string{text} + '%' + name;
    }
    return std::string{text} + '%' + std::to_string(v6.sin6_scope_id);
}

std::string Address::to_string() const {
    const std::string number = std::to_string(port());
    return is_v6() ? '[' + host() + "]:" + number : host() + ':' + number;
}

const sockaddr* Address::data() const noexcept {
    return reinterpret_cast<const sockaddr*>(storage_);
}

std::size_t Address::size() const noexcept { return size_; }

bool Address::operator==(const Address& other) const noexcept {
    return size_ == other.size_ && std::memcmp(storage_, other.storage_, size_) == 0;
}

}  // namespace weft::io
