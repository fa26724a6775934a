#pragma once

#include "http/exchange.hpp"
#include "http/static_files.hpp"

#include <memory>

namespace server {

/// What there is to be had: the routes and their handlers.
/// Thread safety: answer() from any number of fibers.
class Site {
public:
    /// Throws std::system_error that names the root when it cannot be opened.
    explicit Site(const Settings& settings);

    /// Answers a request that was received. Throws Refusal, PeerGone, and
    /// whatever a handler throws.
    void answer(Exchange& exchange) const;

private:
    struct Route;
    static const Route routes[];

    void text(Exchange& exchange) const;
    void json(Exchange& exchange) const;
    void stream(Exchange& exchange) const;
    void sleep(Exchange& exchange) const;
    void echo(Exchange& exchange) const;
    void file(Exchange& exchange) const;
    void throw_error(Exchange& exchange) const;
    void overflow(Exchange& exchange) const;

    std::unique_ptr<StaticFiles> files_;  // null: no --root
    bool unsafe_routes_;
};

}  // namespace server
