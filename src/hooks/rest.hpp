// What is left of pieces of which a part was moved. Layer: hooks. Uses: std.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace weft::hooks::detail {

/// The caller's pieces are const: they are copied where a part ends in the middle of one.
class Rest {
public:
    explicit Rest(std::span<const iovec> pieces) noexcept : left_{pieces} {}
    Rest(const Rest&) = delete;
    Rest& operator=(const Rest&) = delete;

    std::span<const iovec> pieces() const noexcept { return left_; }
    bool empty() const noexcept { return left_.empty(); }
    /// `size` bytes more were moved. False: there is no memory for a copy.
    bool skip(std::size_t size) noexcept {
        while (!empty() && size >= left_.front().iov_len) {
            size -= left_.front().iov_len;
            left_ = left_.subspan(1);
        }
        if (size == 0) return true;
        iovec* const first = own_pieces();
        if (first == nullptr) return false;
        first->iov_base = static_cast<char*>(first->iov_base) + size;
        first->iov_len -= size;
        return true;
    }

private:
    /// Those that are left, where they may be changed.
    iovec* own_pieces() noexcept {
        if (copied_) return const_cast<iovec*>(left_.data());
        const std::size_t count = left_.size();
        if (count > few_.size()) many_.reset(new (std::nothrow) iovec[count]);
        iovec* const copy = count > few_.size() ? many_.get() : few_.data();
        if (copy == nullptr) return nullptr;
        std::copy_n(left_.data(), count, copy);
        left_ = {copy, count};
        copied_ = true;
        return copy;
    }

    std::span<const iovec> left_;
    bool copied_ = false;
    std::array<iovec, 8> few_;
    std::unique_ptr<iovec[]> many_;
};

}  // namespace weft::hooks::detail
