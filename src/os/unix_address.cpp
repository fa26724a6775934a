// Layer: os. Uses: libc.
//
// size_ is what the kernel calls the address's length: the family alone, or with
// it a path and its zero (without it if the path has 108 bytes), or a zero and an
// abstract name. In storage_ a zero always follows.
#include <weft/io/unix_address.hpp>

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace weft::io {

namespace {

constexpr std::size_t head = offsetof(sockaddr_un, sun_path);

}  // namespace

UnixAddress::UnixAddress() noexcept : storage_{}, size_{head} {
    static_assert(sizeof storage_ >= sizeof(sockaddr_un));
    static_assert(most_text == sizeof(sockaddr_un::sun_path));
    const sa_family_t family = AF_UNIX;
    std::memcpy(storage_, &family, sizeof family);
}

UnixAddress::UnixAddress(std::string_view path) : UnixAddress{} {
    const std::string quoted = '"' + std::string{path} + '"';
    if (path.empty() || path.find('\0') != std::string_view::npos) {
        throw std::invalid_argument("not a path for a socket: " + quoted);
    }
    if (path.size() > most_text) {
        throw std::invalid_argument("a path of more than 108 bytes for a socket: " + quoted);
    }
    std::memcpy(storage_ + head, path.data(), path.size());
    size_ = std::min(head + path.size() + 1, sizeof(sockaddr_un));
}

UnixAddress UnixAddress::abstract(std::string_view name) {
    if (name.size() >= most_text) {
        throw std::invalid_argument("an abstract name of more than 107 bytes for a socket");
    }
    UnixAddress result;
    std::memcpy(result.storage_ + head + 1, name.data(), name.size());
    result.size_ = head + 1 + name.size();
    return result;
}

UnixAddress UnixAddress::from(const sockaddr* address, std::size_t size) {
    if (size < head || address->sa_family != AF_UNIX) {
        throw std::invalid_argument("a socket address that is no Unix address");
    }
    const char* text = reinterpret_cast<const char*>(address) + head;
    const std::size_t count = std::min(size - head, most_text);
    if (count == 0) return {};
    if (text[0] == '\0') return abstract({text + 1, count - 1});
    return UnixAddress{std::string_view{text, ::strnlen(text, count)}};
}

bool UnixAddress::is_unnamed() const noexcept { return size_ == head; }

bool UnixAddress::is_abstract() const noexcept { return !is_unnamed() && storage_[head] == 0; }

std::string UnixAddress::name() const {
    if (is_unnamed()) return {};
    const char* text = reinterpret_cast<const char*>(storage_) + head;
    return is_abstract() ? std::string{text + 1, size_ - head - 1} : std::string{text};
}

std::string UnixAddress::to_string() const {
    if (is_unnamed()) return "(unnamed)";
    std::string text = name();
    if (is_path()) return text;
    std::replace(text.begin(), text.end(), '\0', '@');
    return '@' + text;
}

const sockaddr* UnixAddress::data() const noexcept {
    return reinterpret_cast<const sockaddr*>(storage_);
}

bool UnixAddress::operator==(const UnixAddress& other) const noexcept {
    return size_ == other.size_ && std::memcmp(storage_, other.storage_, size_) == 0;
}

}  // namespace weft::io
