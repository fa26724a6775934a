// Random: a small generator, one per worker, seeded; not for secrets.
// Layer: base. Uses: std. Source: Marsaglia's xorshift64 with a multiplicative finish.
#pragma once

#include <cstdint>

namespace weft::detail {

class Random {
public:
    explicit Random(std::uint64_t seed) noexcept : state_{seed * 0x9E3779B97F4A7C15u | 1} {}

    std::uint64_t next() noexcept {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545F4914F6CDD1Du;
    }
    /// Uniform in [0, bound); bound > 0.
    std::uint32_t below(std::uint32_t bound) noexcept {
        return static_cast<std::uint32_t>((next() >> 32) * bound >> 32);
    }

private:
    std::uint64_t state_;
};

}  // namespace weft::detail
