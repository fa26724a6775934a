#pragma once

#include <weft/runtime.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace server {

/// What the command line decides. Fixed once the server runs.
struct Settings {
    std::string host = "127.0.0.1";
    std::uint16_t port = 8080;
    std::size_t max_connections = 16'384;
    std::string root = {};       ///< directory behind /files/; empty: no such route
    bool unsafe_routes = false;  ///< /overflow, which kills the process
    weft::Options runtime = {};

    std::size_t header_limit = 8 * 1024;
    std::size_t body_limit = 1024 * 1024;
    std::chrono::milliseconds idle_timeout{60'000};    ///< until a request begins
    std::chrono::milliseconds header_timeout{10'000};  ///< from its first byte to its header's end
    std::chrono::milliseconds body_timeout{30'000};    ///< for the whole body
    std::chrono::milliseconds write_timeout{10'000};   ///< for each piece written
};

/// Reads the command line. Prints the help to stdout, or what is wrong to
/// stderr, and exits then (0 and 2).
Settings parse_options(int argc, char** argv);

}  // namespace server
