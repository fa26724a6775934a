// What timer_queue.hpp promises, without any worker.
#include "sched/timer_queue.hpp"

#include "base/random.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <memory>
#include <vector>

using namespace std::chrono_literals;
using namespace weft::detail;

namespace {

constexpr TimePoint start{1h};

// A party in a wait, or after it.
class Sleeper {
public:
    Sleeper() { epoch_ = party_.word().arm(Cancellable::yes); }
    Ticket ticket() { return {&party_, epoch_}; }
    void end() {
        party_.word().claim(epoch_, Wake::notified);
        party_.word().finish();
    }

private:
    Party party_{Party::Kind::fiber};
    std::uint64_t epoch_ = 0;
};

std::vector<std::unique_ptr<Sleeper>> sleepers(std::size_t count) {
    std::vector<std::unique_ptr<Sleeper>> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(std::make_unique<Sleeper>());
    return all;
}

// For entries that the heap has room for.
TimerQueue::Spare unused;

bool same(const Ticket& a, const Ticket& b) { return a.party == b.party && a.epoch == b.epoch; }

}  // namespace

TEST_CASE("an empty queue has no next time and expires nothing", "[timer]") {
    TimerQueue queue;
    Ticket out[1];
    CHECK(queue.next() == TimePoint::max());
    CHECK(queue.expire(TimePoint::max(), out, 1) == 0);
    CHECK(queue.live() == 0);
}

TEST_CASE("tickets expire in order of their times, whatever order they came in", "[timer]") {
    TimerQueue queue;
    Random random{7};
    constexpr std::size_t count = 1000;
    auto all = sleepers(count);
    std::vector<std::size_t> when(count);
    for (std::size_t i = 0; i < count; ++i) when[i] = i;
    for (std::size_t i = count; i > 1; --i) {
        std::swap(when[i - 1], when[random.below(static_cast<std::uint32_t>(i))]);
    }
    for (std::size_t i = 0; i < count; ++i) {
        queue.add(start + std::chrono::microseconds{when[i]}, all[when[i]]->ticket(), unused);
    }
    CHECK(queue.next() == start);
    CHECK(queue.live() == count);

    std::vector<Ticket> out(count);
    CHECK(queue.expire(start + 1h, out.data(), count) == count);
    for (std::size_t i = 0; i < count; ++i) CHECK(same(out[i], all[i]->ticket()));
    CHECK(queue.next() == TimePoint::max());
}

TEST_CASE("a ticket expires at its time and not before", "[timer]") {
    TimerQueue queue;
    Sleeper sleeper;
    Ticket out[1];
    queue.add(start, sleeper.ticket(), unused);
    CHECK(queue.expire(start - 1ns, out, 1) == 0);
    CHECK(queue.expire(start, out, 1) == 1);
    CHECK(queue.expire(start, out, 1) == 0);
}

TEST_CASE("more than fit expire in batches, none twice and none lost", "[timer]") {
    TimerQueue queue;
    auto all = sleepers(100);
    for (auto& sleeper : all) queue.add(start, sleeper->ticket(), unused);
    std::vector<Party*> seen;
    Ticket out[7];
    for (;;) {
        const std::size_t count = queue.expire(start, out, 7);
        if (count == 0) break;
        CHECK(count == std::min<std::size_t>(7, 100 - seen.size()));
        for (std::size_t i = 0; i < count; ++i) seen.push_back(out[i].party);
    }
    CHECK(seen.size() == 100);
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
}

TEST_CASE("one party may have entries of several waits, of which the last is alive", "[timer]") {
    TimerQueue queue;
    Party party{Party::Kind::fiber};
    for (int i = 0; i < 10; ++i) {
        const auto epoch = party.word().arm(Cancellable::yes);
        queue.add(start + std::chrono::seconds{i}, {&party, epoch}, unused);
        if (i == 9) break;
        party.word().claim(epoch, Wake::notified);
        party.word().finish();
        queue.left_behind(unused);
    }
    CHECK(queue.live() == 1);
}

TEST_CASE("entries left behind are swept once they are more than half", "[timer]") {
    TimerQueue queue;
    auto dead = sleepers(300);
    auto alive = sleepers(200);
    for (auto& sleeper : dead) queue.add(start, sleeper->ticket(), unused);
    for (auto& sleeper : alive) queue.add(start + 1s, sleeper->ticket(), unused);
    for (auto& sleeper : dead) {
        sleeper->end();
        queue.left_behind(unused);
    }
    CHECK(queue.live() == 200);
    CHECK(queue.next() == start);  // nobody has looked yet

    Sleeper late;
    queue.add(start + 2s, late.ticket(), unused);
    CHECK(queue.next() == start + 1s);
    CHECK(queue.live() == 201);
    std::vector<Ticket> out(600);
    CHECK(queue.expire(start + 1h, out.data(), out.size()) == 201);
    CHECK(same(out[200], late.ticket()));
}

TEST_CASE("waits that always end early do not fill the queue", "[timer]") {
    TimerQueue queue;
    Party party{Party::Kind::fiber};
    for (int i = 0; i < 100'000; ++i) {
        const auto epoch = party.word().arm(Cancellable::yes);
        queue.add(start + 1h, {&party, epoch}, unused);
        party.word().claim(epoch, Wake::notified);
        party.word().finish();
        queue.left_behind(unused);
    }
    std::vector<Ticket> out(100'000);
    CHECK(queue.expire(start + 2h, out.data(), out.size()) < 300);
}

TEST_CASE("any mixture of waits expires as a sorted list would", "[timer]") {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        Random random{seed};
        TimerQueue queue;
        auto all = sleepers(400);
        std::vector<std::pair<TimePoint, Sleeper*>> expected;
        for (auto& sleeper : all) {
            const TimePoint when = start + std::chrono::nanoseconds{random.below(1000)};
            queue.add(when, sleeper->ticket(), unused);
            if (random.below(3) == 0) {
                sleeper->end();
                queue.left_behind(unused);
            } else {
                expected.emplace_back(when, sleeper.get());
            }
        }
        std::size_t seen = 0;
        TimePoint last{};
        bool in_order = true;
        Ticket out[32];
        while (const std::size_t count = queue.expire(start + 1h, out, 32)) {
            for (std::size_t i = 0; i < count; ++i) {
                if (!out[i].party->word().is_armed(out[i].epoch)) continue;
                const auto found = std::find_if(expected.begin(), expected.end(), [&](auto& e) {
                    return same(e.second->ticket(), out[i]);
                });
                in_order = in_order && found != expected.end() && found->first >= last;
                last = found->first;
                ++seen;
            }
        }
        INFO("seed " << seed);
        CHECK(in_order);
        CHECK(seen == expected.size());
    }
}
