// Queue: who waits for items, for room, for a look, for the end of all tasks.
// Layer: sync. Uses: base, park.
//
// Getters and putters that wait are in one WaitQueue, for they never wait at once: in
// waiters_ are getters while the queue is empty, putters while it is full. Who puts
// hands its item to the first getter; who takes moves the first putter's item in. So
// nobody is overtaken, and whom a call has served does not touch the queue any more.
//
// An item whose move cannot throw goes straight to where the getter wants it. Else it
// goes in a cell, which is the getter's from then on, so that it can be put back.
//
// Invariants, with waiters_.lock() free
//  1. Getters are queued => nothing is stored. Putters are queued => it is full.
//     A waiter that left by its deadline counts until a claim or itself unlinks it.
//  2. Once it is closed nobody is queued.
//  3. unfinished_ is how many items were put less how often finish_task() was called.
//
// Locking: waiters_.lock() guards all. lookers_ and joiners_ have locks of their own,
//  taken inside of it; who waits there lets it go when queued.
// Rejected: items in a ring, moved when it grows: moves that throw would lose items, and
//  all would wait for it. Waking a getter to take for itself: others come between.
#include <weft/queue.hpp>

#include "base/assert.hpp"
#include "base/sync.hpp"
#include "park/deadlock.hpp"
#include "park/park.hpp"
#include "park/wake_list.hpp"
#include "sched/worker.hpp"
#include "sync/queue_store.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>

namespace weft {

const char* QueueClosed::what() const noexcept { return "weft: the queue is closed"; }

namespace detail {

namespace {

constexpr std::size_t most_free_when_unbounded = 1024;

// On the stack of one that waits in get().
struct Getter {
    void* landing;         // for an item whose move cannot throw
    void* item = nullptr;  // null when woken: the queue is closed
};

// On the stack of one that waits in put().
struct Putter {
    void* item = nullptr;
    bool closed = false;
    std::exception_ptr error = nullptr;  // why it could not be moved in
};

void claim_all(WaitQueue& queue, WakeList& woken) {
    const Held held{queue.lock()};
    while (auto waiter = queue.claim_front()) woken.add(std::move(*waiter));
}

// Another worker is in the queue, and mostly will be again in a moment. Whoever has the
// lock's cache line does ten calls in the time that its way to another core takes; so
// the other one leaves it there for so long, and more the next time.
[[gnu::noinline]] void wait_patiently(Held& held) noexcept {
    constexpr unsigned first_wait = 64;
    constexpr unsigned most_waits = 256;
    constexpr unsigned tries = 16;
    unsigned wait = first_wait;
    for (unsigned i = 0; i < tries; ++i) {
        for (unsigned turn = 0; turn < wait; ++turn) cpu_relax();
        if (held.try_lock()) return;
        wait = std::min(2 * wait, most_waits);
    }
    held.lock();  // its holder was preempted
}

inline Held lock_patiently(SpinLock& lock) noexcept {
    Held held{lock, std::try_to_lock};
    if (!held.owns_lock()) [[unlikely]]
        wait_patiently(held);
    return held;
}

// What a wait in `queue` came to, as park_or_throw(). `outer` is let go once queued.
bool park_inside(Held& outer, WaitQueue& queue, Deadline deadline, const Purpose& purpose) {
    Held held{queue.lock()};
    Waiter self;
    const Wake why = park_releasing(held, queue, self, deadline, Cancellable::yes, purpose,
                                    [&outer] { outer.unlock(); });
    if (outer.owns_lock()) outer.unlock();  // it was over before it began
    if (why == Wake::cancelled) throw_interrupt();
    if (why == Wake::deadlocked) throw_deadlock();
    if (why == Wake::timed_out) Worker::consume_budget();
    return why == Wake::notified;
}

}  // namespace

class QueueCore {
public:
    QueueCore(const QueueItemType& type, QueueOrder order, std::size_t maxsize,
              QueueCompare compare) noexcept
        : maxsize_{maxsize},
          limit_{maxsize == 0 ? std::numeric_limits<std::size_t>::max() : maxsize},
          store_{type, order, compare, maxsize == 0 ? most_free_when_unbounded : maxsize} {}

    bool put(void* item, Deadline deadline);
    bool try_put(void* item);
    QueueTaken take(void* landing, Deadline deadline, WhenClosed when_closed);
    QueueTaken try_take(void* landing);
    void finish_stored(QueueCell* cell, Moved moved) noexcept;
    void put_back(QueueCell* cell) noexcept;
    const void* look(Deadline deadline);
    const void* try_look();
    void finish_look() noexcept {
        waiters_.lock().unlock();
        Worker::consume_budget();
    }
    void finish_task();
    bool join(Deadline deadline);
    void close() noexcept;
    void close_into(QueueCore& rest) noexcept;
    QueueState state() const noexcept {
        const Held held{waiters_.lock()};
        return {store_.size(), unfinished_, closed()};
    }
    const QueueItemType& type() const noexcept { return store_.type(); }
    std::size_t maxsize() const noexcept { return maxsize_; }

private:
    class Looker;

    bool closed() const noexcept { return limit_ == 0; }
    bool is_full() const noexcept { return store_.size() >= limit_; }
    bool may_put(Held& held);
    bool refuse() const;
    void provide(Held& held, std::size_t need);
    void accept(Held& held, void* item);
    bool land(void* item, WakeList& woken);
    void wake_for_stored(WakeList& woken);
    bool wait_for_room(Held& held, void* item, Deadline deadline);
    QueueTaken take_stored(Held& held, void* landing);
    void free_cell(Held& held, QueueCell* cell) noexcept;
    void let_putters_in(WakeList& woken) noexcept;
    void end(WakeList& woken) noexcept;

    const std::size_t maxsize_;
    // --- guarded by waiters_.lock() ---
    std::size_t limit_;          // how many may be stored: 0 once it is closed
    mutable WaitQueue waiters_;  // getters or putters
    QueueStore store_;
    std::size_t unfinished_ = 0;
    std::size_t looking_ = 0;  // how many Lookers there are
    // --- guarded by their own locks ---
    WaitQueue lookers_;
    WaitQueue joiners_;
};

// --- put ---

bool QueueCore::put(void* item, Deadline deadline) {
    check_interrupt();
    Held held = lock_patiently(waiters_.lock());
    while (!may_put(held)) {
        // Who makes room for it cannot provide memory, too.
        if (store_.has_room_for(limit_)) return wait_for_room(held, item, deadline);
        provide(held, limit_);
    }
    accept(held, item);
    Worker::consume_budget();
    return true;
}

bool QueueCore::try_put(void* item) {
    Held held{waiters_.lock()};
    if (!may_put(held)) return false;
    accept(held, item);
    return true;
}

// False when full.
inline bool QueueCore::may_put(Held& held) {
    for (;;) {
        if (!is_full() && store_.is_supplied()) [[likely]]
            return true;
        if (is_full()) return refuse();
        provide(held, store_.heap_need());
    }
}

bool QueueCore::refuse() const {
    if (closed()) throw QueueClosed{};
    return false;
}

// Memory for one item more, and a heap of `need`; allocates and frees without the lock.
void QueueCore::provide(Held& held, std::size_t need) {
    held.unlock();
    {
        QueueStore::Supply supply{store_.type()};
        store_.make(supply, need);
        held.lock();
        store_.adopt(supply);
        held.unlock();
    }
    held.lock();
}

// The queue may be gone when it returns.
inline void QueueCore::accept(Held& held, void* item) {
    if (waiters_.empty() && looking_ == 0) {
        store_.put(item);
        ++unfinished_;
        return held.unlock();
    }
    WakeList woken;
    if (!land(item, woken)) {
        store_.put(item);
        wake_for_stored(woken);
    }
    ++unfinished_;
    held.unlock();
    woken.resume_all();
}

// Moves the item to where the first getter wants it, if one is there still.
bool QueueCore::land(void* item, WakeList& woken) {
    if (store_.type().relocate == nullptr) return false;
    auto first = waiters_.claim_front();
    if (!first) return false;
    WEFT_ASSERT(store_.size() == 0);
    auto& getter = *static_cast<Getter*>((*first)->slot);
    store_.type().move(getter.landing, item);
    getter.item = getter.landing;
    woken.add(std::move(*first));
    return true;
}

// Gives an item that was just stored to the first getter, in its cell, or lets look at it.
void QueueCore::wake_for_stored(WakeList& woken) {
    const bool were_getters = store_.size() == 1;
    auto first = were_getters ? waiters_.claim_front() : std::nullopt;
    if (first) {
        static_cast<Getter*>((*first)->slot)->item = store_.item_of(store_.take());
        woken.add(std::move(*first));
    } else if (looking_ > 0) {
        claim_all(lookers_, woken);
    }
}

bool QueueCore::wait_for_room(Held& held, void* item, Deadline deadline) {
    Putter me{item};
    Waiter self;
    self.slot = &me;
    if (!park_or_throw(held, waiters_, self, deadline, Purpose{"Queue::put", this})) return false;
    // From here on *this may be gone.
    if (me.closed) throw QueueClosed{};
    if (me.error != nullptr) std::rethrow_exception(me.error);
    return true;
}

// --- take ---

// Its item is gone, so there is room for another. The queue may be gone when it returns.
inline void QueueCore::free_cell(Held& held, QueueCell* cell) noexcept {
    const QueueItemType& type = store_.type();
    QueueCell* const superfluous = store_.keep_free(cell);
    if (waiters_.empty()) {
        held.unlock();
    } else {
        WakeList woken;
        let_putters_in(woken);
        held.unlock();
        woken.resume_all();
    }
    if (superfluous != nullptr) QueueStore::deallocate(type, superfluous);
}

// Keeps the lock if the item is to be moved out by the caller.
inline QueueTaken QueueCore::take_stored(Held& held, void* landing) {
    QueueCell* const cell = store_.take();
    void* const item = store_.item_of(cell);
    if (store_.type().relocate == nullptr) {
        held.release();  // by finish_take()
        return {item, cell};
    }
    store_.type().relocate(landing, item);
    free_cell(held, cell);
    return {landing, nullptr};
}

QueueTaken QueueCore::take(void* landing, Deadline deadline, WhenClosed when_closed) {
    check_interrupt();
    Held held = lock_patiently(waiters_.lock());
    if (store_.size() > 0) {
        const QueueTaken taken = take_stored(held, landing);
        const bool is_locked = taken.cell != nullptr;
        if (!is_locked) Worker::consume_budget();
        return taken;
    }
    if (!closed()) {
        Getter me{landing};
        Waiter self;
        self.slot = &me;
        if (!park_or_throw(held, waiters_, self, deadline, Purpose{"Queue::get", this})) return {};
        // From here on *this may be gone.
        if (me.item != nullptr) return {me.item, nullptr};
    }
    if (when_closed == WhenClosed::throws) throw QueueClosed{};
    return {};
}

QueueTaken QueueCore::try_take(void* landing) {
    Held held{waiters_.lock()};
    if (store_.size() > 0) return take_stored(held, landing);
    if (closed()) throw QueueClosed{};
    return {};
}

// Of an item that was taken out of the store, with the lock held since.
void QueueCore::finish_stored(QueueCell* cell, Moved moved) noexcept {
    Held held{waiters_.lock(), std::adopt_lock};
    if (moved == Moved::no) return store_.put_back(cell);
    store_.type().destroy(store_.item_of(cell));
    free_cell(held, cell);
    Worker::consume_budget();
}

// Of an item that was handed over in a cell. It goes before all others, whoever waits.
void QueueCore::put_back(QueueCell* cell) noexcept {
    WakeList woken;
    Held held{waiters_.lock()};
    store_.put_back(cell);
    wake_for_stored(woken);
    held.unlock();
    woken.resume_all();
}

// One that cannot be moved in is its putter's error, and the next one's turn.
void QueueCore::let_putters_in(WakeList& woken) noexcept {
    while (!is_full()) {
        auto first = waiters_.claim_front();
        if (!first) return;
        auto& putter = *static_cast<Putter*>((*first)->slot);
        try {
            store_.put(putter.item);
            ++unfinished_;
        } catch (...) {
            putter.error = std::current_exception();
        }
        woken.add(std::move(*first));
    }
}

// --- look ---

// One that waits in peek(). Made with the lock held, and ends without it.
class QueueCore::Looker {
public:
    explicit Looker(QueueCore& queue) noexcept : queue_{queue} { ++queue_.looking_; }
    Looker(const Looker&) = delete;
    Looker& operator=(const Looker&) = delete;
    ~Looker() {
        const Held held{queue_.waiters_.lock()};
        --queue_.looking_;
    }

private:
    QueueCore& queue_;
};

const void* QueueCore::look(Deadline deadline) {
    check_interrupt();
    Held held{waiters_.lock()};
    while (store_.size() == 0) {
        if (closed()) throw QueueClosed{};
        {
            const Looker me{*this};
            const Purpose purpose{"Queue::peek", this};
            if (!park_inside(held, lookers_, deadline, purpose)) return nullptr;
        }
        held.lock();
    }
    held.release();  // by finish_look()
    return store_.item_of(store_.front());
}

const void* QueueCore::try_look() {
    Held held{waiters_.lock()};
    if (store_.size() > 0) {
        held.release();
        return store_.item_of(store_.front());
    }
    if (closed()) throw QueueClosed{};
    return nullptr;
}

// --- tasks ---

void QueueCore::finish_task() {
    WakeList woken;
    {
        const Held held{waiters_.lock()};
        if (unfinished_ == 0) {
            throw std::logic_error{"weft: Queue::task_done() more often than items were put"};
        }
        if (--unfinished_ > 0) return;
        claim_all(joiners_, woken);
    }
    // From here on *this may be gone.
    woken.resume_all();
}

bool QueueCore::join(Deadline deadline) {
    check_interrupt();
    Held held{waiters_.lock()};
    if (unfinished_ > 0) return park_inside(held, joiners_, deadline, Purpose{"Queue::join", this});
    held.unlock();
    Worker::consume_budget();
    return true;
}

// --- close ---

// Ends all waits but those of joiners.
void QueueCore::end(WakeList& woken) noexcept {
    limit_ = 0;
    const bool are_putters = store_.size() > 0;
    while (auto waiter = waiters_.claim_front()) {
        if (are_putters) static_cast<Putter*>((*waiter)->slot)->closed = true;
        woken.add(std::move(*waiter));
    }
    claim_all(lookers_, woken);
}

void QueueCore::close() noexcept {
    WakeList woken;
    {
        const Held held{waiters_.lock()};
        end(woken);
    }
    woken.resume_all();
}

void QueueCore::close_into(QueueCore& rest) noexcept {
    rest.limit_ = 0;
    WakeList woken;
    {
        const Held held{waiters_.lock()};
        end(woken);
        rest.unfinished_ = store_.size();
        unfinished_ -= std::min(unfinished_, store_.size());
        rest.store_.adopt_items_of(store_);
        if (unfinished_ == 0) claim_all(joiners_, woken);
    }
    woken.resume_all();
    rest.store_.sort();
}

// --- as the header sees it ---

QueueCore* make_queue(const QueueItemType& type, QueueOrder order, std::size_t maxsize,
                      QueueCompare compare) {
    return new QueueCore{type, order, maxsize, compare};
}

void destroy_queue(QueueCore* queue) noexcept { delete queue; }

bool put_in_queue(QueueCore& queue, void* item, Deadline deadline) {
    return queue.put(item, deadline);
}

bool try_put_in_queue(QueueCore& queue, void* item) { return queue.try_put(item); }

QueueTaken take_from_queue(QueueCore& queue, void* landing, Deadline deadline,
                           WhenClosed when_closed) {
    return queue.take(landing, deadline, when_closed);
}

QueueTaken try_take_from_queue(QueueCore& queue, void* landing) { return queue.try_take(landing); }

void finish_take(QueueCore& queue, const QueueItemType& type, QueueTaken taken,
                 Moved moved) noexcept {
    if (taken.cell != nullptr) return queue.finish_stored(taken.cell, moved);
    QueueCell* const cell = QueueStore::cell_of(type, taken.item);
    if (moved == Moved::no) return queue.put_back(cell);
    // It was handed over, and the queue may be gone.
    type.destroy(taken.item);
    QueueStore::deallocate(type, cell);
}

const void* look_into_queue(QueueCore& queue, Deadline deadline) { return queue.look(deadline); }

const void* try_look_into_queue(QueueCore& queue) { return queue.try_look(); }

void finish_look(QueueCore& queue) noexcept { queue.finish_look(); }

void finish_task(QueueCore& queue) { queue.finish_task(); }

bool join_queue(QueueCore& queue, Deadline deadline) { return queue.join(deadline); }

void close_queue(QueueCore& queue) noexcept { queue.close(); }

QueueCore* empty_queue(QueueCore& queue) {
    auto rest = std::make_unique<QueueCore>(queue.type(), QueueOrder::first_in, queue.maxsize(),
                                            QueueCompare{});
    queue.close_into(*rest);
    return rest.release();
}

QueueState state_of(const QueueCore& queue) noexcept { return queue.state(); }

std::size_t maxsize_of(const QueueCore& queue) noexcept { return queue.maxsize(); }

}  // namespace detail
}  // namespace weft
