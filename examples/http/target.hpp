#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace server {

/// What a request asks for.
struct Target {
    std::string path;   ///< percent-decoded; begins with '/'; without NUL
    std::string query;  ///< as it came, without the '?'

    /// The value of `name=` in the query, as it came.
    std::optional<std::string_view> parameter(std::string_view name) const;
};

/// Takes "/path?query" and "http://host/path?query" apart.
/// Returns nothing when it is neither, or its escapes are malformed.
std::optional<Target> parse_target(std::string_view text);

}  // namespace server
