// Pieces: the system's view of what a caller wants read or written.
// Layer: os. Uses: std.
#pragma once

#include <weft/io/stream.hpp>

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::io::detail {

/// A length as the kernel takes it in one call.
inline std::uint32_t clamp_length(std::size_t size) noexcept {
    constexpr std::size_t most = std::size_t{1} << 30;
    return static_cast<std::uint32_t>(std::min(size, most));
}

/// What a call has still to do of its buffers. Those that are done are not looked at again.
class Rest {
public:
    explicit Rest(std::span<const ConstBuffer> buffers, std::size_t done = 0) noexcept
        : buffers_{buffers} {
        drop(done);
    }

    bool empty() const noexcept { return buffers_.empty(); }
    std::span<const ConstBuffer> buffers() const noexcept { return buffers_; }
    /// So much of their beginning is done.
    std::size_t skip() const noexcept { return skip_; }
    void drop(std::size_t done) noexcept {
        skip_ += done;
        while (!buffers_.empty() && buffers_.front().size <= skip_) {
            skip_ -= buffers_.front().size;
            buffers_ = buffers_.subspan(1);
        }
    }

private:
    std::span<const ConstBuffer> buffers_;
    std::size_t skip_ = 0;
};

/// Up to 16 non-empty buffers, less the first `skip` bytes of them.
class Pieces {
public:
    template <class Buffer>
    explicit Pieces(std::span<const Buffer> buffers, std::size_t skip = 0) noexcept {
        for (const Buffer& buffer : buffers) {
            if (count_ == most) break;
            if (buffer.size <= skip) {
                skip -= buffer.size;
                continue;
            }
            // const is cast away for the iovec only; sends do not write.
            auto* data =
                static_cast<std::byte*>(const_cast<void*>(static_cast<const void*>(buffer.data)));
            pieces_[count_++] = {data + skip, buffer.size - skip};
            skip = 0;
        }
    }

    bool empty() const noexcept { return count_ == 0; }
    bool single() const noexcept { return count_ == 1; }
    std::size_t count() const noexcept { return count_; }
    const iovec& front() const noexcept { return pieces_[0]; }
    std::size_t bytes() const noexcept {
        std::size_t sum = 0;
        for (std::size_t i = 0; i < count_; ++i) sum += pieces_[i].iov_len;
        return sum;
    }
    /// Valid while *this is.
    msghdr message() noexcept {
        msghdr message{};
        message.msg_iov = pieces_;
        message.msg_iovlen = count_;
        return message;
    }

private:
    static constexpr std::size_t most = 16;
    iovec pieces_[most];
    std::size_t count_ = 0;
};

}  // namespace weft::io::detail
