// Layer: io. Uses: base, io_uring.
#include "io/buffer_ring.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "io/lending.hpp"

#include <liburing.h>

#include <new>
#include <utility>

namespace weft::detail {

namespace {

constexpr std::align_val_t page{4096};

}  // namespace

// On the thread that makes the runtime, which is told if there is no memory; and not in the
// midst of what others do, whose worker begins late.
BufferRing::BufferRing()
    : numbered_{std::make_unique<std::byte*[]>(entries)},
      ring_{new (::operator new(entries * sizeof(io_uring_buf), page)) io_uring_buf[entries]{}} {}

void BufferRing::open(int ring) noexcept {
    const Unobserved quiet;
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uint64_t>(ring_);
    registration.ring_entries = entries;
    registration.bgid = group;
    if (io_uring_register(static_cast<unsigned>(ring), IORING_REGISTER_PBUF_RING, &registration,
                          1) < 0) {
        return;
    }
    open_ = true;
    for (unsigned i = 0; i < entries; ++i) spare_[i] = static_cast<std::uint16_t>(i);
    spares_.store(entries, std::memory_order_relaxed);
}

BufferRing::~BufferRing() {
    const Unobserved quiet;
    ::operator delete(ring_, page);
    for (unsigned i = 0; i < entries; ++i) {
        if (numbered_[i] != nullptr) free_lent(numbered_[i]);
    }
}

void BufferRing::provide(std::byte* piece) noexcept {
    const Unobserved quiet;
    const unsigned spares = spares_.load(std::memory_order_relaxed);
    WEFT_ASSERT(spares > 0);
    const std::uint16_t number = spare_[spares - 1];
    spares_.store(spares - 1, std::memory_order_relaxed);
    numbered_[number] = piece;

    io_uring_buf& entry = ring_[tail_ % entries];
    entry.addr = reinterpret_cast<std::uint64_t>(piece);
    entry.len = lent_size;
    entry.bid = number;
    // The tail of the whole lies in the first entry. Pairs with the kernel's look at it.
    __atomic_store_n(&ring_[0].resv, ++tail_, __ATOMIC_RELEASE);
}

std::byte* BufferRing::taken(std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_BUFFER) == 0) return nullptr;
    const Unobserved quiet;
    const auto number = static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT);
    WEFT_ASSERT(number < entries);
    std::byte* const piece = std::exchange(numbered_[number], nullptr);
    const unsigned spares = spares_.load(std::memory_order_relaxed);
    spare_[spares] = number;
    spares_.store(spares + 1, std::memory_order_relaxed);
    return piece;
}

}  // namespace weft::detail
