// Layer: sched. Uses: base.
#include "sched/fiber_table.hpp"

#include "base/assert.hpp"

#include <mutex>

namespace weft::detail {

FiberTable::~FiberTable() {
    for (const auto& chunk : chunks_) {
        for (const FiberCore& fiber : chunk->slots) {
            WEFT_REQUIRE(fiber.references.load(std::memory_order_relaxed) == 0,
                         "a Fiber or FiberRef outlives its Runtime; was one returned by run()?");
        }
    }
}

FiberCore* FiberTable::take(std::size_t count) {
    std::lock_guard hold{lock_};
    while (free_count_ < count) {
        chunks_.reserve(chunks_.size() + 1);
        chunks_.push_back(std::make_unique<Chunk>());
        auto& slots = chunks_.back()->slots;
        for (std::size_t i = chunk_size; i-- > 0;) {
            slots[i].next = free_;
            free_ = &slots[i];
        }
        free_count_ += chunk_size;
    }
    FiberCore* first = free_;
    FiberCore* last = first;
    for (std::size_t i = 1; i < count; ++i) last = last->next;
    free_ = last->next;
    free_count_ -= count;
    last->next = nullptr;
    return first;
}

void FiberTable::give_back(FiberCore* first, FiberCore* last, std::size_t count) noexcept {
    std::lock_guard hold{lock_};
    last->next = free_;
    free_ = first;
    free_count_ += count;
}

bool FiberTable::try_retain(FiberCore& fiber) noexcept {
    auto references = fiber.references.load(std::memory_order_relaxed);
    while (references != 0) {
        if (fiber.references.compare_exchange_weak(references, references + 1,
                                                   std::memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

std::span<FiberCore> FiberTable::slots_from(std::size_t first) noexcept {
    std::lock_guard hold{lock_};
    const std::size_t chunk = first / chunk_size;
    if (chunk >= chunks_.size()) return {};
    return std::span{chunks_[chunk]->slots}.subspan(first % chunk_size);
}

void FiberCache::drop(std::size_t count) noexcept {
    if (count == 0) return;
    FiberCore* first = free_;
    FiberCore* last = first;
    for (std::size_t i = 1; i < count; ++i) last = last->next;
    free_ = last->next;
    count_ -= count;
    table_.give_back(first, last, count);
}

}  // namespace weft::detail
