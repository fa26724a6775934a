// Memory for reads past the page cache (OpenMode::direct): of whole pages, into whole pages, for
// the end of a file cannot be had in another way. Layer: os. Uses: std.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace weft::io::detail {

class Pages {
public:
    /// For reads of at most `most` bytes.
    explicit Pages(std::uint64_t most)
        : count_{pages_of(most)}, memory_{std::make_unique_for_overwrite<Page[]>(count_)} {}

    /// What to read to for `length` bytes, or for as many as there is room for.
    std::span<std::byte> for_bytes(std::uint64_t length) const noexcept {
        return std::as_writable_bytes(std::span{memory_.get(), std::min(pages_of(length), count_)});
    }

private:
    struct alignas(4096) Page {
        std::byte bytes[4096];
    };
    static constexpr std::size_t pages_of(std::uint64_t length) noexcept {
        return static_cast<std::size_t>(length / sizeof(Page) +
                                        (length % sizeof(Page) > 0 ? 1 : 0));
    }

    std::size_t count_;
    std::unique_ptr<Page[]> memory_;
};

}  // namespace weft::io::detail
