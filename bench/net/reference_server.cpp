// The hand-written servers behind one command line. Layer: benchmarks, net.
//
//   reference_server --mode=epoll|ur|fib-epoll|fib-ring --port=7000 [--http=1]
#include "common/arguments.hpp"
#include "net/servers.hpp"
#include "net/sockets.hpp"

#include <cstdio>
#include <map>

namespace {

struct Mode {
    void (*serve)(int listener, bench::Protocol protocol);
    bench::Blocking listener;
};

const std::map<std::string, Mode> modes{
    {"epoll", {bench::serve_by_epoll, bench::Blocking::no}},
    {"ur", {bench::serve_by_ring, bench::Blocking::yes}},
    {"fib-epoll", {bench::serve_by_fibers_on_epoll, bench::Blocking::no}},
    {"fib-ring", {bench::serve_by_fibers_on_ring, bench::Blocking::yes}},
};

}  // namespace

int main(int count, char** values) {
    const bench::Arguments arguments{count, values};
    const auto mode = modes.find(arguments.text("mode", "epoll"));
    if (mode == modes.end()) {
        std::fputs("--mode is one of epoll, ur, fib-epoll, fib-ring\n", stderr);
        return 2;
    }
    bench::raise_descriptor_limit();
    const auto listener =
        bench::listen_on_loopback(arguments.integer("port", 7000), mode->second.listener);
    mode->second.serve(listener.get(), arguments.integer("http", 0) != 0 ? bench::Protocol::http
                                                                         : bench::Protocol::echo);
}
