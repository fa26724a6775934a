// Quantiles of many latencies in fixed memory. Layer: benchmarks, net.
//
// Buckets are 64 to a power of two, so a quantile is at most 1.6 % too low.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace bench {

class Histogram {
public:
    void add(std::uint64_t value) noexcept {
        ++counts_[bucket_of(value)];
        ++total_;
    }

    /// What was added to `other`, too.
    void add(const Histogram& other) noexcept {
        for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
            counts_[bucket] += other.counts_[bucket];
        }
        total_ += other.total_;
    }

    std::uint64_t total() const noexcept { return total_; }

    /// The lower bound of the bucket that holds the quantile.
    std::uint64_t quantile(double fraction) const noexcept {
        const auto wanted = static_cast<std::uint64_t>(static_cast<double>(total_) * fraction);
        std::uint64_t below = 0;
        for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
            below += counts_[bucket];
            if (below > wanted) return lower_bound_of(bucket);
        }
        return 0;
    }

private:
    static constexpr unsigned digits = 6;
    static constexpr std::uint64_t per_power = 1u << digits;

    static std::size_t bucket_of(std::uint64_t value) noexcept {
        if (value < per_power) return value;
        const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - digits;
        return (shift + 1) * per_power + ((value >> shift) & (per_power - 1));
    }

    static std::uint64_t lower_bound_of(std::size_t bucket) noexcept {
        if (bucket < per_power) return bucket;
        const std::uint64_t shift = bucket / per_power - 1;
        return (per_power + bucket % per_power) << shift;
    }

    std::array<std::uint64_t, 64 * per_power> counts_{};
    std::uint64_t total_ = 0;
};

}  // namespace bench
