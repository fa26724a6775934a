// Layer: context. Uses: base, mmap(2), madvise(2).
#include "context/stack.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "base/valgrind.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>

namespace weft::detail {

namespace {

constexpr int madv_guard_install = 102;  // Linux 6.13; not in older headers

// How guards are made, found out by the first one.
enum class GuardBy : int { advice, protection, nothing };
std::atomic<GuardBy> guard_by{GuardBy::advice};

void warn_unguarded(int error) noexcept {
    std::fprintf(stderr,
                 "weft: warning: cannot guard fiber stacks any more (errno %d); raise "
                 "vm.max_map_count or use Linux 6.13 or later. An overflow would go unnoticed.\n",
                 error);
}

void install_guard(std::byte* slot) noexcept {
    switch (guard_by.load(std::memory_order_relaxed)) {
        case GuardBy::advice:
            if (madvise(slot, Stack::guard_size, madv_guard_install) == 0) return;
            guard_by.store(GuardBy::protection, std::memory_order_relaxed);
            [[fallthrough]];
        case GuardBy::protection:
            if (mprotect(slot, Stack::guard_size, PROT_NONE) == 0) return;
            guard_by.store(GuardBy::nothing, std::memory_order_relaxed);
            warn_unguarded(errno);
            return;
        case GuardBy::nothing: return;
    }
}

struct Shortages {
    std::system_error any{ENOMEM, std::system_category(), "weft: no memory to spawn a fiber"};
    std::system_error address_space{ENOMEM, std::system_category(),
                                    "weft: cannot map fiber stacks"};
};

const Shortages& shortages() {
    static const auto& made = *new Shortages;  // never destroyed: fibers may run on in exit()
    return made;
}

void forget_pages(const Stack& stack) noexcept {
    madvise(stack.bottom(), stack.committable(), MADV_DONTNEED);
}

}  // namespace

void forget_frames([[maybe_unused]] const Stack& stack) noexcept {
#if defined(WEFT_ASAN)
    __asan_unpoison_memory_region(stack.bottom(), stack.committable());
#endif
}

std::uint8_t StackPool::shift_for(std::size_t usable) {
    if (usable > usable_size(max_shift)) {
        throw std::invalid_argument{"weft: a stack of " + std::to_string(usable) +
                                    " bytes is larger than the largest, " +
                                    std::to_string(usable_size(max_shift))};
    }
    const std::size_t slot = std::bit_ceil(usable + Stack::guard_size);
    return std::max(min_shift, static_cast<std::uint8_t>(std::countr_zero(slot)));
}

void throw_no_memory_to_spawn() { throw shortages().any; }

StackPool::StackPool() { shortages(); }

StackPool::~StackPool() {
    WEFT_ASSERT(in_use() == 0);
    for (const Slab& slab : slabs_) munmap(slab.begin, slab.size);
}

std::size_t StackPool::slab_bytes(std::uint8_t shift) const noexcept {
    return std::max(slab_size, std::size_t{1} << shift);
}

void StackPool::reserve(std::uint8_t shift, std::uint32_t count) {
    SizeClass& c = classes_[shift];
    std::lock_guard hold{c.lock};
    while (c.reserved + c.cached + count > c.mapped) map_slab(c, shift);
    c.reserved += count;
}

void StackPool::unreserve(std::uint8_t shift, std::uint32_t count) noexcept {
    SizeClass& c = classes_[shift];
    std::lock_guard hold{c.lock};
    WEFT_ASSERT(c.reserved >= count);
    c.reserved -= count;
}

void StackPool::add_cache(std::uint8_t shift, std::uint32_t count) noexcept {
    SizeClass& c = classes_[shift];
    std::lock_guard hold{c.lock};
    c.cached += count;
}

void StackPool::remove_cache(std::uint8_t shift, std::uint32_t count) noexcept {
    SizeClass& c = classes_[shift];
    std::lock_guard hold{c.lock};
    c.cached -= count;
}

// Requires c.lock. All vectors get their room here, so that nothing after a
// successful reserve() allocates.
void StackPool::map_slab(SizeClass& c, std::uint8_t shift) {
    const std::size_t bytes = slab_bytes(shift);
    const std::uint64_t slots = c.mapped + (bytes >> shift);
    try {
        c.warm.reserve(std::bit_ceil(slots));
        c.cold.reserve(std::bit_ceil(slots));
        c.next_slabs.reserve(c.next_slabs.size() + 1);
        std::lock_guard hold{slabs_lock_};
        slabs_.reserve(slabs_.size() + 1);
    } catch (const std::bad_alloc&) {
        throw_no_memory_to_spawn();
    }
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) {
        if (errno == ENOMEM) throw shortages().address_space;
        throw std::system_error{errno, std::system_category(), "weft: cannot map fiber stacks"};
    }
    // A huge page would commit the neighbours' stacks with the first touch.
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    auto* begin = static_cast<std::byte*>(memory);
    {
        std::lock_guard hold{slabs_lock_};
        slabs_.push_back(Slab{begin, bytes});
    }
    c.next_slabs.push_back(begin);
    c.mapped = slots;
}

// Requires c.lock. Returns the end of a slot that was never used; its guard is missing.
std::byte* StackPool::take_fresh(SizeClass& c, std::uint8_t shift) noexcept {
    if (c.fresh == c.fresh_end) {
        WEFT_ASSERT(!c.next_slabs.empty());  // else somebody acquires without a reserve()
        c.fresh = c.next_slabs.back();
        c.next_slabs.pop_back();
        c.fresh_end = c.fresh + slab_bytes(shift);
    }
    c.fresh += std::size_t{1} << shift;
    return c.fresh;
}

std::uint32_t StackPool::acquire(std::uint8_t shift, Stack* out, std::uint32_t count) noexcept {
    SizeClass& c = classes_[shift];
    bool is_fresh = false;
    std::uint32_t taken = 0;
    {
        std::lock_guard hold{c.lock};
        for (auto* free : {&c.warm, &c.cold}) {
            while (taken < count && !free->empty()) {
                out[taken++] = Stack{free->back(), shift};
                free->pop_back();
            }
        }
        if (taken == 0) {
            out[taken++] = Stack{take_fresh(c, shift), shift};
            is_fresh = true;
        }
    }
    if (is_fresh) {
        install_guard(out[0].slot());
        valgrind_register_stack(out[0].bottom(), out[0].end);
    }
    in_use_.fetch_add(taken, std::memory_order_relaxed);
    return taken;
}

void StackPool::release(const Stack* stacks, std::uint32_t count) noexcept {
    for (std::uint32_t i = 0; i < count; ++i) {
        const Stack& stack = stacks[i];
        SizeClass& c = classes_[stack.shift];
        const bool keep = stack.size() <= largest_warm;
        if (!keep) forget_pages(stack);
        std::lock_guard hold{c.lock};
        (keep ? c.warm : c.cold).push_back(stack.end);
        if (c.warm.size() > most_warm) excess_.store(true, std::memory_order_relaxed);
    }
    in_use_.fetch_sub(count, std::memory_order_relaxed);
}

std::uint32_t StackPool::trim() noexcept {
    if (!excess_.exchange(false, std::memory_order_relaxed)) return 0;
    std::uint32_t trimmed = 0;
    for (std::uint8_t shift = min_shift; shift <= max_shift; ++shift) {
        trimmed += trim_class(classes_[shift], shift);
    }
    return trimmed;
}

std::uint32_t StackPool::trim_class(SizeClass& c, std::uint8_t shift) noexcept {
    std::byte* taken[trim_batch];
    std::uint32_t count = 0;
    {
        std::lock_guard hold{c.lock};
        const std::uint64_t counted_on = c.reserved + c.cached;
        const std::uint64_t unpromised = c.mapped > counted_on ? c.mapped - counted_on : 0;
        while (count < trim_batch && count < unpromised && c.warm.size() > most_warm) {
            taken[count++] = c.warm.back();
            c.warm.pop_back();
        }
        c.reserved += count;  // nobody may count on them meanwhile
        if (c.warm.size() > most_warm) excess_.store(true, std::memory_order_relaxed);
    }
    for (std::uint32_t i = 0; i < count; ++i) forget_pages(Stack{taken[i], shift});
    std::lock_guard hold{c.lock};
    c.cold.insert(c.cold.end(), taken, taken + count);
    c.reserved -= count;
    return count;
}

// --- StackCache ---

StackCache::~StackCache() {
    pool_.release(stacks_, count_);
    if (promises_ > 0) pool_.unreserve(shift_, promises_);
    pool_.remove_cache(shift_, capacity);
}

Stack StackCache::acquire_slow(std::uint8_t shift) noexcept {
    if (shift != shift_) {
        Stack one;
        pool_.acquire(shift, &one, 1);
        return one;
    }
    count_ = pool_.acquire(shift, stacks_, batch);
    return stacks_[--count_];
}

void StackCache::release_slow(const Stack& stack) noexcept {
    if (stack.shift != shift_) return pool_.release(&stack, 1);
    // The older half goes; the rest is still in the CPU's cache.
    pool_.release(stacks_, batch);
    std::copy(stacks_ + batch, stacks_ + count_, stacks_);
    count_ -= batch;
    stacks_[count_++] = stack;
}

}  // namespace weft::detail
