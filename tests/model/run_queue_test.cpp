// RunQueue under the model checker.
// Layer: tests. Uses: sched, model.
//
// Goal: whatever the schedule, each item is delivered once, the owner gets its
// own in order of arrival, and whoever gets one sees what its maker wrote.
// Method: an owner and two thieves over rings of four slots, so that they wrap
// around and fill up; the thieves also rob each other.
#include "model/expect.hpp"

#include "run_queue_near_wrap.hpp"
#include "run_queue_pop_stores_head.hpp"
#include "run_queue_publishes_relaxed.hpp"
#include "run_queue_push_overwrites.hpp"
#include "run_queue_shed_stores_head.hpp"
#include "run_queue_steal_reads_late.hpp"
#include "run_queue_steal_stores_head.hpp"
#include "sched/run_queue.hpp"

#include <cstdint>

namespace {

constexpr std::uint32_t capacity = 4;

struct Item {
    std::uint32_t number = 0;
    model::Plain<int> payload;
    int delivered = 0;
};

// A namespace cannot be a template argument; this makes a type of one.
#define WEFT_MODEL_KIT(name, from)                                       \
    struct name {                                                        \
        using Queue = from::RunQueue<model::Sync, Item, capacity>;       \
        static constexpr auto open_to_thieves = from::Thieves::possible; \
    }

WEFT_MODEL_KIT(Real, weft::detail);
WEFT_MODEL_KIT(NearWrap, variant::run_queue_near_wrap);
WEFT_MODEL_KIT(StealStoresHead, variant::run_queue_steal_stores_head);
WEFT_MODEL_KIT(StealReadsLate, variant::run_queue_steal_reads_late);
WEFT_MODEL_KIT(PushOverwrites, variant::run_queue_push_overwrites);
WEFT_MODEL_KIT(PopStoresHead, variant::run_queue_pop_stores_head);
WEFT_MODEL_KIT(ShedStoresHead, variant::run_queue_shed_stores_head);
WEFT_MODEL_KIT(PublishesRelaxed, variant::run_queue_publishes_relaxed);

#undef WEFT_MODEL_KIT

// Thread 0 owns queues[0] and makes all items; threads 1 and 2 steal.
template <class Kit, std::uint32_t item_count>
class Robbery {
public:
    static constexpr unsigned threads = 3;
    static constexpr bool may_sleep_for_ever = false;

    void run(unsigned thread) { thread == 0 ? own() : rob(thread); }

    void check() {
        for (auto& queue : queues_) {
            while (Item* item = queue.pop(Kit::open_to_thieves)) deliver(*item);
            model::require(queue.empty() && queue.size() == 0, "an emptied queue is not empty");
        }
        for (const Item& item : items_) model::require(item.delivered == 1, "an item is lost");
    }

private:
    void own() {
        for (std::uint32_t i = 0; i < item_count; ++i) {
            items_[i].number = i;
            items_[i].payload = static_cast<int>(i);
            put(items_[i]);
            if (i % 3 == 1) take_own(queues_[0]);
        }
        while (take_own(queues_[0])) {
        }
    }

    void put(Item& item) {
        while (!queues_[0].push(&item)) {
            queues_[0].shed_half([this](Item* old) { deliver_in_order(*old); });
        }
    }

    bool take_own(typename Kit::Queue& queue) {
        Item* item = queue.pop(Kit::open_to_thieves);
        if (item != nullptr) deliver_in_order(*item);
        return item != nullptr;
    }

    void rob(unsigned thief) {
        steal(thief, 0);
        steal(thief, 3 - thief);
        steal(thief, 0);
    }

    void steal(unsigned thief, unsigned victim) {
        std::uint32_t taken = 0;
        Item* item = queues_[victim].steal_into(queues_[thief], taken);
        model::require((item == nullptr) == (taken == 0), "`taken` is not what was taken");
        model::require(taken <= capacity / 2, "a thief took more than half");
        if (item != nullptr) deliver(*item);
        while (Item* more = queues_[thief].pop(Kit::open_to_thieves)) deliver(*more);
    }

    void deliver(Item& item) {
        model::require(static_cast<std::uint32_t>(item.payload) == item.number, "an item is torn");
        model::require(++item.delivered == 1, "an item is delivered twice");
    }

    // Only for the owner: what it takes itself comes in order of arrival.
    void deliver_in_order(Item& item) {
        model::require(item.number >= next_, "the owner's items are out of order");
        next_ = item.number + 1;
        deliver(item);
    }

    Item items_[item_count];
    typename Kit::Queue queues_[threads];
    std::uint32_t next_ = 0;
};

}  // namespace

TEST_CASE("RunQueue delivers each item once under thieves", "[model][run_queue]") {
    model::expect_kept<Robbery<Real, 3>>("RunQueue, three items");
    model::expect_kept<Robbery<Real, 7>>("RunQueue, wraps around");
    model::expect_kept<Robbery<Real, 10>>("RunQueue, full and shed");
}

TEST_CASE("RunQueue delivers each item once when its counters wrap", "[model][run_queue]") {
    model::expect_kept<Robbery<NearWrap, 7>>("RunQueue, counters near 2^32");
}

TEST_CASE("the checker finds what is planted in RunQueue", "[model][run_queue][mutant]") {
    model::expect_found<Robbery<StealStoresHead, 7>>("RunQueue: steal stores head");
    model::expect_found<Robbery<StealReadsLate, 10>>("RunQueue: steal reads after the exchange");
    model::expect_found<Robbery<PushOverwrites, 10>>("RunQueue: push overwrites when full");
    model::expect_found<Robbery<PopStoresHead, 7>>("RunQueue: pop stores head");
    model::expect_found<Robbery<ShedStoresHead, 10>>("RunQueue: shed stores head");
    model::expect_found<Robbery<PublishesRelaxed, 7>>("RunQueue: push publishes relaxed");
}
