// WaitWord under the model checker.
// Layer: tests. Uses: sched, model.
//
// Goal: each wait is ended by exactly one claim, the party is queued exactly
// once and never while its stack is in use, claims of a wait that is over fail,
// and a cancellation is never missed.
// Method: thread 0 is the party and its worker: it arms, leaves its stack,
// commits, and sleeps until somebody queues the party. The others race to end
// the wait; one of them freezes the party, as the dumper does.
#include "model/expect.hpp"

#include "sched/wait_word.hpp"
#include "wait_word_claim_any_epoch.hpp"
#include "wait_word_claim_any_phase.hpp"
#include "wait_word_claim_publishes_nothing.hpp"
#include "wait_word_claim_stores.hpp"
#include "wait_word_commit_stores.hpp"
#include "wait_word_freeze_claimed.hpp"
#include "wait_word_resume_always.hpp"

#include <cstdint>

namespace {

// A namespace cannot be a template argument; this makes a type of one.
#define WEFT_MODEL_KIT(name, from)                \
    struct name {                                 \
        using Word = from::WaitWord<model::Sync>; \
        using Wake = from::Wake;                  \
        using Claim = from::Claim;                \
        using Cancellable = from::Cancellable;    \
    }

WEFT_MODEL_KIT(Real, weft::detail);
WEFT_MODEL_KIT(ClaimAnyEpoch, variant::wait_word_claim_any_epoch);
WEFT_MODEL_KIT(ClaimAnyPhase, variant::wait_word_claim_any_phase);
WEFT_MODEL_KIT(ClaimStores, variant::wait_word_claim_stores);
WEFT_MODEL_KIT(ClaimPublishesNothing, variant::wait_word_claim_publishes_nothing);
WEFT_MODEL_KIT(CommitStores, variant::wait_word_commit_stores);
WEFT_MODEL_KIT(ResumeAlways, variant::wait_word_resume_always);
WEFT_MODEL_KIT(FreezeClaimed, variant::wait_word_freeze_claimed);

#undef WEFT_MODEL_KIT

// The waiting party, and the check of everything that is done to it.
template <class Kit>
class Waiter {
public:
    using Epoch = typename Kit::Word::Epoch;
    using Wake = typename Kit::Wake;

    /// The party itself: waits once, and tells why that ended. `before_commit`
    /// and `after_commit` are what its worker does around commit().
    template <class BeforeCommit, class AfterCommit>
    Wake wait(typename Kit::Cancellable cancellable, BeforeCommit&& before_commit,
              AfterCommit&& after_commit) {
        stack_ = 1;
        const Epoch epoch = word_.arm(cancellable);
        before_commit(epoch);
        stack_ = 2;
        in_use_ = false;
        if (word_.commit()) {
            enqueue();
        } else {
            after_commit(epoch);
        }
        runnable_.wait();
        in_use_ = true;
        queued_ = 0;
        stack_ = 3;
        const Wake why = word_.finish();
        model::require(epoch == winner_epoch_, "a claim of another epoch won");
        model::require(why == winner_why_, "the wait tells another reason than the winner's");
        return why;
    }

    /// Anybody: tries to end the wait of `epoch`. Returns whether it did.
    bool end(Epoch epoch, Wake why) {
        const auto how = word_.claim(epoch, why);
        if (how == Kit::Claim::lost) return false;
        winner_epoch_ = epoch;
        winner_why_ = why;
        model::require(++winners_ <= epoch, "two claims of one epoch won");
        if (word_.resume(how)) enqueue();
        return true;
    }

    /// The dumper: reads the stack of the party while it keeps it from running.
    void dump() {
        if (!word_.freeze()) return;
        dumping_ = true;
        model::require(stack_ == 2, "the frozen party's stack is in use");
        model::yield();
        dumping_ = false;
        if (word_.commit()) enqueue();
    }

    Epoch cancellable_epoch() const { return word_.cancellable_epoch(); }
    bool waiting() const { return word_.waiting(); }

private:
    void enqueue() {
        model::require(!in_use_, "queued while its stack is in use");
        model::require(!dumping_, "queued while it is frozen");
        model::require(stack_ == 2, "queued before its stack was left");
        model::require(++queued_ == 1, "queued twice");
        runnable_.wake();
    }

    typename Kit::Word word_;
    model::WakeToken runnable_;
    model::Plain<int> stack_;           // stands for all that lies on the stack
    model::Plain<Epoch> winner_epoch_;  // written by the winner, before resume()
    model::Plain<Wake> winner_why_;
    bool in_use_ = true;    // known to the checker alone
    bool dumping_ = false;  // likewise
    int queued_ = 0;        // likewise
    Epoch winners_ = 0;     // likewise
};

constexpr auto nothing = [](std::uint64_t) {};

// Two waits in a row. A notifier and a timer claim both, and again after they
// are over; a canceller takes what it sees; a dumper freezes.
template <class Kit, bool with_dumper>
class Race {
public:
    static constexpr unsigned threads = with_dumper ? 4 : 3;
    static constexpr bool may_sleep_for_ever = false;

    void run(unsigned thread) {
        switch (thread) {
            case 0: return wait_twice();
            case 1: return expire();
            case 2: return with_dumper ? dump() : notify();
            default: return notify();
        }
    }
    void check() { model::require(!waiter_.waiting(), "the word is not idle after the wait"); }

private:
    using Wake = typename Kit::Wake;

    void wait_twice() {
        for (int i = 0; i < 2; ++i) {
            waiter_.wait(
                Kit::Cancellable::yes, [this](std::uint64_t epoch) { timers_[epoch].wake(); },
                nothing);
        }
    }
    void notify() {
        waiter_.end(1, Wake::notified);
        if (const auto epoch = waiter_.cancellable_epoch()) waiter_.end(epoch, Wake::cancelled);
    }
    void expire() {
        for (std::uint64_t epoch = 1; epoch <= 2; ++epoch) {
            timers_[epoch].wait();
            waiter_.end(epoch, Wake::timed_out);
            model::require(!waiter_.end(epoch, Wake::timed_out), "a claim won after the claim");
            model::require(!waiter_.end(epoch - 1, Wake::timed_out), "a stale claim won");
        }
    }
    void dump() {
        waiter_.dump();
        waiter_.dump();
    }

    Waiter<Kit> waiter_;
    model::WakeToken timers_[3];  // by epoch: set when its wait is armed
};

enum class Flag : bool { read_before_commit, read_after_commit };
enum class Request : bool { relaxed, seq_cst };

// Nothing but a cancellation ends this wait, so a missed one is a lost wake-up.
template <class Kit, Flag flag, Request request, bool with_dumper>
class Cancellation {
public:
    static constexpr unsigned threads = with_dumper ? 3 : 2;
    static constexpr bool may_sleep_for_ever = false;

    void run(unsigned thread) {
        if (thread == 0) return wait();
        if (thread == 1) return cancel();
        waiter_.dump();
    }
    void check() {}

private:
    using Wake = typename Kit::Wake;

    void wait() {
        bool seen = false;
        const Wake why = waiter_.wait(
            Kit::Cancellable::yes,
            [&](std::uint64_t) {
                if (flag == Flag::read_before_commit) seen = pending_.load();
            },
            [&](std::uint64_t epoch) {
                if (flag == Flag::read_after_commit)
                    seen = pending_.load(std::memory_order_acquire);
                if (seen) waiter_.end(epoch, Wake::cancelled);
            });
        model::require(why == Wake::cancelled, "a cancellation is not called one");
    }
    void cancel() {
        pending_.store(true, request == Request::seq_cst ? std::memory_order_seq_cst
                                                         : std::memory_order_relaxed);
        if (const auto epoch = waiter_.cancellable_epoch()) waiter_.end(epoch, Wake::cancelled);
    }

    Waiter<Kit> waiter_;
    model::Atomic<bool> pending_{false};
};

}  // namespace

TEST_CASE("WaitWord: one claim ends a wait, and the party is queued once", "[model][wait_word]") {
    model::expect_kept<Race<Real, false>>("WaitWord, claims");
    model::expect_kept<Race<Real, true>>("WaitWord, claims and a dumper");
}

TEST_CASE("WaitWord: a cancellation is not missed", "[model][wait_word]") {
    model::expect_kept<Cancellation<Real, Flag::read_after_commit, Request::seq_cst, false>>(
        "WaitWord, cancellation");
    model::expect_kept<Cancellation<Real, Flag::read_after_commit, Request::seq_cst, true>>(
        "WaitWord, cancellation and a dumper");
}

TEST_CASE("the checker finds what is planted in WaitWord", "[model][wait_word][mutant]") {
    model::expect_found<Race<ClaimAnyEpoch, true>>("WaitWord: claim of any epoch");
    model::expect_found<Race<ClaimAnyPhase, true>>("WaitWord: claim in any phase");
    model::expect_found<Race<ClaimStores, true>>("WaitWord: claim stores");
    model::expect_found<Race<ClaimPublishesNothing, true>>("WaitWord: claim orders nothing");
    model::expect_found<Race<CommitStores, true>>("WaitWord: commit stores");
    model::expect_found<Race<ResumeAlways, true>>("WaitWord: resume without agreement");
    model::expect_found<Race<FreezeClaimed, true>>("WaitWord: freeze of a claimed party");
}

TEST_CASE("the checker finds a cancellation asked or looked for wrongly",
          "[model][wait_word][mutant]") {
    model::expect_found<Cancellation<Real, Flag::read_before_commit, Request::seq_cst, false>>(
        "WaitWord: flag read before arming is visible");
    model::expect_found<Cancellation<Real, Flag::read_after_commit, Request::relaxed, false>>(
        "WaitWord: flag stored relaxed");
}
