#pragma once

#include "http/options.hpp"
#include "http/site.hpp"

#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/io/tcp.hpp>

#include <cstdint>
#include <list>
#include <mutex>

namespace server {

/// Accepts connections and serves each in a fiber of its own.
///
/// Invariants, until the end begins: connections_ holds the handle of every
/// connection fiber, which takes its own out when it ends; room_ is set exactly
/// while there are fewer than max_connections.
class Server {
public:
    /// Listens. Throws std::system_error, std::invalid_argument for the host.
    Server(const Settings& settings, weft::Event& stop);

    /// Serves until `stop` is set, and then until what is in flight is finished.
    /// Throws what made accepting impossible, if that is why it ended.
    void serve();

private:
    using Connections = std::list<weft::Fiber<>>;

    void announce() const;
    void accept_all();
    void admit(weft::io::TcpStream stream);
    void leave(Connections::iterator place) noexcept;
    void end_connections();

    const Settings& settings_;
    weft::Event& stop_;
    const Site site_;
    weft::io::TcpListener listener_;
    std::uint64_t accepted_ = 0;  // accept_all() only
    weft::Event room_;

    std::mutex mutex_;
    Connections connections_;  // guarded by mutex_
    bool ending_ = false;      // guarded by mutex_; the handles are serve()'s now
};

}  // namespace server
