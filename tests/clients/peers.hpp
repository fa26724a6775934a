// Servers that do no client any good. Each is a plain thread with a listener on loopback.
#pragma once

#include "support/fd.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace weft::test {

/// Resets each connection at once; or says nothing for as long as it lives; or says something that
/// is of no protocol.
class BadPeer {
public:
    enum class Does { reset, stay_silent, babble };

    explicit BadPeer(Does does) : does_{does} {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
        REQUIRE(::listen(listener_, 1000) == 0);
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread{[this] { serve(); }};
    }
    ~BadPeer() {
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
    }
    int port() const { return port_; }

private:
    void serve() {
        std::vector<Fd> kept;
        for (;;) {
            Fd client{::accept(listener_, nullptr, nullptr)};
            if (client < 0) return;
            if (does_ == Does::babble) put(client, "nothing that anybody would expect\n");
            if (does_ != Does::reset) {
                kept.push_back(std::move(client));
                continue;
            }
            const linger at_once{1, 0};
            ::setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
    }

    const Does does_;
    const Fd listener_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int port_ = 0;
    std::thread thread_;
};

}  // namespace weft::test
