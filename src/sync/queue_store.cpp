// Layer: sync. Uses: base.
#include "sync/queue_store.hpp"

#include <algorithm>
#include <new>

namespace weft::detail {

namespace {

constexpr std::size_t parent(std::size_t place) noexcept { return (place - 1) / 2; }

}  // namespace

QueueStore::~QueueStore() {
    const auto end_item = [this](QueueCell* cell) {
        type_.destroy(item_of(cell));
        deallocate(type_, cell);
    };
    for (std::size_t i = 0; i < heap_size_; ++i) end_item(heap_[i]);
    while (head_ != nullptr) end_item(std::exchange(head_, head_->next));
    while (free_ != nullptr) deallocate(type_, take_free());
}

void QueueStore::deallocate(const QueueItemType& type, QueueCell* cell) noexcept {
    if (cell != nullptr) ::operator delete (cell, std::align_val_t{type.cell_align});
}

void QueueStore::make(Supply& supply, std::size_t need) const {
    if (supply.cell == nullptr) {
        void* const memory = ::operator new (type_.cell_size, std::align_val_t{type_.cell_align});
        supply.cell = ::new (memory) QueueCell{nullptr, 0};
    }
    if (supply.room < need) {
        const std::size_t room = std::max<std::size_t>(16, need + need / 2);
        supply.heap = std::make_unique<QueueCell*[]>(room);
        supply.room = room;
    }
}

// The heap that was too small goes with the supply, when the lock is released.
void QueueStore::adopt(Supply& supply) noexcept {
    if (supply.cell != nullptr && free_ == nullptr) {
        supply.cell = keep_free(std::exchange(supply.cell, nullptr));
    }
    if (supply.room > room_) {
        std::copy_n(heap_.get(), heap_size_, supply.heap.get());
        std::swap(heap_, supply.heap);
        std::swap(room_, supply.room);
    }
}

// --- by priority ---

bool QueueStore::goes_before(QueueCell* a, QueueCell* b) const {
    if (before(item_of(a), item_of(b))) return true;
    if (before(item_of(b), item_of(a))) return false;
    return a->arrival < b->arrival;
}

// Where an item that came last belongs: behind those it does not go before.
std::size_t QueueStore::place_of(const void* item) const {
    std::size_t place = heap_size_;
    while (place > 0 && before(item, item_of(heap_[parent(place)]))) place = parent(place);
    return place;
}

void QueueStore::insert(QueueCell* cell, std::size_t place) noexcept {
    cell->arrival = arrivals_++;
    std::size_t hole = heap_size_++;
    for (; hole != place; hole = parent(hole)) heap_[hole] = heap_[parent(hole)];
    heap_[hole] = cell;
    ++size_;
}

// Where the last cell goes when the top is gone.
std::size_t QueueStore::place_of_last() const {
    const std::size_t last = heap_size_ - 1;
    std::size_t place = 0;
    for (std::size_t child = 1; child < last; child = 2 * place + 1) {
        if (child + 1 < last && goes_before(heap_[child + 1], heap_[child])) ++child;
        if (!goes_before(heap_[child], heap_[last])) break;
        place = child;
    }
    return place;
}

QueueCell* QueueStore::take_top() {
    std::size_t place = place_of_last();
    --size_;
    QueueCell* carried = heap_[--heap_size_];
    if (heap_size_ == 0) return carried;
    // Along the way from there up, each moves to its parent's place, and the top drops out.
    for (;; place = parent(place)) {
        std::swap(carried, heap_[place]);
        if (place == 0) return carried;
    }
}

// --- all at once ---

void QueueStore::adopt_items_of(QueueStore& other) noexcept {
    compare_ = other.compare_;
    head_ = std::exchange(other.head_, nullptr);
    tail_ = other.tail_;
    heap_ = std::move(other.heap_);
    heap_size_ = std::exchange(other.heap_size_, 0);
    other.room_ = 0;  // nothing is put there any more
    size_ = std::exchange(other.size_, 0);
}

void QueueStore::sort() noexcept {
    try {
        while (heap_size_ > 0) append(take_top());
    } catch (...) {
        size_ -= heap_size_;
        for (std::size_t i = 0; i < heap_size_; ++i) append(heap_[i]);
        heap_size_ = 0;
    }
}

}  // namespace weft::detail
