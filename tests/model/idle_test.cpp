// Idle under the model checker, with real run queues and a real inject queue.
// Layer: tests. Uses: sched, model.
//
// Goal: when nothing moves any more, no work is left while a worker sleeps, and
// the counts are right.
// Method: workers that look for work, search, announce, look again and sleep as
// the scheduler's do; outsiders that inject. An item may make more items, or be
// busy: keep its worker until some other item was run. Busy items make a wake-up
// that comes merely late one that never comes.
#include "model/expect.hpp"

#include "idle_claim_uncounted.hpp"
#include "idle_fence_first.hpp"
#include "idle_loser_hides_sleepers.hpp"
#include "idle_no_fence.hpp"
#include "idle_retract_uncounted.hpp"
#include "idle_sleeper_stays_counted.hpp"
#include "sched/idle.hpp"
#include "sched/inject_queue.hpp"
#include "sched/run_queue.hpp"

#include <cstdint>

namespace {

constexpr unsigned none = ~0u;

struct Item {
    Item* next = nullptr;
    unsigned makes = none;  // the item it makes when run
    unsigned also_makes = none;
    bool is_busy = false;      // until `release` is set
    unsigned releases = none;  // the busy items that this one releases
    unsigned also_releases = none;
    model::WakeToken release;
    int runs = 0;
};

/// What a searcher that found work does before it runs it.
enum class Leaving : std::uint8_t { silent, look, fence_and_look };
/// Whether a worker looks into the queues between announce() and sleep.
enum class Recheck : bool { no, yes };
/// Whether a worker that takes more than one from outside tells the others.
enum class Adoption : bool { silent, notifies };
/// Whether a worker whose second look finds work searches again: others may
/// have trusted in the search that it had just ended.
enum class Rejoin : bool { no, yes };
/// What an outsider does between its push and its notify().
enum class Outsider : bool { fences_lightly, fences_fully };

// `Setup` tells how many there are of what, and how the items depend on each other.
template <class IdleType, class Setup, Recheck recheck = Recheck::yes,
          Leaving leaving = Leaving::fence_and_look, Outsider outsider = Outsider::fences_lightly,
          Adoption adoption = Adoption::notifies, Rejoin rejoin = Rejoin::yes>
class Workers {
    static constexpr unsigned workers = Setup::workers;
    static constexpr unsigned item_count = Setup::items;

public:
    static constexpr unsigned threads = workers + Setup::outsiders;
    static constexpr bool may_sleep_for_ever = true;

    Workers() { Setup::arrange(items_); }

    void run(unsigned thread) { thread < workers ? work(thread) : inject(thread - workers); }

    void check() {
        for (const Item& item : items_) {
            model::require(item.runs == 1, "work is left while a worker sleeps");
        }
        model::require(idle_.sleeping() == workers, "sleeping_ does not count the sleepers");
        for (unsigned i = 0; i < workers; ++i) {
            model::require(idle_.is_asleep(i), "a sleeping worker's slot says otherwise");
        }
        unsigned searchers = 0;
        while (searchers <= workers && idle_.begin_search()) ++searchers;
        model::require(searchers == (workers + 1) / 2, "searching_ is not zero when all sleep");
    }

private:
    // --- as a worker of the scheduler ---

    void work(unsigned me) {
        for (;;) {
            if (Item* item = find(me)) {
                leave_search(me);
                execute(me, *item);
            } else {
                rest(me);
            }
        }
    }

    Item* find(unsigned me) {
        adopt_injected(me);
        if (Item* item = queues_[me].pop(weft::detail::Thieves::possible)) return item;
        if (!searching_[me]) searching_[me] = idle_.begin_search();
        return searching_[me] ? steal(me) : nullptr;
    }

    void adopt_injected(unsigned me) {
        Item* item = injected_.pop(2);
        if (item == nullptr) return;
        while (item != nullptr) {
            Item* const following = item->next;
            put(me, *item);
            item = following;
        }
        // Two that came while others trusted in a searcher, who then took them
        // without a search: nobody else would tell the sleepers.
        if (adoption == Adoption::notifies && queues_[me].size() >= 2) wake(idle_.notify());
    }

    void put(unsigned me, Item& item) {
        model::require(queues_[me].push(&item), "the queue is full");
    }

    Item* steal(unsigned me) {
        for (unsigned i = 1; i < workers; ++i) {
            std::uint32_t taken = 0;
            Item* item = queues_[(me + i) % workers].steal_into(queues_[me], taken);
            if (item != nullptr) return item;
        }
        return nullptr;
    }

    void leave_search(unsigned me) {
        if (!searching_[me]) return;
        searching_[me] = false;
        if (!idle_.leave_search() || leaving == Leaving::silent) return;
        if (leaving == Leaving::fence_and_look) model::Sync::heavy_fence();
        if (!queues_[me].empty() || work_in_sight()) wake(idle_.claim_sleeper());
    }

    void rest(unsigned me) {
        if (searching_[me]) {
            searching_[me] = false;
            idle_.leave_search();
        }
        model::note("announces");
        idle_.announce(me);
        if (recheck == Recheck::yes && work_in_sight()) {
            searching_[me] = idle_.retract(me) || (rejoin == Rejoin::yes && idle_.begin_search());
            // Perhaps there were enough searchers: leave it to them for a moment.
            return model::yield();
        }
        drivers_[me].wait();
        searching_[me] = idle_.retract(me);
    }

    bool work_in_sight() const {
        if (!injected_.empty()) return true;
        for (const auto& queue : queues_) {
            if (!queue.empty()) return true;
        }
        return false;
    }

    void execute(unsigned me, Item& item) {
        model::note("runs an item");
        model::require(++item.runs == 1, "an item is run twice");
        for (const unsigned made : {item.makes, item.also_makes}) {
            if (made == none) continue;
            put(me, items_[made]);
            wake(idle_.notify());
        }
        for (const unsigned released : {item.releases, item.also_releases}) {
            if (released != none) items_[released].release.wake();
        }
        if (item.is_busy) item.release.wait();
    }

    // --- as others ---

    void inject(unsigned item) {
        injected_.push(&items_[item]);
        if (outsider == Outsider::fences_fully) fence_.exchange(1);
        wake(idle_.notify());
    }

    void wake(std::uint32_t who) {
        if (who != IdleType::nobody) drivers_[who].wake();
    }

    Item items_[item_count];
    IdleType idle_{workers};
    weft::detail::RunQueue<model::Sync, Item, 4> queues_[workers];
    weft::detail::InjectQueue<model::Sync, Item, &Item::next> injected_;
    model::WakeToken drivers_[workers];
    model::Atomic<int> fence_{0};
    bool searching_[workers] = {};  // each its own worker's
};

// --- how the items depend; outsider n injects item n ---

template <unsigned worker_count>
struct TwoInjected {
    static constexpr unsigned workers = worker_count, outsiders = 2, items = 2;
    static void arrange(Item (&)[items]) {}
};

// The first injected item is busy until the second was run.
template <unsigned worker_count>
struct BusyInjected {
    static constexpr unsigned workers = worker_count, outsiders = 2, items = 2;
    static void arrange(Item (&items_)[items]) {
        items_[0].is_busy = true;
        items_[1].releases = 0;
    }
};

// One injected item makes two.
template <unsigned worker_count>
struct Spawning {
    static constexpr unsigned workers = worker_count, outsiders = 1, items = 3;
    static void arrange(Item (&items_)[items]) {
        items_[0].makes = 1;
        items_[0].also_makes = 2;
    }
};

// Two injected items are busy until the one that the first of them makes was run.
struct TwoBusy {
    static constexpr unsigned workers = 3, outsiders = 2, items = 3;
    static void arrange(Item (&items_)[items]) {
        items_[0].makes = 2;
        items_[0].is_busy = true;
        items_[1].is_busy = true;
        items_[2].releases = 0;
        items_[2].also_releases = 1;
    }
};

// One injected item makes two and is busy until the second of them was run; the
// first of them is busy until then, too, so somebody must wake a third worker.
struct BusySpawning {
    static constexpr unsigned workers = 3, outsiders = 1, items = 3;
    static void arrange(Item (&items_)[items]) {
        items_[0].makes = 1;
        items_[0].also_makes = 2;
        items_[0].is_busy = true;
        items_[1].releases = 0;
    }
};

using Real = weft::detail::Idle<model::Sync, 3>;

template <template <class, std::uint32_t> class IdleTemplate>
using Mutant = IdleTemplate<model::Sync, 3>;

}  // namespace

TEST_CASE("Idle leaves no work while all workers sleep", "[model][idle]") {
    model::expect_kept<Workers<Real, TwoInjected<2>>>("Idle, two injected for two workers");
    model::expect_kept<Workers<Real, TwoInjected<3>>>("Idle, two injected for three workers");
    model::expect_kept<Workers<Real, Spawning<2>>>("Idle, one makes two, two workers");
    model::expect_kept<Workers<Real, Spawning<3>>>("Idle, one makes two, three workers");
}

TEST_CASE("Idle needs no heavy fence for one worker and outsiders that fence", "[model][idle]") {
    model::expect_kept<Workers<Real, TwoInjected<1>, Recheck::yes, Leaving::fence_and_look,
                               Outsider::fences_fully>>("Idle, one worker");
}

TEST_CASE("Idle leaves no work behind a busy worker while another sleeps", "[model][idle]") {
    model::expect_kept<Workers<Real, BusyInjected<2>>>("Idle, busy, two workers");
    model::expect_kept<Workers<Real, BusySpawning>>("Idle, busy and spawning, three workers");
    model::expect_kept<Workers<Real, BusyInjected<3>>>("Idle, busy, three workers");
    model::expect_kept<Workers<Real, TwoBusy>>("Idle, two busy, three workers");
}

TEST_CASE("Idle: a searcher that looks before it wakes leaves no work", "[model][idle]") {
    model::expect_kept<
        Workers<Real, BusyInjected<2>, Recheck::yes, Leaving::look, Outsider::fences_fully>>(
        "Idle, look first, outsiders fence");
    model::expect_kept<
        Workers<Real, Spawning<3>, Recheck::yes, Leaving::look, Outsider::fences_fully>>(
        "Idle, look first, one makes two");
}

TEST_CASE("the checker finds what is planted in Idle", "[model][idle][mutant]") {
    model::expect_found<Workers<Mutant<variant::idle_no_fence::Idle>, TwoInjected<2>>>(
        "Idle: announce does not fence");
    model::expect_found<Workers<Mutant<variant::idle_fence_first::Idle>, TwoInjected<2>>>(
        "Idle: fence before the announcement");
    model::expect_found<Workers<Mutant<variant::idle_claim_uncounted::Idle>, TwoInjected<2>>>(
        "Idle: waker does not count its searcher");
    model::expect_found<Workers<Mutant<variant::idle_retract_uncounted::Idle>, TwoInjected<2>>>(
        "Idle: retract does not uncount");
    model::expect_found<Workers<Mutant<variant::idle_sleeper_stays_counted::Idle>, TwoInjected<2>>>(
        "Idle: claim does not uncount");
    model::expect_found<Workers<Mutant<variant::idle_loser_hides_sleepers::Idle>, TwoInjected<1>,
                                Recheck::yes, Leaving::fence_and_look, Outsider::fences_fully>>(
        "Idle: who loses a claim does not look for sleepers");
}

TEST_CASE("the checker finds a worker that does not look again", "[model][idle][mutant]") {
    model::expect_found<Workers<Real, TwoInjected<2>, Recheck::no>>("Idle: no second look");
    model::expect_found<Workers<Real, TwoInjected<1>>>("Idle: one worker, no fence by outsiders");
    model::expect_found<Workers<Real, BusyInjected<2>, Recheck::yes, Leaving::fence_and_look,
                                Outsider::fences_lightly, Adoption::silent, Rejoin::no>>(
        "Idle: adopts two and tells nobody");
    model::expect_found<Workers<Real, TwoBusy, Recheck::yes, Leaving::fence_and_look,
                                Outsider::fences_lightly, Adoption::notifies, Rejoin::no>>(
        "Idle: sees work and does not search again");
    model::expect_found<Workers<Real, BusyInjected<2>, Recheck::yes, Leaving::silent>>(
        "Idle: last searcher wakes nobody");
    model::expect_found<Workers<Real, TwoBusy, Recheck::yes, Leaving::look>>(
        "Idle: looks without a fence");
}
