// Paths, and what is told of one that something went wrong with. Layer: os. Uses: io.
#pragma once

#include "os/call.hpp"

#include <weft/io/stream.hpp>

#include <fcntl.h>

#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace weft::io::detail {

/// A copy that ends in a zero byte. Throws std::invalid_argument when there is one before.
inline std::string checked_path(std::string_view path) {
    if (path.find('\0') != std::string_view::npos) {
        throw std::invalid_argument("a path with a zero byte in it");
    }
    return std::string{path};
}

/// A user's or a group's; -1 is none. Throws std::system_error(invalid_argument) for what is
/// neither.
inline std::uint32_t to_id(std::int64_t id) {
    if (id < -1 || id > std::int64_t{UINT32_MAX}) throw_error(-EINVAL, "a user or group");
    return static_cast<std::uint32_t>(id);
}

/// `operation "path"`: the text of an error.
inline std::string describe(const char* operation, std::string_view path) {
    return std::string{operation} + " \"" + std::string{path} + '"';
}

[[noreturn]] inline void throw_path_error(std::int64_t result, const std::string& what) {
    throw std::system_error(static_cast<int>(-result), std::system_category(), what);
}

/// perform() of `request` on names, which are taken from the working directory. Returns
/// its result, >= 0, or throws that `operation` failed with `path`. Cancellation point.
inline int perform_on_path(Request request, std::string_view path, const char* operation,
                           Deadline deadline) {
    request.fd = AT_FDCWD;
    Operation made{request};
    const int result = perform(made, deadline, Cancellable::yes, operation);
    if (result < 0) throw_path_error(result, describe(operation, path));
    return result;
}

}  // namespace weft::io::detail
