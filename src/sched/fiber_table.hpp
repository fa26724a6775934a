// FiberTable: where control blocks live, and the list of all fibers.
// Layer: sched. Uses: base.
//
// Blocks come from chunks that are never unmapped before the table: a free slot
// keeps its wait word, whose epochs go on counting, so a stale ticket fails. And
// whoever walks the chunks sees every fiber without any list to maintain: a
// slot with an id is alive.
#pragma once

#include "sched/fiber_core.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace weft::detail {

class FiberTable {
public:
    FiberTable() = default;
    FiberTable(const FiberTable&) = delete;
    FiberTable& operator=(const FiberTable&) = delete;
    ~FiberTable();

    // Any thread.

    /// A chain of `count` free slots through FiberCore::next. Throws std::bad_alloc.
    FiberCore* take(std::size_t count);
    void give_back(FiberCore* first, FiberCore* last, std::size_t count) noexcept;

    /// Calls `visit(FiberCore&)` for every slot that had an id when it came
    /// there, with a reference held meanwhile.
    template <class Visit>
    void for_each(Visit&& visit);

    /// Slots from number `first`: the rest of their chunk; none beyond the last. They stay as
    /// long as the table, whoever is in them.
    std::span<FiberCore> slots_from(std::size_t first) noexcept;

private:
    static constexpr std::size_t chunk_size = 256;
    struct Chunk {
        FiberCore slots[chunk_size];
    };

    bool try_retain(FiberCore& fiber) noexcept;

    SpinLock lock_;
    std::vector<std::unique_ptr<Chunk>> chunks_;  // guarded by lock_
    FiberCore* free_ = nullptr;                   // guarded by lock_
    std::size_t free_count_ = 0;                  // guarded by lock_
};

/// A worker's own few free slots. Own worker only.
class FiberCache {
public:
    explicit FiberCache(FiberTable& table) noexcept : table_{table} {}
    FiberCache(const FiberCache&) = delete;
    FiberCache& operator=(const FiberCache&) = delete;
    ~FiberCache() { drop(count_); }

    FiberCore* take() {
        if (free_ == nullptr) {
            free_ = table_.take(batch);
            count_ = batch;
        }
        FiberCore* fiber = free_;
        free_ = fiber->next;
        --count_;
        return fiber;
    }
    void give_back(FiberCore* fiber) noexcept {
        fiber->next = free_;
        free_ = fiber;
        if (++count_ > 4 * batch) drop(2 * batch);
    }

private:
    static constexpr std::size_t batch = 64;

    void drop(std::size_t count) noexcept;

    FiberTable& table_;
    FiberCore* free_ = nullptr;
    std::size_t count_ = 0;
};

template <class Visit>
void FiberTable::for_each(Visit&& visit) {
    std::size_t first = 0;
    for (auto some = slots_from(0); !some.empty(); some = slots_from(first)) {
        for (FiberCore& fiber : some) {
            if (!try_retain(fiber)) continue;
            if (fiber.id.load(std::memory_order_acquire) != 0) visit(fiber);
            release(&fiber);
        }
        first += some.size();
    }
}

}  // namespace weft::detail
