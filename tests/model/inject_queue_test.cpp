// InjectQueue under the model checker.
// Layer: tests. Uses: sched, model.
//
// Goal: nothing lost, nothing twice, each pusher's items in its own order, the
// list touched only under the lock, and size() exact when all is quiet.
// Method: two pushers and two poppers. The `checked` edition of the header has
// model::Plain for its plain fields, so that a race on them is a failure.
#include "model/expect.hpp"

#include "inject_queue_checked.hpp"
#include "inject_queue_no_lock.hpp"
#include "inject_queue_size_outside.hpp"
#include "inject_queue_tail_left.hpp"
#include "inject_queue_unlocks_relaxed.hpp"
#include "sched/inject_queue.hpp"

#include <cstdint>

namespace {

// The header as it is links items by plain pointers, its checked editions by Plain.
template <template <class> class Link>
struct Message {
    Link<Message*> next{};
    unsigned pusher = 0;
    int number = 0;
    model::Plain<int> payload;
    int delivered = 0;
};

template <class T>
using Bare = T;
using BareMessage = Message<Bare>;
using CheckedMessage = Message<model::Plain>;

// Threads 0 and 1 push three items each, two of them as a chain; 2 and 3 pop.
template <class Queue, class Entry>
class Traffic {
public:
    static constexpr unsigned threads = 4;
    static constexpr bool may_sleep_for_ever = false;

    void run(unsigned thread) { thread < 2 ? push(thread) : pop(thread); }

    void check() {
        int last[2] = {last_[0][0] > last_[1][0] ? last_[0][0] : last_[1][0],
                       last_[0][1] > last_[1][1] ? last_[0][1] : last_[1][1]};
        deliver_chain(queue_.pop(~std::size_t{0}), last);
        model::require(queue_.empty(), "the emptied queue says that it is not empty");
        model::require(queue_.pop(1) == nullptr, "the emptied queue is not empty");
        for (auto& of_pusher : items_) {
            for (Entry& item : of_pusher) model::require(item.delivered == 1, "an item is lost");
        }
    }

private:
    void push(unsigned pusher) {
        Entry* const mine = items_[pusher];
        for (int i = 0; i < 3; ++i) {
            mine[i].pusher = pusher;
            mine[i].number = i;
            mine[i].payload = i;
        }
        mine[0].next = &mine[1];
        queue_.push_chain(&mine[0], &mine[1], 2);
        queue_.push(&mine[2]);
    }

    void pop(unsigned thread) {
        int(&last)[2] = last_[thread - 2];
        deliver_chain(queue_.pop(1), last);
        deliver_chain(queue_.pop(2), last);
    }

    void deliver_chain(Entry* item, int (&last)[2]) {
        while (item != nullptr) {
            Entry* const following = item->next;
            model::require(item->number > last[item->pusher], "a pusher's items are out of order");
            last[item->pusher] = item->number;
            model::require(static_cast<int>(item->payload) == item->number, "an item is torn");
            model::require(++item->delivered == 1, "an item is delivered twice");
            item = following;
        }
    }

    Entry items_[2][3];
    Queue queue_;
    int last_[2][2] = {{-1, -1}, {-1, -1}};  // by popper, by pusher
};

using RealTraffic =
    Traffic<weft::detail::InjectQueue<model::Sync, BareMessage, &BareMessage::next>, BareMessage>;

template <template <class, class T, model::Plain<T*> T::*> class Queue>
using CheckedTraffic =
    Traffic<Queue<model::Sync, CheckedMessage, &CheckedMessage::next>, CheckedMessage>;

}  // namespace

TEST_CASE("InjectQueue delivers each item once and in its pusher's order",
          "[model][inject_queue]") {
    model::expect_kept<RealTraffic>("InjectQueue");
}

TEST_CASE("InjectQueue touches its list only under its lock", "[model][inject_queue]") {
    model::expect_kept<CheckedTraffic<variant::inject_queue_checked::InjectQueue>>(
        "InjectQueue, checked for races");
}

TEST_CASE("the checker finds what is planted in InjectQueue", "[model][inject_queue][mutant]") {
    model::expect_found<CheckedTraffic<variant::inject_queue_no_lock::InjectQueue>>(
        "InjectQueue: lock does not lock");
    model::expect_found<CheckedTraffic<variant::inject_queue_unlocks_relaxed::InjectQueue>>(
        "InjectQueue: unlock releases nothing");
    model::expect_found<CheckedTraffic<variant::inject_queue_size_outside::InjectQueue>>(
        "InjectQueue: size written outside the lock");
    model::expect_found<CheckedTraffic<variant::inject_queue_tail_left::InjectQueue>>(
        "InjectQueue: tail left behind");
}
