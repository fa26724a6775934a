// What a Queue<T> needs of the library, without knowing T. See src/sync/queue_core.hpp.
#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace weft::detail {

class QueueCore;

/// Where an item lies while it is in a queue: behind this, at QueueItemType::offset.
struct QueueCell {
    QueueCell* next;
    std::uint64_t arrival;  // how many came before; of a PriorityQueue only
};

/// How the items of one type lie, move and end.
struct QueueItemType {
    std::size_t cell_size;
    std::size_t cell_align;
    std::size_t offset;
    void (*move)(void* to, void* from);               // constructs
    void (*relocate)(void* to, void* from) noexcept;  // moves and destroys; null: move may throw
    void (*destroy)(void* item) noexcept;
};

template <class T>
struct QueueItem {
    struct Cell {
        QueueCell links;
        alignas(T) unsigned char item[sizeof(T)];
    };
    static void move(void* to, void* from) { ::new (to) T(std::move(*static_cast<T*>(from))); }
    static void relocate(void* to, void* from) noexcept {
        move(to, from);
        destroy(from);
    }
    static void destroy(void* item) noexcept { static_cast<T*>(item)->~T(); }
    static constexpr bool lands = std::is_nothrow_move_constructible_v<T>;
    static constexpr QueueItemType type{
        sizeof(Cell), alignof(Cell), offsetof(Cell, item), &move, lands ? &relocate : nullptr,
        &destroy};
};

enum class QueueOrder : std::uint8_t { first_in, last_in, by_priority };

/// Whether item `a` goes before item `b`.
struct QueueCompare {
    bool (*before)(const void* compare, const void* a, const void* b) = nullptr;
    const void* compare = nullptr;
};

/// Throws std::bad_alloc.
WEFT_API QueueCore* make_queue(const QueueItemType& type, QueueOrder order, std::size_t maxsize,
                               QueueCompare compare);
WEFT_API void destroy_queue(QueueCore*) noexcept;

/// Moves *item in. False at the deadline; then, and when it throws, *item is as it was.
WEFT_API bool put_in_queue(QueueCore&, void* item, Deadline deadline);
WEFT_API bool try_put_in_queue(QueueCore&, void* item);

/// An item on its way out: in the landing that the caller offered, if its move cannot throw.
/// Else in a cell, to be moved out and given to finish_take().
struct QueueTaken {
    void* item = nullptr;       // null: there is none
    QueueCell* cell = nullptr;  // not null: the item lies in it, and the queue is locked
};
enum class WhenClosed : bool { throws, ends };
enum class Moved : bool { no, yes };

WEFT_API QueueTaken take_from_queue(QueueCore&, void* landing, Deadline deadline, WhenClosed);
WEFT_API QueueTaken try_take_from_queue(QueueCore&, void* landing);
/// Not moved: it is put back, as the next to go.
WEFT_API void finish_take(QueueCore&, const QueueItemType& type, QueueTaken taken,
                          Moved moved) noexcept;

/// The next to go, with the queue locked until finish_look(); null at the deadline.
WEFT_API const void* look_into_queue(QueueCore&, Deadline deadline);
WEFT_API const void* try_look_into_queue(QueueCore&);
WEFT_API void finish_look(QueueCore&) noexcept;

WEFT_API void finish_task(QueueCore&);
WEFT_API bool join_queue(QueueCore&, Deadline deadline);
WEFT_API void close_queue(QueueCore&) noexcept;
/// Closes it and returns a closed one of what was left, in the order it would have gone.
WEFT_API QueueCore* empty_queue(QueueCore&);

struct QueueState {
    std::size_t size;
    std::size_t unfinished;
    bool closed;
};
WEFT_API QueueState state_of(const QueueCore&) noexcept;
WEFT_API std::size_t maxsize_of(const QueueCore&) noexcept;

}  // namespace weft::detail
