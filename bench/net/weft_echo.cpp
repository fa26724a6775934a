// TCP echo on weft. Layer: benchmarks, net.
//
//   weft_echo --port=7000 [--workers=1] [--io=uring|epoll|auto] [--lent=1]
#include "net/weft_server.hpp"

int main(int count, char** values) {
    return bench::serve_with_weft(bench::Arguments{count, values}, bench::Protocol::echo);
}
