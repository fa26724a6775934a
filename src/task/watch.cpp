// Watch: the first of many that is done, then the next. Layer: task. Uses: sched, park.
//
// Each is followed once, and puts itself in the list of those that are done when it
// is: so a round through n of them takes n steps, and they come in the order of their
// ends. (Rejected: a wait in all their queues at once, for each step. That is n
// queues n times.)
//
// Invariant: index is in the list from told() to next(). One party uses a Watch, so
//  at most one is queued, and only while the list is empty.
// Locking: the list and `waiters_` by waiters_.lock(), which comes after the lock of
//  what is followed.
#include <weft/detail/watch.hpp>

#include "task/fiber_end.hpp"
#include "task/follower.hpp"

#include "park/park.hpp"
#include "sched/worker.hpp"

#include <memory>

namespace weft::detail {

class Watch {
public:
    explicit Watch(std::size_t count) : entries_{new Entry[count]}, count_{count} {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() {
        for (std::size_t i = 0; i < count_; ++i) leave(entries_[i]);
    }

    void follow(std::size_t index, const Followed& what) {
        Entry& entry = entries_[index];
        entry.told = &told;
        entry.watch = this;
        const bool follows = what.outcome != nullptr ? what.outcome->add_follower(entry)
                                                     : add_follower(what.fiber, entry);
        // Beside the caller's own: who is followed may be given up in between.
        entry.what = what;
        what.outcome != nullptr ? what.outcome->retain() : retain(what.fiber);
        if (follows) return;
        const Held held{waiters_.lock()};
        push(entry);
    }

    std::size_t next(Deadline deadline) {
        check_interrupt();
        Held held{waiters_.lock()};
        if (first_ == nullptr) {
            Waiter self;
            if (left_ == count_) return nothing_done;
            if (!park_or_throw(held, waiters_, self, deadline, Purpose{"as_completed", this})) {
                return nothing_done;
            }
            held.lock();
        } else {
            held.unlock();
            Worker::consume_budget();
            held.lock();
        }
        return pop();
    }

private:
    struct Entry : Follower {
        Watch* watch = nullptr;
        Entry* next_done = nullptr;
        Followed what;
    };

    static void told(Follower& follower, WakeList& woken) noexcept {
        auto& entry = static_cast<Entry&>(follower);
        Watch& watch = *entry.watch;
        const Held held{watch.waiters_.lock()};
        watch.push(entry);
        if (auto waiter = watch.waiters_.claim_front()) woken.add(std::move(*waiter));
    }

    void push(Entry& entry) noexcept {
        (first_ == nullptr ? first_ : last_->next_done) = &entry;
        last_ = &entry;
    }
    std::size_t pop() noexcept {
        ++left_;
        const Entry& entry = *std::exchange(first_, first_->next_done);
        return static_cast<std::size_t>(&entry - entries_.get());
    }
    static void leave(Entry& entry) noexcept {
        if (entry.what.outcome != nullptr) {
            entry.what.outcome->remove_follower(entry);
            entry.what.outcome->release();
        } else if (entry.what.fiber != nullptr) {
            remove_follower(entry.what.fiber, entry);
            drop_reference(entry.what.fiber);
        }
    }

    const std::unique_ptr<Entry[]> entries_;
    const std::size_t count_;
    WaitQueue waiters_;
    Entry* first_ = nullptr;  // guarded by waiters_.lock(), with last_
    Entry* last_ = nullptr;
    std::size_t left_ = 0;  // who uses it: how many next() returned
};

Watch* make_watch(std::size_t count) { return new Watch{count}; }
void drop_watch(Watch* watch) noexcept { delete watch; }
void follow(Watch* watch, std::size_t index, const Followed& what) { watch->follow(index, what); }
std::size_t next_done(Watch* watch, Deadline deadline) { return watch->next(deadline); }

bool is_done(const Followed& what) noexcept {
    return what.outcome != nullptr ? what.outcome->done() : is_done(what.fiber);
}

bool has_failed(const Followed& what) noexcept {
    if (what.outcome != nullptr) return what.outcome->failed();
    return what.keeps_error && has_failed(what.fiber);
}

}  // namespace weft::detail
