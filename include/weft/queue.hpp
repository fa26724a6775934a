#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/detail/queue_core.hpp>

#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

/// Thrown by put() once a queue is closed, and by get() once it is empty, too.
class WEFT_API QueueClosed : public std::exception {
public:
    const char* what() const noexcept override;
};

/// Items from those who put() to those who get(), in the order they were put.
/// (Python's queue.Queue, gevent's JoinableQueue.)
///
/// Fair: waiters are served in order of arrival. An item is handed to the first getter
/// that waits, and room to the first putter that waits, whose item is moved in at once; a
/// later call never comes between. What happened before put() is visible after the get() of
/// its item.
///
/// T may be move-only, over-aligned, and its move may throw: then the item stays where it
/// was. T's move, the destructor of a T that was moved from, the copy of peek() and the
/// comparison of a PriorityQueue run under the queue's own spin lock, and in a wait maybe on
/// another fiber's call: they may throw and allocate, and must neither wait nor use the queue.
///
/// Memory: a cell for each item, used again; an unbounded queue keeps up to 1024 of them that
/// are free. So put and get allocate nothing once the queue was as long before; but a T whose
/// move may throw, and that goes to a getter that waits, takes its cell with it.
///
/// Thread safety: every member, from any fiber or plain thread.
/// Lifetime: must outlive its waiters, iterators and calls; the destructor asserts that none
/// wait, and destroys the items. Who got the last item, or was told that all is done, may
/// destroy it at once.
template <class T>
class Queue {
    static_assert(std::is_object_v<T> && std::is_move_constructible_v<T>);
    class Taking;
    class Looking;
    class Iterator;
    struct End {};

public:
    using value_type = T;

    /// Of at most `maxsize` items; 0: of as many as there is memory for. Throws std::bad_alloc.
    explicit Queue(std::size_t maxsize = 0) : Queue{detail::QueueOrder::first_in, maxsize, {}} {}
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    ~Queue() { detail::destroy_queue(&core_); }

    /// Moves `item` in.
    ///
    /// Blocks: while the queue is full. Cancellation point.
    /// Returns false if `deadline` passes first; then, and when it throws, nothing was put and
    /// `item` is as it was.
    /// Throws QueueClosed if the queue is closed, or is meanwhile; Cancelled; std::bad_alloc;
    /// what T's move or the comparison throws.
    bool put(T&& item, Deadline deadline = Deadline::never()) {
        return detail::put_in_queue(core_, &item, deadline);
    }
    bool put(const T& item,
             Deadline deadline = Deadline::never()) requires std::is_copy_constructible_v<T> {
        T copy(item);
        return put(std::move(copy), deadline);
    }

    /// The same if that needs no waiting; else false. Never blocks.
    bool try_put(T&& item) { return detail::try_put_in_queue(core_, &item); }
    bool try_put(const T& item) requires std::is_copy_constructible_v<T> {
        T copy(item);
        return try_put(std::move(copy));
    }

    /// Takes the next item out.
    ///
    /// Blocks: while the queue is empty. Cancellation point.
    /// Returns nothing if `deadline` passes first; then, and when it throws, nothing was taken.
    /// Throws QueueClosed if the queue is closed and empty, or is meanwhile; Cancelled; what
    /// T's move throws: then the item is the next to be taken.
    T get() {
        Taking taking{core_, Deadline::never(), detail::WhenClosed::throws};
        return taking.template result<T>();
    }
    std::optional<T> get(Deadline deadline) {
        Taking taking{core_, deadline, detail::WhenClosed::throws};
        if (!taking) return std::nullopt;
        return taking.template result<std::optional<T>>(std::in_place);
    }

    /// The same if that needs no waiting; else nothing. Never blocks.
    std::optional<T> try_get() {
        Taking taking{core_};
        if (!taking) return std::nullopt;
        return taking.template result<std::optional<T>>(std::in_place);
    }

    /// Copies the item that get() would take. Those who wait in get() go first: an item that
    /// one of them gets is seen by nobody who waits here.
    ///
    /// Blocks, Returns, Throws: as get() does; also what T's copy throws.
    T peek() requires std::is_copy_constructible_v<T> {
        const Looking looking{core_, detail::look_into_queue(core_, Deadline::never())};
        return T(*looking.item());
    }
    std::optional<T> peek(Deadline deadline) requires std::is_copy_constructible_v<T> {
        return copy_of(detail::look_into_queue(core_, deadline));
    }
    /// The same if that needs no waiting; else nothing. Never blocks.
    std::optional<T> try_peek() requires std::is_copy_constructible_v<T> {
        return copy_of(detail::try_look_into_queue(core_));
    }

    /// What was taken is done with: once for each item. Never blocks.
    /// Throws std::logic_error when called more often than items were put.
    void task_done() { detail::finish_task(core_); }

    /// Waits until task_done() was called for each item that was put.
    ///
    /// Blocks: until then or `deadline`. Cancellation point. Throws Cancelled.
    /// Returns whether all are done. close() alone does not end it, for what is in the queue
    /// can still be taken.
    bool join(Deadline deadline = Deadline::never()) { return detail::join_queue(core_, deadline); }

    /// No more is put: wakes all who wait, with QueueClosed. What is in the queue can
    /// be taken still. Idempotent. Never blocks.
    void close() noexcept { detail::close_queue(core_); }

    /// close() that takes all out: returns a closed queue of what was left, in the order
    /// get() would have taken it. As if each was taken and done, for join(). Never blocks.
    /// Throws std::bad_alloc; then nothing happened. If a comparison throws, what is left comes in
    /// no particular order.
    Queue close_now() { return Queue{*detail::empty_queue(core_)}; }

    /// How many items there are. Momentary, as are all of these.
    std::size_t size() const noexcept { return detail::state_of(core_).size; }
    bool empty() const noexcept { return size() == 0; }
    /// Whether put() would wait.
    bool full() const noexcept { return maxsize() != 0 && size() >= maxsize(); }
    bool closed() const noexcept { return detail::state_of(core_).closed; }
    /// For how many items task_done() was not called yet.
    std::size_t unfinished() const noexcept { return detail::state_of(core_).unfinished; }
    /// As given; 0 means without limit.
    std::size_t maxsize() const noexcept { return detail::maxsize_of(core_); }

    /// Takes items out until the queue is closed and empty: `for (T& item : queue)`. Each step
    /// is a get().
    Iterator begin() { return Iterator{*this}; }
    End end() noexcept { return {}; }

protected:
    Queue(detail::QueueOrder order, std::size_t maxsize, detail::QueueCompare compare)
        : core_{*detail::make_queue(detail::QueueItem<T>::type, order, maxsize, compare)} {}

private:
    explicit Queue(detail::QueueCore& core) noexcept : core_{core} {}

    std::optional<T> copy_of(const void* item) {
        if (item == nullptr) return std::nullopt;
        const Looking looking{core_, item};
        return std::optional<T>(std::in_place, *looking.item());
    }

    detail::QueueCore& core_;
};

/// The queue that gives the item put last first. (Python's queue.LifoQueue.)
template <class T>
class LifoQueue : public Queue<T> {
public:
    explicit LifoQueue(std::size_t maxsize = 0)
        : Queue<T>{detail::QueueOrder::last_in, maxsize, {}} {}
};

/// `a < b`: the least item goes first, as in Python.
struct LeastFirst {
    template <class T>
    bool operator()(const T& a, const T& b) const {
        return a < b;
    }
};

/// The queue that gives the item first that goes before all others by `Compare`, and of
/// equal ones the one put first. (Python's queue.PriorityQueue.)
///
/// With waiting putters, the first that came is let in first, whatever its item.
template <class T, class Compare = LeastFirst>
class PriorityQueue : public Queue<T> {
public:
    explicit PriorityQueue(std::size_t maxsize = 0, Compare compare = {})
        : Queue<T>{detail::QueueOrder::by_priority, maxsize, {&before, &compare_}},
          compare_(std::move(compare)) {}

private:
    static bool before(const void* compare, const void* a, const void* b) {
        return (*static_cast<const Compare*>(compare))(*static_cast<const T*>(a),
                                                       *static_cast<const T*>(b));
    }

    [[no_unique_address]] const Compare compare_;
};

// One item on its way out, which stays in the queue if its move throws.
template <class T>
class Queue<T>::Taking {
public:
    Taking(detail::QueueCore& core, Deadline deadline, detail::WhenClosed when_closed)
        : core_{core},
          taken_{detail::take_from_queue(core, landing_.item, deadline, when_closed)} {}
    explicit Taking(detail::QueueCore& core)
        : core_{core}, taken_{detail::try_take_from_queue(core, landing_.item)} {}
    Taking(const Taking&) = delete;
    Taking& operator=(const Taking&) = delete;
    ~Taking() {
        if (taken_.item == nullptr) return;
        if constexpr (detail::QueueItem<T>::lands) {
            item().~T();
        } else {
            detail::finish_take(core_, detail::QueueItem<T>::type, taken_, moved_);
        }
    }

    explicit operator bool() const noexcept { return taken_.item != nullptr; }

    template <class Result, class... InPlace>
    Result result(InPlace... in_place) {
        try {
            return Result(in_place..., std::move(item()));
        } catch (...) {
            moved_ = detail::Moved::no;
            throw;
        }
    }
    void emplace_in(std::optional<T>& result) {
        try {
            result.emplace(std::move(item()));
        } catch (...) {
            moved_ = detail::Moved::no;
            throw;
        }
    }

private:
    T& item() noexcept { return *std::launder(static_cast<T*>(taken_.item)); }

    struct Landing {
        alignas(T) unsigned char item[sizeof(T)];
    };
    detail::QueueCore& core_;
    Landing landing_;
    const detail::QueueTaken taken_;
    detail::Moved moved_ = detail::Moved::yes;
};

// The next item, with the queue locked.
template <class T>
class Queue<T>::Looking {
public:
    Looking(detail::QueueCore& core, const void* item) noexcept : core_{core}, item_{item} {}
    Looking(const Looking&) = delete;
    Looking& operator=(const Looking&) = delete;
    ~Looking() { detail::finish_look(core_); }
    const T* item() const noexcept { return std::launder(static_cast<const T*>(item_)); }

private:
    detail::QueueCore& core_;
    const void* const item_;
};

// One that is at its end has no item.
template <class T>
class Queue<T>::Iterator {
public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    explicit Iterator(Queue& queue) : queue_{&queue} { ++*this; }
    T& operator*() const noexcept { return *item_; }
    T* operator->() const noexcept { return &*item_; }
    Iterator& operator++() {
        item_.reset();
        Taking taking{queue_->core_, Deadline::never(), detail::WhenClosed::ends};
        if (taking) taking.emplace_in(item_);
        return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, End) noexcept { return !iterator.item_; }

private:
    Queue* queue_;
    mutable std::optional<T> item_;
};

}  // namespace weft
