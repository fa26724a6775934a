// Layer: sched. Uses: base, context.
#include "sched/stack_trimmer.hpp"

#include "base/sanitizer.hpp"
#include "sched/scheduler.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>

namespace weft::detail {

namespace {

constexpr std::uint32_t trimmed = 1;
constexpr std::size_t usual_slots = 16'384;
constexpr std::uintptr_t red_zone = 128;  // below a frame, and still its own

std::uint32_t mark_of(std::uint64_t epoch) noexcept {
    return static_cast<std::uint32_t>(epoch << 1);
}

std::uintptr_t page_size() noexcept {
    static const auto size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    return size;
}

/// Requires: `fiber` is frozen.
void drop_unused(const FiberCore& fiber) noexcept {
    if (fiber.context == nullptr || fiber.side != nullptr) return;  // not begun, or elsewhere
    const Stack stack = fiber.stack();
    auto* const frame = static_cast<std::byte*>(fiber.context);
    if (frame <= stack.bottom() || frame > stack.end) return;
    const auto bottom = reinterpret_cast<std::uintptr_t>(stack.bottom());
    const auto used =
        (reinterpret_cast<std::uintptr_t>(frame) - red_zone) / page_size() * page_size();
    // It fails where memory is locked, which then stays.
    if (used > bottom) ::madvise(stack.bottom(), used - bottom, MADV_DONTNEED);
}

}  // namespace

bool StackTrimmer::step() noexcept {
    const Unobserved quiet;
    const TimePoint begin = std::chrono::steady_clock::now();
    if (begin < due()) return false;
    if (next_ == 0) round_begin_ = begin;
    const auto chunk = table_.slots_from(next_);
    const auto some = chunk.first(std::min(chunk.size(), most_looks));
    const bool is_last = !make_room(next_ + some.size()) || some.empty();
    TimePoint now = begin;
    if (!is_last) {
        for (FiberCore& fiber : some) {
            if (look_at(fiber, seen_[next_++])) now = std::chrono::steady_clock::now();
            if (now - begin > most_time) break;
        }
    }
    spent_ += std::chrono::steady_clock::now() - begin;
    if (is_last) end_round();
    return is_last;
}

void StackTrimmer::end_round() noexcept {
    if (pause_.count() > 0) {
        next_round_ = round_begin_ + std::max<std::chrono::nanoseconds>(pause_, share * spent_);
    }
    next_ = 0;
    spent_ = {};
}

/// Without it the round is over: others are looked at when there is memory.
bool StackTrimmer::make_room(std::size_t slots) noexcept {
    try {
        if (seen_.capacity() == 0) seen_.reserve(usual_slots);
        if (seen_.size() < slots) seen_.resize(slots);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
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
