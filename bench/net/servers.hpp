// The reference servers: how fast this machine serves connections when nothing
// is in the way. Layer: benchmarks, net.
//
// Each takes over a listening socket and serves on the calling thread, for ever.
#pragma once

#include "net/exchange.hpp"

namespace bench {

/// A state machine on edge-triggered epoll. Requires a non-blocking listener.
[[noreturn]] void serve_by_epoll(int listener, Protocol protocol);

/// A state machine on io_uring, one receive or send in flight per connection.
/// Requires a blocking listener: a non-blocking one is answered EAGAIN.
[[noreturn]] void serve_by_ring(int listener, Protocol protocol);

/// A fiber per connection on edge-triggered epoll. Requires a non-blocking listener.
[[noreturn]] void serve_by_fibers_on_epoll(int listener, Protocol protocol);

/// A fiber per connection on io_uring. Requires a blocking listener.
[[noreturn]] void serve_by_fibers_on_ring(int listener, Protocol protocol);

}  // namespace bench
