// Stacks: reserved virtually, committed by touch, guarded, cached hot.
// Layer: context. Uses: base.
//
// A stack is a slot of 2^shift bytes in a slab: 64 KiB of guard at the low end,
// the rest usable. 64 KiB, because Debian's libraries have frames of up to
// 33 KiB without stack probes, which would jump over a page.
//
//   slot:  [ guard 64 KiB | usable ............................ | colour ]  <- end
//
// The guard is installed when a slot is used for the first time, by
// MADV_GUARD_INSTALL, which splits no mapping, so that a million guarded stacks
// fit under vm.max_map_count; on kernels before 6.13 by mprotect. Where that
// fails too the stack goes without, and a warning says so once.
//
// Reserving and acquiring are two steps. A spawn reserves, which may fail and
// throws; the fiber's first run acquires, which then cannot fail. So a fiber
// that has not run yet holds no memory but its control block, and one that runs
// at once gets a stack that is still in the cache.
//
// Invariant: of each size, mapped slots >= reserved slots + what caches may hold,
//  and a stack is acquired only for a promise. So acquire() always finds one.
#pragma once

#include <weft/detail/wait_queue.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace weft::detail {

struct Stack {
    static constexpr std::size_t guard_size = 64 << 10;

    std::byte* end = nullptr;  // of the slot; null: no stack
    std::uint8_t shift = 0;    // the slot has 2^shift bytes

    std::byte* slot() const noexcept { return end - (std::size_t{1} << shift); }
    std::byte* bottom() const noexcept { return slot() + guard_size; }
    /// Neighbouring stacks begin in different cache sets.
    std::byte* top() const noexcept {
        const auto colour = reinterpret_cast<std::uintptr_t>(end) >> shift & 15;
        return end - colour * 128;
    }
    std::size_t size() const noexcept { return static_cast<std::size_t>(top() - bottom()); }
    /// size() and what is above top().
    std::size_t committable() const noexcept { return static_cast<std::size_t>(end - bottom()); }
    bool guards(const void* address) const noexcept {
        return address >= slot() && address < bottom();
    }
    explicit operator bool() const noexcept { return end != nullptr; }
};

/// Cleans the sanitizer's shadow of frames that were left without returning.
void forget_frames(const Stack& stack) noexcept;

/// For what a spawn needs. Throws std::system_error(ENOMEM), a copy of one that the first
/// StackPool made: there may be no memory for its text either.
[[noreturn]] void throw_no_memory_to_spawn();

class StackPool {
public:
    static constexpr std::uint8_t min_shift = 17;  // 64 KiB usable
    static constexpr std::uint8_t max_shift = 36;

    StackPool();
    StackPool(const StackPool&) = delete;
    StackPool& operator=(const StackPool&) = delete;
    ~StackPool();

    /// The smallest slot with `usable` bytes beside the guard. Throws
    /// std::invalid_argument when that is more than the largest.
    static std::uint8_t shift_for(std::size_t usable);
    static std::size_t usable_size(std::uint8_t shift) noexcept {
        return (std::size_t{1} << shift) - Stack::guard_size;
    }

    // Any thread, all of these.

    /// Makes sure that `count` further acquire() will succeed. Throws
    /// std::system_error when the address space cannot be had; then nothing was reserved.
    void reserve(std::uint8_t shift, std::uint32_t count);
    void unreserve(std::uint8_t shift, std::uint32_t count) noexcept;
    /// A cache that may keep up to `count` stacks beyond the promises comes or goes.
    void add_cache(std::uint8_t shift, std::uint32_t count) noexcept;
    void remove_cache(std::uint8_t shift, std::uint32_t count) noexcept;

    /// Takes up to `count` stacks, at least one; each must have been reserved.
    std::uint32_t acquire(std::uint8_t shift, Stack* out, std::uint32_t count) noexcept;
    void release(const Stack* stacks, std::uint32_t count) noexcept;
    /// Gives the memory of a few free stacks back to the system, where more are
    /// warm than are worth keeping. Returns how many it were.
    std::uint32_t trim() noexcept;

    /// Stacks that were acquired and not released.
    std::uint64_t in_use() const noexcept { return in_use_.load(std::memory_order_relaxed); }

private:
    static constexpr std::size_t slab_size = 64 << 20;
    // Free stacks of one size that may keep their touched pages for good. What
    // exceeds it is given back by trim(), not by the release() that has no time.
    static constexpr std::size_t most_warm = 1024;
    static constexpr std::size_t largest_warm = 1 << 20;
    static constexpr std::uint32_t trim_batch = 32;

    struct SizeClass {
        SpinLock lock;
        // --- all guarded by lock ---
        std::uint64_t mapped = 0;      // slots in slabs
        std::uint64_t reserved = 0;    // slots promised
        std::uint64_t cached = 0;      // slots that caches may hold beside
        std::vector<std::byte*> warm;  // ends of free slots with touched pages
        std::vector<std::byte*> cold;  // ends of free slots without, guard in place
        std::byte* fresh = nullptr;    // slots from here on were never used
        std::byte* fresh_end = nullptr;
        std::vector<std::byte*> next_slabs;  // mapped ahead, not begun
    };
    struct Slab {
        std::byte* begin;
        std::size_t size;
    };

    std::uint32_t trim_class(SizeClass& c, std::uint8_t shift) noexcept;
    void map_slab(SizeClass& c, std::uint8_t shift);
    std::byte* take_fresh(SizeClass& c, std::uint8_t shift) noexcept;
    std::size_t slab_bytes(std::uint8_t shift) const noexcept;

    std::array<SizeClass, max_shift + 1> classes_;
    SpinLock slabs_lock_;
    std::vector<Slab> slabs_;  // guarded by slabs_lock_
    std::atomic<std::uint64_t> in_use_{0};
    std::atomic<bool> excess_{false};  // a hint: trim() would find something
};

/// A worker's own few stacks of the default size, and promises for more.
/// Own worker only.
class StackCache {
public:
    StackCache(StackPool& pool, std::uint8_t shift) noexcept : pool_{pool}, shift_{shift} {
        pool_.add_cache(shift_, capacity);
    }
    StackCache(const StackCache&) = delete;
    StackCache& operator=(const StackCache&) = delete;
    ~StackCache();

    /// One promise, for a spawn. Throws as StackPool::reserve().
    void reserve(std::uint8_t shift) {
        if (shift != shift_) return pool_.reserve(shift, 1);
        if (promises_ == 0) {
            pool_.reserve(shift, batch);
            promises_ = batch;
        }
        --promises_;
    }
    /// Gives a promise back: the fiber's stack was released, or it never ran.
    void unreserve(std::uint8_t shift) noexcept {
        if (shift != shift_) return pool_.unreserve(shift, 1);
        if (++promises_ > 2 * batch) {
            promises_ -= batch;
            pool_.unreserve(shift, batch);
        }
    }

    Stack acquire(std::uint8_t shift) noexcept {
        if (shift == shift_ && count_ > 0) return stacks_[--count_];
        return acquire_slow(shift);
    }
    void release(const Stack& stack) noexcept {
        if (stack.shift == shift_ && count_ < capacity) {
            stacks_[count_++] = stack;
            return;
        }
        release_slow(stack);
    }

private:
    static constexpr std::uint32_t capacity = 64;
    static constexpr std::uint32_t batch = 32;

    Stack acquire_slow(std::uint8_t shift) noexcept;
    void release_slow(const Stack& stack) noexcept;

    StackPool& pool_;
    const std::uint8_t shift_;
    std::uint32_t count_ = 0;
    std::uint32_t promises_ = 0;
    Stack stacks_[capacity];
};

}  // namespace weft::detail
