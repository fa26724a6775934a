// Descriptors that a test opens by itself, in pairs.
#pragma once

#include "support/catch.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <string_view>
#include <utility>

namespace weft::test {

class Fd {
public:
    explicit Fd(int fd = -1) noexcept : fd_{fd} {}
    Fd(Fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd() { reset(); }
    void reset() noexcept {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }
    int release() noexcept { return std::exchange(fd_, -1); }
    operator int() const noexcept { return fd_; }

private:
    int fd_;
};

struct Pair {
    Fd a;
    Fd b;
};

inline Pair sockets(int type = SOCK_STREAM) {
    int fds[2];
    REQUIRE(::socketpair(AF_UNIX, type, 0, fds) == 0);
    return {Fd{fds[0]}, Fd{fds[1]}};
}

/// `a` is read, `b` written.
inline Pair pipe_ends(int flags = 0) {
    int fds[2];
    REQUIRE(::pipe2(fds, flags) == 0);
    return {Fd{fds[0]}, Fd{fds[1]}};
}

inline void put(int fd, std::string_view text = "x") {
    REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

}  // namespace weft::test
