#pragma once

#include <weft/detail/export.hpp>

#include <cstddef>
#include <string>
#include <string_view>

struct sockaddr;

namespace weft::io {

/// The name of a Unix socket: a path, or an abstract name, which is in no
/// directory, vanishes with its socket and knows no permissions. A value.
class WEFT_API UnixAddress {
public:
    /// None: what a client's socket has. Listening on it picks a free abstract name.
    UnixAddress() noexcept;

    /// A path of at most 108 bytes. Throws std::invalid_argument for one that is
    /// longer, empty, or has a zero byte in it.
    explicit UnixAddress(std::string_view path);

    /// Any bytes, zeros as well, at most 107. Throws std::invalid_argument.
    static UnixAddress abstract(std::string_view name);

    /// A copy. Throws std::invalid_argument for what is no Unix address.
    static UnixAddress from(const sockaddr* address, std::size_t size);

    bool is_unnamed() const noexcept;
    bool is_abstract() const noexcept;
    bool is_path() const noexcept { return !is_unnamed() && !is_abstract(); }

    /// The path, or the abstract name, or nothing.
    std::string name() const;
    /// "/run/x.sock", "@name" with a zero byte as @, "(unnamed)".
    std::string to_string() const;

    const sockaddr* data() const noexcept;
    std::size_t size() const noexcept { return size_; }

    bool operator==(const UnixAddress& other) const noexcept;

private:
    static constexpr std::size_t most_text = 108;  // sun_path

    alignas(8) unsigned char storage_[112];  // a sockaddr_un and two bytes
    std::size_t size_;                       // of it, as the kernel counts
};

}  // namespace weft::io
