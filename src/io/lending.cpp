// Layer: io. Uses: base, sched.
#include "io/lending.hpp"

#include "base/sanitizer.hpp"
#include "io/operation.hpp"
#include "sched/worker.hpp"

#include <weft/io/lent_bytes.hpp>

#include <new>

namespace weft::detail {

namespace {

// Each is longer than it need be, so that they begin at different places of a page: those
// that begin alike share a few sets of the cache.
constexpr std::align_val_t line{64};
constexpr std::size_t allocated_size = lent_size + 1024;

std::byte* allocate() noexcept {
    return static_cast<std::byte*>(::operator new(allocated_size, line, std::nothrow));
}

Stock* stock_here() noexcept {
    Worker* const worker = Worker::current();
    return worker == nullptr ? nullptr : &driver_of(*worker).stock();
}

}  // namespace

Stock::~Stock() {
    const Unobserved quiet;
    while (count_ > 0) free_lent(pieces_[--count_]);
}

std::byte* Stock::take() noexcept {
    const Unobserved quiet;
    return count_ > 0 ? pieces_[--count_] : allocate();
}

void Stock::put(std::byte* piece) noexcept {
    const Unobserved quiet;
    if (count_ == most) return free_lent(piece);
    pieces_[count_++] = piece;
}

std::byte* lend() noexcept {
    Stock* const stock = stock_here();
    std::byte* const piece = stock == nullptr ? allocate() : stock->take();
    tsan_acquire(piece);
    return piece;
}

void take_back(std::byte* lent) noexcept {
    tsan_release(lent);
    Stock* const stock = stock_here();
    stock == nullptr ? free_lent(lent) : stock->put(lent);
}

void free_lent(std::byte* piece) noexcept { ::operator delete(piece, line); }

}  // namespace weft::detail
