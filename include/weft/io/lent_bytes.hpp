#pragma once

#include <weft/detail/export.hpp>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace weft::detail {

/// Gives lent memory back. Any thread.
WEFT_API void take_back(std::byte* lent) noexcept;

}  // namespace weft::detail

namespace weft::io {

/// What StreamSocket::receive() brought, in memory that weft lends until this is destroyed.
/// A connection that waits has none of its own, so a server needs as much as it has answers
/// under way. (Through io_uring a worker keeps as many ready as receives wait, up to 1024.)
///
/// The memory is its owner's to change. Each takes 17 KiB however few bytes are in it: what
/// is to be kept for long had better be copied.
///
/// Thread safety: none of one object; it may be moved to, and destroyed on, any thread, also
/// after the runtime it came from.
class LentBytes {
public:
    /// Nothing.
    LentBytes() noexcept = default;
    LentBytes(LentBytes&& other) noexcept
        : lent_{std::exchange(other.lent_, nullptr)}, size_{std::exchange(other.size_, 0)} {}
    LentBytes& operator=(LentBytes&& other) noexcept {
        LentBytes old{std::move(other)};
        std::swap(lent_, old.lent_);
        std::swap(size_, old.size_);
        return *this;
    }
    ~LentBytes() {
        if (lent_ != nullptr) weft::detail::take_back(lent_);
    }

    std::span<std::byte> bytes() const noexcept { return {lent_, size_}; }
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(lent_), size_}; }
    std::size_t size() const noexcept { return size_; }
    /// False for nothing: what a receive brings at the end of the stream.
    explicit operator bool() const noexcept { return size_ != 0; }

private:
    friend class StreamSocket;

    LentBytes(std::byte* lent, std::size_t size) noexcept : lent_{lent}, size_{size} {}

    std::byte* lent_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace weft::io
