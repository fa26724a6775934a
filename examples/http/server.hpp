#pragma once

#include "http/options.hpp"
#include "http/site.hpp"

#include <weft/event.hpp>
#include <weft/io/tcp.hpp>

namespace server {

/// Accepts connections and serves each in a fiber of its own.
class Server {
public:
    /// Listens. Throws std::system_error, std::invalid_argument for the host.
    explicit Server(const Settings& settings);

    /// Serves until SIGINT or SIGTERM comes, and then until what is in flight is finished;
    /// a second one ends the process. Throws what made accepting impossible, if that is why
    /// it ended.
    void serve();

private:
    void announce() const;

    const Settings& settings_;
    const Site site_;
    weft::io::TcpListener listener_;
    weft::Event stopping_;
};

}  // namespace server
