// QueueStore: the items of a queue, in their order. Layer: sync. Uses: base.
//
// An item lies in a cell that stays put: it is moved in once and out once. In order of
// arrival, or its reverse, cells are linked; by priority they are in a binary heap of
// pointers. An item whose move out failed is linked in any case, and goes first.
//
// Invariants
//  1. Every change is whole or not at all, whatever user code (T's move, the comparison)
//     throws: it is called before anything is changed.
//  2. Memory comes from a Supply, made without the lock; nothing is allocated under it.
//  3. There is room in the heap for every item that goes there: room_ >= heap_size_.
//
// Locking: none of its own.
#pragma once

#include "base/assert.hpp"

#include <weft/detail/queue_core.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace weft::detail {

class QueueStore {
public:
    /// At most `most_free` cells are kept for later.
    QueueStore(const QueueItemType& type, QueueOrder order, QueueCompare compare,
               std::size_t most_free) noexcept
        : type_{type},
          order_{order},
          compare_{compare},
          most_free_{most_free},
          room_{order == QueueOrder::by_priority ? 0u : 1u} {}
    QueueStore(const QueueStore&) = delete;
    QueueStore& operator=(const QueueStore&) = delete;
    ~QueueStore();

    const QueueItemType& type() const noexcept { return type_; }
    std::size_t size() const noexcept { return size_; }

    /// Memory for one item more, and what it made superfluous.
    struct Supply {
        explicit Supply(const QueueItemType& of) noexcept : type{of} {}
        Supply(const Supply&) = delete;
        Supply& operator=(const Supply&) = delete;
        ~Supply() { deallocate(type, cell); }

        const QueueItemType& type;
        QueueCell* cell = nullptr;
        std::unique_ptr<QueueCell*[]> heap;
        std::size_t room = 0;
    };
    /// Whether put() has the memory it needs.
    bool is_supplied() const noexcept { return free_ != nullptr && room_ > heap_size_; }
    /// Whether the heap holds `items`, wherever those that are here lie now.
    bool has_room_for(std::size_t items) const noexcept {
        return order_ != QueueOrder::by_priority || room_ >= items;
    }
    /// How large a heap the next item needs, if the one there is too small.
    std::size_t heap_need() const noexcept {
        return order_ == QueueOrder::by_priority ? heap_size_ + 1 : 0;
    }
    /// Without the lock. Throws std::bad_alloc.
    void make(Supply& supply, std::size_t need) const;
    void adopt(Supply& supply) noexcept;

    /// Moves *item in. Requires: is_supplied().
    void put(void* item);
    /// The next to go. Requires: size() > 0.
    QueueCell* front() const noexcept { return head_ != nullptr ? head_ : heap_[0]; }
    /// The next to go, taken out. Requires: size() > 0.
    QueueCell* take();
    void put_back(QueueCell* cell) noexcept;
    void append(QueueCell* cell) noexcept;

    /// A free cell, not counted any more. Requires: is_supplied().
    QueueCell* take_free() noexcept {
        --free_count_;
        return std::exchange(free_, free_->next);
    }
    /// Keeps an empty cell, or returns it to be deallocated without the lock.
    [[nodiscard]] QueueCell* keep_free(QueueCell* cell) noexcept {
        if (free_count_ >= most_free_) return cell;
        ++free_count_;
        cell->next = std::exchange(free_, cell);
        return nullptr;
    }

    /// All items out of `other`, which is left empty; not yet in order, if it had one.
    void adopt_items_of(QueueStore& other) noexcept;
    /// Sorts items adopted from one by priority, as far as the comparison lets it.
    void sort() noexcept;

    void* item_of(QueueCell* cell) const noexcept {
        return reinterpret_cast<unsigned char*>(cell) + type_.offset;
    }
    static QueueCell* cell_of(const QueueItemType& type, void* item) noexcept {
        return reinterpret_cast<QueueCell*>(static_cast<unsigned char*>(item) - type.offset);
    }
    static void deallocate(const QueueItemType& type, QueueCell* cell) noexcept;

private:
    bool before(const void* a, const void* b) const {
        return compare_.before(compare_.compare, a, b);
    }
    bool goes_before(QueueCell* a, QueueCell* b) const;
    std::size_t place_of(const void* item) const;
    std::size_t place_of_last() const;
    void insert(QueueCell* cell, std::size_t place) noexcept;
    QueueCell* take_top();

    // --- fixed after construction ---
    const QueueItemType& type_;
    const QueueOrder order_;
    QueueCompare compare_;
    const std::size_t most_free_;
    // --- guarded by the owner's lock ---
    std::size_t size_ = 0;
    QueueCell* head_ = nullptr;
    QueueCell* tail_ = nullptr;
    QueueCell* free_ = nullptr;
    std::size_t free_count_ = 0;
    std::uint64_t arrivals_ = 0;
    std::unique_ptr<QueueCell*[]> heap_;
    std::size_t heap_size_ = 0;
    std::size_t room_;  // of heap_; not 0 where none is needed
};

inline void QueueStore::append(QueueCell* cell) noexcept {
    cell->next = nullptr;
    (head_ == nullptr ? head_ : tail_->next) = cell;
    tail_ = cell;
    ++size_;
}

inline void QueueStore::put_back(QueueCell* cell) noexcept {
    if (head_ == nullptr) tail_ = cell;
    cell->next = std::exchange(head_, cell);
    ++size_;
}

inline void QueueStore::put(void* item) {
    WEFT_ASSERT(is_supplied());
    const std::size_t place = order_ == QueueOrder::by_priority ? place_of(item) : 0;
    type_.move(item_of(free_), item);
    QueueCell* const cell = take_free();
    switch (order_) {
        case QueueOrder::first_in: return append(cell);
        case QueueOrder::last_in: return put_back(cell);
        case QueueOrder::by_priority: return insert(cell, place);
    }
}

inline QueueCell* QueueStore::take() {
    WEFT_ASSERT(size_ > 0);
    if (head_ == nullptr) return take_top();
    --size_;
    return std::exchange(head_, head_->next);
}

}  // namespace weft::detail
