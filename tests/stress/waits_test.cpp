// Goal: what every class of sync promises holds while all ways to end a wait meet.
// Method: fibers and plain threads do one random thing after another with the same
// few objects, under random deadlines and Timeouts; nannies throw into their fibers
// and cancel them. What is taken and given is counted beside the objects.
#include "base/random.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/runtime.hpp"
#include "support/seed.hpp"

#include <weft/barrier.hpp>
#include <weft/bounded_semaphore.hpp>
#include <weft/cancelled.hpp>
#include <weft/condition.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/latch.hpp>
#include <weft/lock.hpp>
#include <weft/once.hpp>
#include <weft/rlock.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_lock.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>
#include <weft/wait_group.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::detail::Random;
using weft::test::Environment;

namespace {

/// What nannies throw into their fibers.
struct Nudge {};

/// The first promise that was broken. From any thread, as Catch is not.
class Verdict {
public:
    void must(bool holds, const char* what) noexcept {
        const char* none = nullptr;
        if (!holds) broken_.compare_exchange_strong(none, what);
    }
    std::string broken() const {
        const char* what = broken_.load();
        return what == nullptr ? "" : what;
    }

private:
    std::atomic<const char*> broken_{nullptr};
};

/// How many operations are left.
class Budget {
public:
    explicit Budget(long operations) : left_{operations} {}
    bool take() noexcept { return left_.fetch_sub(1, std::memory_order_relaxed) > 0; }
    bool over() const noexcept { return left_.load(std::memory_order_relaxed) <= 0; }

private:
    std::atomic<long> left_;
};

/// Never, soon, or at once.
Deadline some_deadline(Random& random) {
    const auto kind = random.below(8);
    if (kind == 0) return Deadline::never();
    if (kind == 1) return 0us;
    return std::chrono::microseconds{random.below(300)};
}

/// With what was just taken in hand. What interrupts it must give that back, too.
void dwell(Random& random) {
    const auto kind = random.below(16);
    if (kind == 0) weft::this_fiber::sleep_for(std::chrono::microseconds{random.below(50)});
    if (kind < 6) weft::this_fiber::yield();
}

// --- the objects, each with the count of what it promises ---

/// Units: never more out than there are, and all there in the end.
template <class AnySemaphore>
class Units {
public:
    Units(std::ptrdiff_t units, Verdict& verdict)
        : units_in_all_{units}, units_{units}, verdict_{verdict} {}

    void visit(Random& random) {
        if (!units_.acquire(some_deadline(random))) return;
        struct Out {
            Units& of;
            explicit Out(Units& units) : of{units} {
                of.verdict_.must(++of.out_ <= of.units_in_all_, "more units out than there are");
            }
            ~Out() {
                --of.out_;
                of.units_.release();
            }
        } const out{*this};
        dwell(random);
    }
    void finish() {
        std::ptrdiff_t left = 0;
        while (units_.try_acquire()) ++left;
        verdict_.must(left == units_in_all_, "a unit was lost or made");
    }

private:
    const std::ptrdiff_t units_in_all_;
    AnySemaphore units_;
    std::atomic<std::ptrdiff_t> out_{0};
    Verdict& verdict_;
};

/// Mutual exclusion: two plain numbers, changed one after the other.
template <class AnyLock>
class Exclusive {
public:
    explicit Exclusive(Verdict& verdict) : verdict_{verdict} {}

    void visit(Random& random) {
        const std::unique_lock<AnyLock> held{lock_, some_deadline(random).at()};
        if (!held.owns_lock()) return;
        again_if_it_may(random);
        struct Inside {
            Exclusive& of;
            explicit Inside(Exclusive& exclusive) : of{exclusive} {
                of.verdict_.must(of.begun_++ == of.ended_, "two hold a lock");
            }
            ~Inside() { ++of.ended_; }
        } const inside{*this};
        dwell(random);
    }
    void finish() {
        verdict_.must(!lock_.locked(), "a lock is left locked");
        verdict_.must(begun_ == ended_, "a lock was left without an end");
    }

private:
    void again_if_it_may(Random& random) {
        if constexpr (std::is_same_v<AnyLock, weft::RLock>) {
            const std::unique_lock<AnyLock> again{lock_, some_deadline(random).at()};
            verdict_.must(again.owns_lock() && lock_.depth() == 2, "an RLock was not had again");
        }
    }

    AnyLock lock_;
    long begun_ = 0;  // guarded by lock_, as is the next
    long ended_ = 0;
    Verdict& verdict_;
};

/// Readers or one writer.
class Shared {
public:
    explicit Shared(Verdict& verdict) : verdict_{verdict} {}

    void visit(Random& random) {
        if (random.below(3) == 0) return write(random);
        const std::shared_lock held{lock_, some_deadline(random).at()};
        if (!held.owns_lock()) return;
        const long before = value_;
        dwell(random);
        verdict_.must(before == value_, "a writer among readers");
        verdict_.must(!writing_, "a reader within a write");
    }
    void finish() {
        verdict_.must(lock_.try_lock(), "a SharedLock is left locked");
        lock_.unlock();
    }

private:
    void write(Random& random) {
        const std::unique_lock held{lock_, some_deadline(random).at()};
        if (!held.owns_lock()) return;
        verdict_.must(!writing_, "two writers");
        struct Writing {
            Shared& of;
            ~Writing() { of.writing_ = false; }
        } const writing{*this};
        writing_ = true;
        ++value_;
        dwell(random);
    }

    weft::SharedLock lock_;
    long value_ = 0;  // guarded by lock_, as is the next
    bool writing_ = false;
    Verdict& verdict_;
};

/// A bounded buffer of numbered tickets: each that went in comes out, once.
template <class AnyLock>
class Tickets {
public:
    explicit Tickets(Verdict& verdict) : verdict_{verdict} {}

    void visit(Random& random) {
        const std::lock_guard held{lock_};
        if (random.below(2) == 0) return put(random);
        get(random);
    }
    /// Lets go who waits for others that do not come any more.
    void release() {
        const std::lock_guard held{lock_};
        over_ = true;
        not_full_.notify_all();
        not_empty_.notify_all();
    }
    void finish() {
        verdict_.must(issued_ - taken_ == size_, "a ticket was lost or made");
        const long left = std::accumulate(slots_.begin(), slots_.begin() + size_, 0L);
        verdict_.must(sum_in_ == sum_out_ + left, "a ticket came out as another");
    }

private:
    static constexpr long capacity = 4;

    void put(Random& random) {
        const auto may = [&] { return size_ < capacity || over_; };
        if (!not_full_.wait(lock_, may, some_deadline(random)) || over_) return;
        slots_[static_cast<std::size_t>(size_++)] = ++issued_;
        sum_in_ += issued_;
        not_empty_.notify_one();
    }
    void get(Random& random) {
        const auto may = [&] { return size_ > 0 || over_; };
        if (!not_empty_.wait(lock_, may, some_deadline(random)) || over_) return;
        sum_out_ += slots_[static_cast<std::size_t>(--size_)];
        ++taken_;
        not_full_.notify_one();
    }

    AnyLock lock_;
    weft::Condition not_full_{lock_};
    weft::Condition not_empty_;
    // --- guarded by lock_ ---
    std::array<long, capacity> slots_{};
    long size_ = 0;
    long issued_ = 0;
    long taken_ = 0;
    long sum_in_ = 0;
    long sum_out_ = 0;
    bool over_ = false;
    Verdict& verdict_;
};

/// A condition without a predicate, so that its notifications can be counted. One is
/// given only when somebody who cannot leave has none yet: so it must reach somebody,
/// who then returns true.
class Bell {
public:
    explicit Bell(Verdict& verdict) : verdict_{verdict} {}

    void visit(Random& random) {
        const std::lock_guard held{lock_};
        const auto kind = random.below(3);
        if (kind == 0) return ring();
        if (kind == 1 && patient_ < 2) return wait_patiently();
        taken_ += condition_.wait(lock_, std::chrono::microseconds{random.below(300)});
    }
    void release() {
        const std::lock_guard held{lock_};
        ring();
    }
    void finish() { verdict_.must(given_ == taken_, "a notification was lost or made"); }

private:
    void ring() {
        if (patient_ <= given_ - taken_) return;
        ++given_;
        condition_.notify_one();
    }
    void wait_patiently() {
        const weft::this_fiber::Shield shield;
        ++patient_;
        verdict_.must(condition_.wait(lock_), "a wait without a deadline timed out");
        --patient_;
        ++taken_;
    }

    weft::Lock lock_;
    weft::Condition condition_;
    // --- guarded by lock_ ---
    long patient_ = 0;
    long given_ = 0;
    long taken_ = 0;
    Verdict& verdict_;
};

/// Fibers that a visitor sends out and waits for, in one of four ways; what they
/// wait with goes when they have ended. Their marks are plain: a wait that ended
/// too early is a race besides.
class Crowd {
public:
    Crowd(Random& random, Verdict& verdict)
        : size_{1 + random.below(3)},
          latch_{static_cast<std::ptrdiff_t>(size_)},
          verdict_{verdict} {
        jobs_.add(static_cast<std::ptrdiff_t>(size_));
        for (std::size_t i = 0; i < size_; ++i) {
            fibers_[i] = start([this, i, seed = random.next()] { work(i, Random{seed}); });
        }
    }
    Crowd(const Crowd&) = delete;
    Crowd& operator=(const Crowd&) = delete;
    ~Crowd() {
        const weft::this_fiber::Shield shield;
        for (std::size_t i = 0; i < size_; ++i) fibers_[i].join();
        verdict_.must(runs_ == 1, "a Once was run never, or twice");
    }

    void wait(Random& random) {
        if (!wait_somehow(random.below(4), some_deadline(random))) return;
        verdict_.must(std::accumulate(marks_.begin(), marks_.end(), 0u) == size_,
                      "a wait ended before the jobs did");
    }

private:
    template <class F>
    weft::Fiber<> start(F&& fn) {
        if (weft::this_fiber::is_fiber()) return weft::spawn(std::forward<F>(fn));
        return runtime->spawn(std::forward<F>(fn));
    }

    void work(std::size_t i, Random random) {
        dwell(random);
        marks_[i] = 1;
        once_.call([&] { ++runs_; });
        latch_.count_down();
        if (++ended_ == size_) all_.set();
        jobs_.done();
    }

    bool wait_somehow(std::uint32_t way, Deadline deadline) {
        switch (way) {
            case 0: return jobs_.wait(deadline);
            case 1: return latch_.wait(deadline);
            case 2: return all_.wait(deadline);
            default: break;
        }
        for (std::size_t i = 0; i < size_; ++i) {
            if (!fibers_[i].join(deadline)) return false;
        }
        return true;
    }

public:
    /// For plain threads.
    static inline weft::Runtime* runtime = nullptr;

private:
    static constexpr std::size_t most = 3;
    const std::size_t size_;
    weft::WaitGroup jobs_;
    weft::Latch latch_;
    weft::Event all_;
    weft::Once once_;
    std::array<weft::Fiber<>, most> fibers_;
    std::array<unsigned, most> marks_{};
    std::atomic<std::size_t> ended_{0};
    int runs_ = 0;  // guarded by once_
    Verdict& verdict_;
};

/// Rounds of three: all pass or none, and each of a round has a place of its own.
class Rounds {
public:
    static constexpr std::ptrdiff_t parties = 3;

    explicit Rounds(Verdict& verdict) : verdict_{verdict} {}

    /// By three at a time at most.
    void visit(Random& random) {
        try {
            places_ += barrier_.wait(some_deadline(random));
            ++passed_;
        } catch (const weft::BrokenBarrier&) {
            barrier_.reset();
        }
    }
    void release() { barrier_.abort(); }
    void finish() { look(); }

private:
    // While the action runs, all three are at the barrier; none has a round unnoted.
    void look() {
        verdict_.must(passed_ % parties == 0, "some passed a barrier and some did not");
        verdict_.must(places_ == passed_, "two had the same place in a round");  // 0 + 1 + 2
    }

    weft::Barrier barrier_{parties, [this] { look(); }};
    std::atomic<long> passed_{0};
    std::atomic<long> places_{0};
    Verdict& verdict_;
};

// --- those who visit them ---

class Storm {
public:
    explicit Storm(long operations) : budget_{operations} {}

    void run(Random random, bool with_threads) {
        std::vector<weft::Fiber<>> fibers;
        std::vector<std::thread> threads;
        const auto start = [&](auto routine, int count) {
            for (int i = 0; i < count; ++i) {
                fibers.push_back(weft::spawn(routine, this, Random{random.next()}));
            }
        };
        const auto start_thread = [&](auto routine) {
            threads.emplace_back([=, this, own = Random{random.next()}] {
                (this->*routine)(own);
                ++threads_ended_;
            });
        };
        start(&Storm::visit_all, 8);
        start(&Storm::nurse_visitors, 4);
        start(&Storm::go_round, with_threads ? 2 : 3);
        if (with_threads) {
            start_thread(&Storm::visit_all);
            start_thread(&Storm::visit_all);
            start_thread(&Storm::nurse_visitors);
            start_thread(&Storm::go_round);
        }
        wait_for_all(fibers, static_cast<int>(threads.size()));
        for (auto& thread : threads) thread.join();
        finish();
    }
    std::string broken() const { return verdict_.broken(); }

private:
    template <class F>
    void visit_once(Random& random, F&& visit) {
        try {
            if (random.below(4) != 0) return visit();
            weft::Timeout outer{std::chrono::microseconds{random.below(400)}};
            weft::with_timeout(std::chrono::microseconds{random.below(400)}, visit);
        } catch (const weft::TimedOut&) {
        } catch (const Nudge&) {
            ++nudged_;
        }
    }

    void visit_any(Random& random) {
        switch (random.below(10)) {
            case 0: return units_.visit(random);
            case 1: return bounded_.visit(random);
            case 2: return lock_.visit(random);
            case 3: return rlock_.visit(random);
            case 4: return shared_.visit(random);
            case 5: return tickets_.visit(random);
            case 6: return rtickets_.visit(random);
            case 7: return bell_.visit(random);
            case 8: return Crowd{random, verdict_}.wait(random);
            default: return weft::this_fiber::check_cancelled();
        }
    }

    void visit_all(Random random) {
        while (budget_.take()) visit_once(random, [&] { visit_any(random); });
    }

    void go_round(Random random) {
        while (budget_.take()) visit_once(random, [&] { rounds_.visit(random); });
    }

    /// Visitors that are thrown into, and cancelled, in the middle of something.
    void nurse_visitors(Random random) {
        while (!budget_.over()) {
            const auto visits = [this, own = Random{random.next()}] { visit_all(own); };
            auto child =
                weft::this_fiber::is_fiber() ? weft::spawn(visits) : Crowd::runtime->spawn(visits);
            for (auto nudges = random.below(6); nudges > 0; --nudges) {
                weft::this_fiber::sleep_for(std::chrono::microseconds{random.below(200)});
                child.throw_in(Nudge{});
                ++nudges_;
            }
            child.cancel();
            try {
                child.get();
            } catch (const weft::Cancelled&) {
            } catch (const Nudge&) {
                ++nudged_;  // before or between its visits
            }
        }
    }

    void wait_for_all(std::vector<weft::Fiber<>>& fibers, int threads) {
        while (!budget_.over()) weft::this_fiber::sleep_for(1ms);
        for (int turn = 0; turn < 20'000; ++turn) {
            bool all = threads_ended_ == threads;
            for (const auto& fiber : fibers) all = all && fiber.done();
            if (all) return;
            tickets_.release();
            rtickets_.release();
            bell_.release();
            rounds_.release();
            weft::this_fiber::sleep_for(1ms);
        }
        verdict_.must(false, "somebody waits for ever");
        weft::join_all(fibers);  // hangs, and is dumped
    }

    void finish() {
        units_.finish();
        bounded_.finish();
        lock_.finish();
        rlock_.finish();
        shared_.finish();
        tickets_.finish();
        rtickets_.finish();
        bell_.finish();
        rounds_.finish();
        verdict_.must(nudged_ <= nudges_, "what was thrown in once came twice");
    }

    Budget budget_;
    Verdict verdict_;
    Units<weft::Semaphore> units_{3, verdict_};
    Units<weft::BoundedSemaphore> bounded_{2, verdict_};
    Exclusive<weft::Lock> lock_{verdict_};
    Exclusive<weft::RLock> rlock_{verdict_};
    Shared shared_{verdict_};
    Tickets<weft::Lock> tickets_{verdict_};
    Tickets<weft::RLock> rtickets_{verdict_};
    Bell bell_{verdict_};
    Rounds rounds_{verdict_};
    std::atomic<long> nudges_{0};
    std::atomic<long> nudged_{0};
    std::atomic<int> threads_ended_{0};
};

void storm(unsigned workers, long operations) {
    const std::uint64_t seed = weft::test::seed();
    INFO("WEFT_SEED=" << seed << ", workers: " << workers);
    // For one that hangs, too.
    std::fprintf(stderr, "WEFT_SEED=%llu, workers: %u, operations: %ld\n",
                 static_cast<unsigned long long>(seed), workers, operations);
    Storm storm{operations};
    weft::run(
        [&] {
            Crowd::runtime = &weft::Runtime::current();
            storm.run(Random{seed}, true);
        },
        {.workers = workers});
    CHECK(storm.broken() == "");
}

constexpr long few = weft::test::under_sanitizer ? 20'000 : 60'000;

}  // namespace

TEST_CASE("every class keeps its promises in a storm of waits", "[waits]") {
    const long each = weft::test::operations(few) / 5;
    for (const unsigned workers : {1u, 2u, 8u}) storm(workers, each);
    const Environment force{"WEFT_FORCE_MIGRATE", "1"};
    for (const unsigned workers : {2u, 8u}) storm(workers, each);
}

TEST_CASE("every class keeps its promises in simulated storms", "[waits]") {
    weft::test::on_seeds(20, [](std::uint64_t seed) {
        Storm storm{few / 60};
        storm.run(Random{seed}, false);
        CHECK(storm.broken() == "");
    });
}
