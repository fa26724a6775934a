// The command line, by getopt_long: every malformed value is refused by name.
#include "http/options.hpp"

#include <getopt.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace server {

namespace {

constexpr const char* help = R"(usage: http_server [OPTION]...

  --host ADDRESS          listen on this address (127.0.0.1)
  --port PORT             listen on this port; 0 picks a free one (8080)
  --workers N             threads that run fibers; 0: one for each CPU (0)
  --io uring|epoll|auto   what I/O goes through (auto)
  --max-connections N     accept no more while N are open (16384)
  --root DIRECTORY        serve the files in it under /files/
  --header-timeout SECONDS
                          from a request's first byte to the end of its header (10)
  --idle-timeout SECONDS  until the next request begins (60)
  --write-timeout SECONDS until the peer took a piece of the answer (10)
  --unsafe-routes         offer /overflow, which kills the server
  --help                  show this and exit

SIGINT and SIGTERM stop it: what is in flight is finished, unless a second
one comes meanwhile.
)";

enum Name : int {
    host,
    port,
    workers,
    io,
    max_connections,
    root,
    header_timeout,
    idle_timeout,
    write_timeout,
    unsafe_routes,
    show_help,
};

constexpr option names[] = {
    {"host", required_argument, nullptr, host},
    {"port", required_argument, nullptr, port},
    {"workers", required_argument, nullptr, workers},
    {"io", required_argument, nullptr, io},
    {"max-connections", required_argument, nullptr, max_connections},
    {"root", required_argument, nullptr, root},
    {"header-timeout", required_argument, nullptr, header_timeout},
    {"idle-timeout", required_argument, nullptr, idle_timeout},
    {"write-timeout", required_argument, nullptr, write_timeout},
    {"unsafe-routes", no_argument, nullptr, unsafe_routes},
    {"help", no_argument, nullptr, show_help},
    {nullptr, 0, nullptr, 0},
};

[[noreturn]] void refuse(std::string_view what) {
    std::fprintf(stderr, "http_server: %.*s\nTry 'http_server --help'.\n",
                 static_cast<int>(what.size()), what.data());
    std::exit(2);
}

template <class Number>
Number number(std::string_view name, std::string_view text, Number low, Number high) {
    Number value{};
    const char* const end = text.data() + text.size();
    const auto result = std::from_chars(text.data(), end, value);
    // Negated, because a NaN is neither below nor above.
    if (result.ec != std::errc{} || result.ptr != end || !(value >= low && value <= high)) {
        refuse("--" + std::string{name} + ": '" + std::string{text} + "' is not a number from " +
               std::to_string(low) + " to " + std::to_string(high));
    }
    return value;
}

std::chrono::milliseconds seconds(std::string_view name, std::string_view text) {
    const std::chrono::duration<double> value{number(name, text, 0.001, 86'400.0)};
    return std::chrono::ceil<std::chrono::milliseconds>(value);
}

weft::Io io_named(std::string_view text) {
    if (text == "auto") return weft::Io::automatic;
    if (text == "uring") return weft::Io::uring;
    if (text == "epoll") return weft::Io::epoll;
    refuse("--io: '" + std::string{text} + "' is none of uring, epoll, auto");
}

void apply(Settings& settings, int name) {
    const std::string_view value = optarg != nullptr ? optarg : "";
    switch (name) {
        case host: settings.host = value; return;
        case port: settings.port = number<std::uint16_t>("port", value, 0, 65'535); return;
        case workers: settings.runtime.workers = number("workers", value, 0U, 1024U); return;
        case io: settings.runtime.io = io_named(value); return;
        case max_connections:
            settings.max_connections = number("max-connections", value, 1UL, 10'000'000UL);
            return;
        case root: settings.root = value; return;
        case header_timeout: settings.header_timeout = seconds("header-timeout", value); return;
        case idle_timeout: settings.idle_timeout = seconds("idle-timeout", value); return;
        case write_timeout: settings.write_timeout = seconds("write-timeout", value); return;
        case unsafe_routes: settings.unsafe_routes = true; return;
        case show_help: std::fputs(help, stdout); std::exit(0);
        default: std::fputs("Try 'http_server --help'.\n", stderr); std::exit(2);
    }
}

}  // namespace

Settings parse_options(int argc, char** argv) {
    Settings settings;
    for (;;) {
        optarg = nullptr;
        const int name = getopt_long(argc, argv, "", names, nullptr);
        if (name == -1) break;
        apply(settings, name);
    }
    if (optind < argc) refuse("'" + std::string{argv[optind]} + "' is not an option");
    return settings;
}

}  // namespace server
