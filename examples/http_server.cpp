// An HTTP/1.1 server in blocking style: a fiber per connection.
//
//   http_server --port 8080 --root .     and then:  curl http://127.0.0.1:8080/
//
// The parts, in the order of a connection's life: http/server (accepts),
// http/connection (keep-alive, time-outs), http/exchange (one request and its
// answer), http/site (routes and handlers), http/static_files.
#include "http/options.hpp"
#include "http/server.hpp"

#include <weft/runtime.hpp>

#include <sys/resource.h>

#include <cstdio>
#include <exception>

namespace {

/// The soft limit is there for programs that use select(); this one does not.
void raise_descriptor_limit() {
    rlimit limit;
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
    const auto settings = server::parse_options(argc, argv);
    raise_descriptor_limit();
    try {
        server::Server server{settings};
        weft::run([&server] { server.serve(); }, settings.runtime);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "http_server: %s\n", error.what());
        return 1;
    }
}
