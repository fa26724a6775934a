// BufferRing: pieces of memory from which the kernel takes one for each receive that
// has something to put there. Layer: io. Uses: base, io_uring.
//
// Only receives that name its group take from it (IOSQE_BUFFER_SELECT), and each reports by the
// completion's flags which piece it took.
//
// Invariant: a number is in spare_ or names one piece, in numbered_, that the kernel may take
// or has taken: for a completion that nobody has seen yet, or in a thread of its own that waits.
//
// Locking: none. The caller's lock guards all but is_full().
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

struct io_uring_buf;

namespace weft::detail {

class BufferRing {
public:
    /// The group that receives name.
    static constexpr std::uint16_t group = 0;
    static constexpr unsigned entries = 1024;

    /// Throws std::bad_alloc.
    BufferRing();
    BufferRing(const BufferRing&) = delete;
    BufferRing& operator=(const BufferRing&) = delete;
    /// Requires: no receive is in flight.
    ~BufferRing();

    /// The owner of the ring, once. Stays unopened where the kernel refuses it.
    void open(int ring) noexcept;
    bool is_open() const noexcept { return open_; }

    /// Any thread; momentary but for who provides. One that is not open is full.
    bool is_full() const noexcept { return spares_.load(std::memory_order_relaxed) == 0; }
    /// Takes `piece` over. Requires: not full.
    void provide(std::byte* piece) noexcept;
    /// The piece that a completion with these flags took; null: none.
    std::byte* taken(std::uint32_t flags) noexcept;

private:
    const std::unique_ptr<std::byte*[]> numbered_;
    io_uring_buf* const ring_;
    bool open_ = false;
    std::uint16_t tail_ = 0;
    std::uint16_t spare_[entries];
    std::atomic<unsigned> spares_{0};
};

}  // namespace weft::detail
