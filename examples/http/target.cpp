// The request target (RFC 9112, 3.2): origin form and absolute form.
#include "http/target.hpp"

#include <charconv>

namespace server {

namespace {

constexpr auto npos = std::string_view::npos;

/// Nothing when an escape is cut short, not hexadecimal, or a NUL.
std::optional<std::string> percent_decoded(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        if (text.size() - i < 3) return std::nullopt;
        unsigned char byte = 0;
        const char* const digits = text.data() + i + 1;
        const auto result = std::from_chars(digits, digits + 2, byte, 16);
        if (result.ec != std::errc{} || result.ptr != digits + 2) return std::nullopt;
        if (byte == 0) return std::nullopt;
        out += static_cast<char>(byte);
        i += 2;
    }
    return out;
}

/// "http://host:1/path" to "/path"; anything else unchanged.
std::string_view without_authority(std::string_view text) {
    constexpr std::string_view scheme = "http://";
    if (!text.starts_with(scheme)) return text;
    const auto slash = text.find('/', scheme.size());
    return slash == npos ? std::string_view{"/"} : text.substr(slash);
}

}  // namespace

std::optional<std::string_view> Target::parameter(std::string_view name) const {
    std::string_view rest = query;
    while (!rest.empty()) {
        const auto end = rest.find('&');
        const auto pair = rest.substr(0, end);
        const auto equals = pair.find('=');
        if (equals != npos && pair.substr(0, equals) == name) return pair.substr(equals + 1);
        rest = end == npos ? std::string_view{} : rest.substr(end + 1);
    }
    return std::nullopt;
}

std::optional<Target> parse_target(std::string_view text) {
    text = without_authority(text);
    if (!text.starts_with('/')) return std::nullopt;
    const auto mark = text.find('?');
    auto path = percent_decoded(text.substr(0, mark));
    if (!path) return std::nullopt;
    const auto query = mark == npos ? std::string_view{} : text.substr(mark + 1);
    return Target{std::move(*path), std::string{query}};
}

}  // namespace server
