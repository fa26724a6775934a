// Something that happens once, told to the one who waits for it.
#include "park/completion.hpp"

#include "park/park.hpp"
#include "support/catch.hpp"
#include "support/runtime.hpp"
#include "support/waiting.hpp"

#include <weft/cancelled.hpp>
#include <weft/fiber.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using weft::Deadline;
using weft::detail::Cancellable;
using weft::detail::Completion;
using weft::detail::Wake;
using weft::test::also_migrating;
using weft::test::until_waiting;

namespace {

Wake wait_for(Completion& completion, Deadline deadline = Deadline::never(),
              Cancellable cancellable = Cancellable::yes) {
    return completion.wait(deadline, cancellable, {"a test", &completion});
}

constexpr int rounds = weft::test::under_sanitizer ? 200 : 2000;

}  // namespace

TEST_CASE("a Completion that happened before the wait ends it at once", "[park][completion]") {
    also_migrating([] {
        Completion completion;
        CHECK_FALSE(completion.happened());
        completion.happen();
        CHECK(completion.happened());
        CHECK(wait_for(completion, Deadline{-1s}) == Wake::notified);
        completion.reset();
        CHECK_FALSE(completion.happened());
    });
}

TEST_CASE("a Completion wakes who waits for it, with what was written before",
          "[park][completion]") {
    also_migrating([] {
        int written = 0;
        Completion completion;
        auto waiter =
            weft::spawn([&] { return wait_for(completion) == Wake::notified ? written : -1; });
        until_waiting(waiter);
        written = 42;
        completion.happen();
        CHECK(waiter.get() == 42);
    });
}

TEST_CASE("a wait for a Completion ends at its deadline, and may be begun again",
          "[park][completion][deadline]") {
    weft::simulate(1, [] {
        Completion completion;
        auto waiter = weft::spawn([&] {
            CHECK(wait_for(completion, Deadline{-1s}) == Wake::timed_out);
            CHECK(wait_for(completion, Deadline{10ms}) == Wake::timed_out);
            CHECK_FALSE(completion.happened());
            return wait_for(completion);
        });
        weft::this_fiber::sleep_for(20ms);
        completion.happen();
        CHECK(waiter.get() == Wake::notified);
    });
}

TEST_CASE("a cancelled wait for a Completion is followed by one that is not cancellable",
          "[park][completion][cancel]") {
    also_migrating([] {
        Completion completion;
        auto waiter = weft::spawn([&] {
            CHECK(wait_for(completion) == Wake::cancelled);
            return wait_for(completion, Deadline::never(), Cancellable::no);
        });
        until_waiting(waiter);
        waiter.cancel();
        completion.happen();
        CHECK(waiter.get() == Wake::notified);
    });
}

TEST_CASE("who has withdrawn is not looked at by what happens later", "[park][completion]") {
    Completion late;
    weft::run([&] {
        CHECK(wait_for(late, Deadline{-1s}) == Wake::timed_out);
        auto waiter = weft::spawn([&] {
            const bool cancelled = wait_for(late) == Wake::cancelled;
            return cancelled && late.withdraw();
        });
        until_waiting(waiter);
        waiter.cancel();
        CHECK(waiter.get());
    });
    late.happen();  // nobody is left of those who waited
    CHECK(late.happened());
    CHECK_FALSE(late.withdraw());
}

TEST_CASE("a plain thread waits for a Completion, and makes one happen",
          "[park][completion][thread]") {
    also_migrating([] {
        Completion first;
        Completion second;
        std::thread thread{[&] {
            CHECK(wait_for(first) == Wake::notified);
            second.happen();
        }};
        first.happen();
        CHECK(wait_for(second) == Wake::notified);
        thread.join();
    });
}

// Goal: whoever is faster, the owner leaves once it has happened and not before, and
// nobody touches the Completion afterwards. Method: each round a fresh one on the
// waiter's stack, ended by its maker, a deadline and a canceller at once.
TEST_CASE("happening races with a deadline and a cancellation, and none is lost",
          "[park][completion][race]") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        weft::simulate(seed, [] {
            for (int round = 0; round < 20; ++round) {
                Completion* shared = nullptr;
                auto waiter = weft::spawn([&] {
                    Completion completion;
                    shared = &completion;
                    Wake wake = wait_for(completion, Deadline{1ms});
                    while (wake != Wake::notified) {
                        wake = wait_for(completion, Deadline::never(), Cancellable::no);
                    }
                    return completion.happened();
                });
                until_waiting(waiter);
                auto maker = weft::spawn([&] { shared->happen(); });
                waiter.cancel();
                maker.join();
                CHECK(waiter.get());
            }
        });
    }
}

TEST_CASE("fibers that make it happen and fibers that wait agree", "[park][completion][race]") {
    also_migrating([] {
        for (int round = 0; round < rounds; ++round) {
            Completion completion;
            auto maker = weft::spawn([&] { completion.happen(); });
            const Wake wake = wait_for(completion, Deadline{std::chrono::microseconds{round % 5}});
            if (wake != Wake::notified) {
                REQUIRE(wake == Wake::timed_out);
                REQUIRE(wait_for(completion) == Wake::notified);
            }
            REQUIRE(completion.happened());
            maker.join();
        }
    });
}

// --- the first of several ---

namespace {

Wake wait_for_any(std::vector<Completion>& all, Deadline deadline = Deadline::never(),
                  Cancellable cancellable = Cancellable::yes) {
    std::vector<Completion*> each;
    for (Completion& completion : all) each.push_back(&completion);
    return Completion::wait_any(each, deadline, cancellable, {"a test", &all});
}

}  // namespace

TEST_CASE("a wait for any of several ends with the first, before or meanwhile",
          "[park][completion][any]") {
    also_migrating([] {
        std::vector<Completion> all(4);
        all[2].happen();
        CHECK(wait_for_any(all) == Wake::notified);
        all[2].reset();
        auto waiter = weft::spawn([&] { return wait_for_any(all); });
        until_waiting(waiter);
        all[3].happen();
        CHECK(waiter.get() == Wake::notified);
        CHECK_FALSE(all[2].happened());
        // Late for that wait, and in time for the next.
        all[0].happen();
        CHECK(wait_for(all[0]) == Wake::notified);
    });
}

TEST_CASE("a wait for any of several ends at its deadline and by a cancellation",
          "[park][completion][any][deadline][cancel]") {
    weft::simulate(1, [] {
        std::vector<Completion> all(3);
        CHECK(wait_for_any(all, Deadline{-1s}) == Wake::timed_out);
        CHECK(wait_for_any(all, Deadline{10ms}) == Wake::timed_out);
        auto waiter = weft::spawn([&] { return wait_for_any(all); });
        until_waiting(waiter);
        waiter.cancel();
        CHECK(waiter.get() == Wake::cancelled);
    });
}

// Goal: a wait is ended once, by whichever of those that happen at once, and each of them is
// known to have happened. Method: all on the waiter's stack, each made to happen by a fiber.
TEST_CASE("several that happen at once end a wait for any of them once",
          "[park][completion][any][race]") {
    also_migrating([] {
        for (int round = 0; round < rounds / 4; ++round) {
            std::vector<Completion> all(3);
            std::vector<weft::Fiber<>> makers;
            for (Completion& each : all) makers.push_back(weft::spawn([&each] { each.happen(); }));
            REQUIRE(wait_for_any(all) == Wake::notified);
            for (Completion& each : all) REQUIRE(wait_for(each) == Wake::notified);
            weft::join_all(makers);
        }
    });
}

// Goal: a wait that begins before it can happen is ended once, whoever is faster, and nobody
// looks at the Completion after that. Method: it lies on the waiter's stack; one fiber makes it
// happen while another cancels the waiter, which then waits again.
TEST_CASE("a Completion that is expected ends that wait, or the one after a cancellation",
          "[park][completion][race][cancel]") {
    also_migrating([] {
        for (int round = 0; round < rounds; ++round) {
            std::atomic<Completion*> awaited{nullptr};
            auto waiter = weft::spawn([&] {
                const weft::detail::Purpose purpose{"a test"};
                Completion completion;
                completion.reset();
                auto& me = weft::detail::this_party();
                const weft::detail::Limit limit{me, Deadline::never(), Cancellable::yes};
                const weft::detail::Ticket ticket{&me, me.word().arm(limit.cancellable())};
                completion.expect(ticket);
                awaited = &completion;
                const Wake wake = weft::detail::suspend(ticket, limit, purpose);
                if (wake == Wake::notified) return wake;
                REQUIRE(wake == Wake::cancelled);
                return completion.wait(Deadline::never(), Cancellable::no, purpose);
            });
            auto maker = weft::spawn([&] {
                while (awaited == nullptr) weft::this_fiber::yield();
                weft::detail::Party* const resumed = awaited.load()->conclude();
                if (resumed != nullptr) {
                    weft::detail::make_ready(*resumed, weft::detail::Turn::next);
                }
            });
            auto canceller = weft::spawn([&] {
                while (awaited == nullptr) weft::this_fiber::yield();
                waiter.cancel();
            });
            REQUIRE(waiter.get() == Wake::notified);
            maker.join();
            canceller.join();
        }
    });
}

TEST_CASE("a Completion that is concluded before anybody waits says so", "[park][completion]") {
    also_migrating([] {
        Completion completion;
        CHECK(completion.conclude() == nullptr);
        CHECK(completion.happened());
        CHECK(wait_for(completion) == Wake::notified);
    });
}
