// Layer: sched. Uses: base, context.
#include "sched/stack_trimmer.hpp"

#include "base/sanitizer.hpp"
#include "sched/scheduler.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace weft::detail {

namespace {

constexpr std::uint32_t trimmed = 1;
constexpr std::uintptr_t page = 4096;
constexpr std::uintptr_t red_zone = 128;  // below a frame, and still its own

std::uint32_t mark_of(std::uint64_t epoch) noexcept {
    return static_cast<std::uint32_t>(epoch << 1);
}

/// Requires: `fiber` is frozen.
void drop_unused(const FiberCore& fiber) noexcept {
    const Stack stack = fiber.stack();
    auto* const frame = static_cast<std::byte*>(fiber.context);
    if (fiber.side != nullptr || frame <= stack.bottom() || frame > stack.end) return;
    const auto bottom = reinterpret_cast<std::uintptr_t>(stack.bottom());
    const auto used = (reinterpret_cast<std::uintptr_t>(frame) - red_zone) / page * page;
    // It fails where memory is locked, which then stays.
    if (used > bottom) ::madvise(stack.bottom(), used - bottom, MADV_DONTNEED);
}

}  // namespace

bool StackTrimmer::step() noexcept {
    const Unobserved quiet;
    const TimePoint begin = std::chrono::steady_clock::now();
    if (begin < due()) return false;
    if (next_ == 0) round_begin_ = begin;
    const std::size_t slots = make_room(table_.slots());
    const std::size_t end = std::min(slots, next_ + most_looks);
    for (std::size_t trims = 0; next_ < end && trims < most_trims; ++next_) {
        trims += look_at(table_.slot(next_), seen_[next_]) ? 1 : 0;
    }
    spent_ += std::chrono::steady_clock::now() - begin;
    if (next_ < end || end < slots) return false;
    if (pause_.count() > 0) {
        next_round_ = round_begin_ + std::max<std::chrono::nanoseconds>(pause_, share * spent_);
    }
    next_ = 0;
    spent_ = {};
    return true;
}

/// Returns how many of so many slots there is room for.
std::size_t StackTrimmer::make_room(std::size_t slots) noexcept {
    try {
        if (seen_.size() < slots) seen_.resize(slots);
    } catch (const std::bad_alloc&) {
        // The others are looked at when there is memory.
    }
    return std::min(slots, seen_.size());
}

/// Returns whether it took the time to trim.
bool StackTrimmer::look_at(FiberCore& fiber, std::uint32_t& seen) noexcept {
    auto& word = fiber.word();
    if (!word.parked()) return false;
    const std::uint32_t mark = mark_of(word.epoch());
    if (seen == (mark | trimmed)) return false;
    if (seen != mark) {
        seen = mark;
        return false;
    }
    if (!word.freeze()) return false;
    if (mark_of(word.epoch()) == mark) {
        drop_unused(fiber);
        seen |= trimmed;
    }
    if (word.commit()) fiber.scheduler->make_ready(fiber, Turn::in_order);
    return true;
}

}  // namespace weft::detail
