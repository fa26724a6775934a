// What holds of every wait, asked of every class, each question once.

#include "support/waits.hpp"
#include "support/catch.hpp"
#include "support/everywhere.hpp"
#include "support/hand_clock.hpp"
#include "support/journal.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/this_fiber.hpp>
#include <weft/timeout.hpp>

#include <atomic>
#include <memory>
#include <thread>
#include <tuple>
#include <vector>

#include <sched.h>

using namespace std::chrono_literals;
using namespace weft::test;  // NOLINT: the subjects
using weft::Deadline;

namespace {

using Conditions =
    std::tuple<LockConditionWait, RLockConditionWait, BoundConditionWait, BoundRConditionWait>;
using Cancellable =
    std::tuple<SemaphoreWait, BoundedSemaphoreWait, GetWait, PutWait, SendWait, RecvWait,
               SelectWait, PeekWait, JoinWait, EventWait, WaitGroupWait, LatchWait, FutureWait,
               LockConditionWait, RLockConditionWait, BoundConditionWait, BoundRConditionWait>;
using Uncancellable = std::tuple<LockWait, RLockWait, WriteWait, ReadWait, OnceWait>;
// A wake-up that nobody waits for is kept.
using Keeping =
    std::tuple<SemaphoreWait, BoundedSemaphoreWait, GetWait, PutWait, SendWait, RecvWait,
               SelectWait, PeekWait, JoinWait, EventWait, WaitGroupWait, LatchWait, FutureWait,
               LockWait, RLockWait, WriteWait, ReadWait, OnceWait>;
// A running fiber may take a Lock before one that waits.
using Ordered =
    std::tuple<SemaphoreWait, BoundedSemaphoreWait, GetWait, PutWait, SendWait, RecvWait,
               SelectWait, PeekWait, JoinWait, EventWait, WaitGroupWait, LatchWait, FutureWait,
               LockConditionWait, RLockConditionWait, BoundConditionWait, BoundRConditionWait,
               BarrierWait, WriteWait, ReadWait, OnceWait>;
// A time-out or a cancellation is its caller's affair alone.
using Lasting =
    std::tuple<SemaphoreWait, BoundedSemaphoreWait, GetWait, PutWait, SendWait, RecvWait,
               SelectWait, PeekWait, JoinWait, EventWait, WaitGroupWait, LatchWait, FutureWait,
               LockConditionWait, RLockConditionWait, BoundConditionWait, BoundRConditionWait,
               LockWait, RLockWait, WriteWait, ReadWait, OnceWait>;
// Nobody but the maker and the waiters has a hand in it.
using Plain =
    std::tuple<SemaphoreWait, BoundedSemaphoreWait, GetWait, PutWait, SendWait, RecvWait,
               SelectWait, PeekWait, JoinWait, EventWait, WaitGroupWait, LatchWait, FutureWait,
               LockConditionWait, RLockConditionWait, BoundConditionWait, BoundRConditionWait,
               BarrierWait, LockWait, RLockWait, WriteWait, ReadWait>;

constexpr std::uint64_t rounds = under_sanitizer ? 20 : 300;

enum class End { served, timed_out, cancelled };

template <class Subject>
End wait_for(Subject& subject, Deadline deadline = Deadline::never()) {
    try {
        return subject.wait(deadline, [] {}) ? End::served : End::timed_out;
    } catch (const weft::Cancelled&) {
        return End::cancelled;
    }
}

// In a fiber of its own: the maker of a lock holds it.
template <class Subject>
End other_waits_for(Subject& subject, Deadline deadline) {
    return weft::spawn([&] { return wait_for(subject, deadline); }).get();
}

template <class Subject>
constexpr bool keeps = !requires(Subject & s) {
    s.arrived();
};

// Until `count` are queued, the last of them this fiber.
template <class Subject, class R>
void until_queued(Subject& subject, const weft::Fiber<R>& fiber, int count) {
    until_waiting(fiber);
    if constexpr (!keeps<Subject>) {
        while (subject.arrived() < count) weft::this_fiber::yield();
    }
}

// Two who wait, the first until `deadline`.
template <class Subject>
struct Two {
    explicit Two(Subject& subject, Deadline deadline = Deadline::never())
        : first{weft::spawn([&subject, deadline] { return wait_for(subject, deadline); })} {
        until_queued(subject, first, 1);
        second = weft::spawn([&subject] { return wait_for(subject); });
        until_queued(subject, second, 2);
    }
    weft::Fiber<End> first;
    weft::Fiber<End> second;
};

}  // namespace

TEMPLATE_LIST_TEST_CASE("a wake-up before the wait is kept for it", "[waits]", Keeping) {
    everywhere([] {
        TestType subject{1};
        subject.wake();
        CHECK(other_waits_for(subject, Deadline::never()) == End::served);
    });
}

TEMPLATE_LIST_TEST_CASE("a notification before the wait is nobody's", "[waits]", Conditions) {
    everywhere([] {
        TestType subject{1};
        subject.wake();
        CHECK(other_waits_for(subject, 1ms) == End::timed_out);
    });
}

TEMPLATE_LIST_TEST_CASE("those who wait are served in order of arrival", "[waits][order]",
                        Ordered) {
    const auto body = [] {
        constexpr int count = 20;
        TestType subject{count};
        Journal<int> order;
        std::vector<int> expected;
        std::vector<weft::Fiber<>> fibers;
        for (int i = 0; i < count; ++i) {
            expected.push_back(i);
            fibers.push_back(
                weft::spawn([&, i] { subject.wait(Deadline::never(), [&, i] { order.add(i); }); }));
            until_queued(subject, fibers.back(), i + 1);
        }
        subject.wake();
        if (TestType::serves == Serves::one) {
            for (std::size_t i = 1; i < count; ++i) {
                fibers[i - 1].join();
                subject.wake();
            }
        }
        weft::join_all(fibers);
        CHECK(order.entries() == expected);
    };
    if (TestType::serves == Serves::all) return weft::run(body, {.workers = 1});
    also_migrating(body);
}

TEMPLATE_LIST_TEST_CASE("a deadline in the past is no wait, and takes what is there",
                        "[waits][deadline]", Lasting) {
    everywhere([] {
        TestType subject{1};
        CHECK(other_waits_for(subject, 0ms) == End::timed_out);
        CHECK(other_waits_for(subject, -1h) == End::timed_out);
        CHECK(other_waits_for(subject, Deadline::Clock::time_point::min()) == End::timed_out);
        subject.wake();
        CHECK(other_waits_for(subject, -1h) == (keeps<TestType> ? End::served : End::timed_out));
    });
}

TEMPLATE_LIST_TEST_CASE("who asks again and again without waiting leaves room for others",
                        "[waits][deadline]", Lasting) {
    weft::run(
        [] {
            TestType subject{1};
            std::atomic<bool> others_ran{false};
            auto poller = weft::spawn([&] {
                for (int i = 0; i < 10'000 && !others_ran; ++i) wait_for(subject, -1ms);
                return others_ran.load();
            });
            weft::this_fiber::yield();
            others_ran = true;
            CHECK(poller.get());
            subject.wake();
        },
        {.workers = 1});
}

TEMPLATE_LIST_TEST_CASE("a wait ends at its deadline and leaves all to the others",
                        "[waits][deadline]", Lasting) {
    everywhere([] {
        TestType subject{2};
        const Deadline deadline = 1ms;
        Two both{subject, deadline};
        CHECK(both.first.get() == End::timed_out);
        CHECK(deadline.passed());
        subject.wake();
        CHECK(both.second.get() == End::served);
        if (TestType::serves != Serves::one) return;
        CHECK(other_waits_for(subject, 0ms) == End::timed_out);
    });
}

TEMPLATE_LIST_TEST_CASE("who was woken in time but ran late was woken", "[waits][deadline]",
                        Plain) {
    weft::run(
        [] {
            weft::test::HandClock clock;
            TestType subject{2};
            const Deadline deadline = 50ms;
            Two both{subject, deadline};
            subject.wake();
            clock.pass(deadline);
            CHECK(both.first.get() == End::served);
            if (TestType::serves == Serves::one) {
                CHECK_FALSE(both.second.done());
                subject.wake();
            }
            CHECK(both.second.get() == End::served);
        },
        {.workers = 1});
}

TEMPLATE_LIST_TEST_CASE("a cancelled wait throws and leaves all to the others", "[waits][cancel]",
                        Cancellable) {
    everywhere([] {
        TestType subject{2};
        Two both{subject};
        both.first.cancel();
        CHECK(both.first.get() == End::cancelled);
        subject.wake();
        CHECK(both.second.get() == End::served);
        if (TestType::serves != Serves::one) return;
        CHECK(other_waits_for(subject, 0ms) == End::timed_out);
    });
}

TEMPLATE_LIST_TEST_CASE("a Timeout ends a wait in it and leaves all to the others",
                        "[waits][timeout]", Cancellable) {
    everywhere([] {
        TestType subject{2};
        auto first =
            weft::spawn([&] { return weft::with_timeout(1ms, [&] { wait_for(subject); }); });
        until_queued(subject, first, 1);
        auto second = weft::spawn([&] { return wait_for(subject); });
        until_queued(subject, second, 2);
        CHECK_FALSE(first.get());
        subject.wake();
        CHECK(second.get() == End::served);
        if (TestType::serves != Serves::one) return;
        CHECK(other_waits_for(subject, 0ms) == End::timed_out);
    });
}

TEMPLATE_LIST_TEST_CASE("what is thrown into a wait ends it and leaves all to the others",
                        "[waits][throw_in]", Cancellable) {
    everywhere([] {
        TestType subject{2};
        Two both{subject};
        both.first.throw_in(7);
        CHECK_THROWS_AS(both.first.get(), int);
        subject.wake();
        CHECK(both.second.get() == End::served);
        if (TestType::serves != Serves::one) return;
        CHECK(other_waits_for(subject, 0ms) == End::timed_out);
    });
}

TEMPLATE_LIST_TEST_CASE("a wait for a lock goes on when its fiber is cancelled", "[waits][cancel]",
                        Uncancellable) {
    everywhere([] {
        TestType subject{2};
        Two both{subject};
        both.first.cancel();
        CHECK_FALSE(both.first.join(1ms));
        subject.wake();
        CHECK(both.first.get() == End::served);
        CHECK(both.second.get() == End::served);
    });
}

namespace {

// A wait by a fiber that was cancelled before it.
template <class Subject>
End cancelled_waits_for(Subject& subject) {
    weft::Semaphore begun{0};
    std::atomic<bool> cancelled{false};
    auto fiber = weft::spawn([&] {
        begun.release();
        while (!cancelled) weft::this_fiber::yield();
        return wait_for(subject);
    });
    begun.acquire();
    fiber.cancel();
    cancelled = true;
    return fiber.get();
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("who was cancelled before takes nothing, even if there is something",
                        "[waits][cancel]", Cancellable) {
    everywhere([] {
        TestType subject{1};
        CHECK(cancelled_waits_for(subject) == End::cancelled);
        subject.wake();
        CHECK(cancelled_waits_for(subject) == End::cancelled);
        if (!keeps<TestType>) return;
        CHECK(other_waits_for(subject, 0ms) == End::served);
    });
}

TEMPLATE_LIST_TEST_CASE("who was cancelled before still gets a lock", "[waits][cancel]",
                        Uncancellable) {
    everywhere([] {
        TestType subject{1};
        subject.wake();
        CHECK(cancelled_waits_for(subject) == End::served);
    });
}

namespace {

// Wakes one of two while the first is cancelled, about one turn sooner or later;
// tells how the first ended.
template <class Subject>
End race_of_cancel_and_wake(std::uint64_t turn) {
    Subject subject{2};
    Two both{subject};
    auto canceller = weft::spawn([&] { both.first.cancel(); });
    if (turn % 3 != 0) weft::this_fiber::yield();
    subject.wake();
    canceller.join();
    const End first = both.first.get();
    CHECK(first != End::timed_out);
    if (Subject::serves == Serves::one && first == End::served) {
        CHECK_FALSE(both.second.done());
        subject.wake();
    }
    CHECK(both.second.get() == End::served);
    return first;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("of cancel and wake one wins, and nothing is lost", "[waits][cancel]",
                        Cancellable) {
    int cancelled = 0;
    int served = 0;
    on_seeds(3 * seeds, [&](std::uint64_t seed) {
        const End end = race_of_cancel_and_wake<TestType>(seed);
        ++(end == End::cancelled ? cancelled : served);
    });
    CHECK(cancelled > 0);
    CHECK(served > 0);
    on_workers([] {
        for (std::uint64_t i = 0; i < rounds; ++i) race_of_cancel_and_wake<TestType>(i);
    });
}

TEMPLATE_LIST_TEST_CASE("of cancel and wake a lock knows but one", "[waits][cancel]",
                        Uncancellable) {
    const auto body = [](std::uint64_t turn) {
        CHECK(race_of_cancel_and_wake<TestType>(turn) == End::served);
    };
    on_seeds(3 * seeds, body);
    on_workers([&] {
        for (std::uint64_t i = 0; i < rounds; ++i) body(i);
    });
}

TEMPLATE_LIST_TEST_CASE("plain threads wait and wake, among themselves and with fibers",
                        "[waits][thread]", Plain) {
    for (const unsigned workers : {1u, 2u, 8u}) {
        weft::Runtime runtime{{.workers = workers}};
        for (int i = 0; i < 30; ++i) {
            TestType subject{2};
            End end = End::timed_out;
            std::thread thread{[&] { end = wait_for(subject, 1h); }};
            auto fiber = runtime.spawn([&] { return wait_for(subject, 1h); });
            if constexpr (!keeps<TestType>) {
                while (subject.arrived() < 2) sched_yield();
            }
            subject.wake();
            if (TestType::serves == Serves::one) subject.wake();
            thread.join();
            CHECK(end == End::served);
            CHECK(fiber.get() == End::served);
        }
    }
}

TEMPLATE_LIST_TEST_CASE("a plain thread's wait ends at its deadline", "[waits][thread][deadline]",
                        Plain) {
    TestType subject{2};
    const Deadline deadline = 1ms;
    End late = End::served;
    End at_once = End::served;
    std::thread{[&] {
        late = wait_for(subject, deadline);
        at_once = wait_for(subject, 0ms);
    }}.join();
    CHECK(late == End::timed_out);
    CHECK(deadline.passed());
    CHECK(at_once == End::timed_out);
    if constexpr (!std::is_same_v<TestType, BarrierWait>) subject.wake();
}

TEMPLATE_LIST_TEST_CASE("the one who was woken may destroy what it waited for at once", "[waits]",
                        Plain) {
    on_workers([] {
        for (std::uint64_t i = 0; i < rounds; ++i) {
            auto* const subject = new TestType{1};
            auto waiter = weft::spawn([subject] {
                const End end = wait_for(*subject);
                delete subject;
                return end;
            });
            if (i % 2 == 0 || !keeps<TestType>) until_queued(*subject, waiter, 1);
            subject->wake();
            CHECK(waiter.get() == End::served);
        }
    });
    for (std::uint64_t i = 0; i < rounds / 5; ++i) {
        auto* const subject = new TestType{1};
        std::thread waiter{[subject] {
            wait_for(*subject);
            delete subject;
        }};
        if constexpr (!keeps<TestType>) {
            while (subject->arrived() < 1) sched_yield();
        }
        subject->wake();
        waiter.join();
    }
}
