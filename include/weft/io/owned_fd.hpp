#pragma once

#include <weft/detail/export.hpp>

#include <utility>

namespace weft::io {

/// A descriptor that is closed with its owner, and nothing else: for what comes
/// from elsewhere, until it becomes a File, a stream, or whatever it is.
///
/// Thread safety: none. Nothing may be in flight on it when it is closed.
class WEFT_API OwnedFd {
public:
    OwnedFd() noexcept = default;
    /// Takes it over; -1 means none.
    explicit OwnedFd(int fd) noexcept : fd_{fd} {}
    OwnedFd(OwnedFd&& other) noexcept : fd_{other.release()} {}
    OwnedFd& operator=(OwnedFd&& other) noexcept {
        if (this != &other) {
            close();
            fd_ = other.release();
        }
        return *this;
    }
    ~OwnedFd() { close(); }

    bool is_open() const noexcept { return fd_ >= 0; }
    /// -1 when there is none.
    int fd() const noexcept { return fd_; }
    /// Gives it up, unclosed.
    int release() noexcept { return std::exchange(fd_, -1); }
    /// Idempotent. Never throws.
    void close() noexcept;

private:
    int fd_ = -1;
};

}  // namespace weft::io
