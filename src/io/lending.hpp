// Lending: memory for what a receive brings, handed out when that is there.
// Layer: io. Uses: base, sched.
//
// Each worker keeps a stock, last in first out: so a few pieces, which are in the cache, serve
// many connections; through io_uring as many as receives wait, up to 1024. What the stock has no
// room for, and what threads give back, goes to the heap. So nobody owes a piece to the one who
// lent it.
//
// Unobserved: pieces go through a worker's loop, of which TSan sees nothing. Who gave a piece
// back releases it, who gets it acquires it.
#pragma once

#include <cstddef>

namespace weft::detail {

/// Of each piece. One receive brings no more.
inline constexpr std::size_t lent_size = 16 << 10;

/// Own worker only.
class Stock {
public:
    Stock() = default;
    Stock(const Stock&) = delete;
    Stock& operator=(const Stock&) = delete;
    ~Stock();

    /// Null when there is no memory.
    std::byte* take() noexcept;
    void put(std::byte* piece) noexcept;

private:
    static constexpr std::size_t most = 64;

    std::byte* pieces_[most];
    std::size_t count_ = 0;
};

/// Any thread. A piece from the stock of the caller's worker, or a new one; null when there
/// is no memory. Whoever has it gives it back by take_back() (weft/io/lent_bytes.hpp).
std::byte* lend() noexcept;

/// What is none of a stock's: to the heap.
void free_lent(std::byte* piece) noexcept;

}  // namespace weft::detail
