// HTTP keep-alive "hello" on weft, with the same trivial parser as every other
// server here. Layer: benchmarks, net.
//
//   weft_http --port=7000 [--workers=1] [--io=uring|epoll|auto] [--lent=1]
#include "net/weft_server.hpp"

int main(int count, char** values) {
    return bench::serve_with_weft(bench::Arguments{count, values}, bench::Protocol::http);
}
