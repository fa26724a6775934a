// The model checker: runs a small concurrent program under many schedules, each
// exactly repeatable, and reports the first that breaks a promise.
// Layer: tests. Uses: nothing of weft.
//
// A program's threads are virtual: contexts on one OS thread, which switch only
// at operations on model atomics. Memory is that of x86 (TSO): a plain store, of
// whatever order below seq_cst, waits in its thread's buffer; a seq_cst store or
// a read-modify-write empties that buffer, heavy_fence() everybody's.
//
// Two reductions, neither of which hides a behaviour:
//  - A buffered store is no scheduling point: nobody sees it yet.
//  - A buffered store becomes visible when somebody else looks at its location,
//    or not: that is a choice, made then and only then.
// Not modelled: the order among plain stores of different threads to one
// location (all ours have one writer at a time), and what is weaker than TSO.
// For the latter there is Plain: a variable that must be protected by the
// acquire and release of others, checked by vector clocks whatever the memory.
//
// A run fails by require(), by a race on a Plain, by a live-lock (too many
// steps), or when threads sleep for ever that may not (a lost wake-up).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace model {

inline constexpr unsigned max_threads = 6;

/// What a thread knows of the others: everything they did up to a time.
struct Clock {
    std::array<std::uint32_t, max_threads> at{};

    void join(const Clock& other) noexcept;
    bool covers(const Clock& other) const noexcept;
};

// --- what lies behind the atomics ---

/// The visible value of an atomic, and what its last release published.
struct Cell {
    std::uint64_t value = 0;
    Clock released;
};

std::uint64_t load(const Cell& cell, std::memory_order order);
void store(Cell& cell, std::uint64_t value, std::memory_order order);
/// A read-modify-write in two steps, between which nobody else runs.
std::uint64_t begin_modify(Cell& cell);
void end_modify(Cell& cell, std::uint64_t value, std::memory_order order);
void abandon_modify(Cell& cell, std::memory_order order);

template <class T>
class Atomic {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    using Order = std::memory_order;
    static constexpr Order seq_cst = std::memory_order_seq_cst;

public:
    Atomic() : Atomic{T{}} {}
    Atomic(T value) : cell_{encode(value), {}} {}
    Atomic(const Atomic&) = delete;
    Atomic& operator=(const Atomic&) = delete;

    T load(Order order = seq_cst) const { return decode(model::load(cell_, order)); }
    void store(T value, Order order = seq_cst) { model::store(cell_, encode(value), order); }

    bool compare_exchange_strong(T& expected, T desired, Order success = seq_cst,
                                 Order failure = seq_cst) {
        const T now = decode(begin_modify(cell_));
        if (now == expected) {
            end_modify(cell_, encode(desired), success);
            return true;
        }
        abandon_modify(cell_, failure);
        expected = now;
        return false;
    }
    T exchange(T value, Order order = seq_cst) {
        return modify(order, [=](T) { return value; });
    }
    T fetch_add(T value, Order order = seq_cst) {
        return modify(order, [=](T now) { return static_cast<T>(now + value); });
    }
    T fetch_sub(T value, Order order = seq_cst) {
        return modify(order, [=](T now) { return static_cast<T>(now - value); });
    }
    T fetch_or(T value, Order order = seq_cst) {
        return modify(order, [=](T now) { return static_cast<T>(now | value); });
    }
    T fetch_and(T value, Order order = seq_cst) {
        return modify(order, [=](T now) { return static_cast<T>(now & value); });
    }

private:
    template <class Change>
    T modify(Order order, Change change) {
        const T before = decode(begin_modify(cell_));
        end_modify(cell_, encode(change(before)), order);
        return before;
    }
    static std::uint64_t encode(T value) noexcept {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &value, sizeof value);
        return bits;
    }
    static T decode(std::uint64_t bits) noexcept {
        T value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }

    Cell cell_;
};

// --- plain memory ---

/// Who touched a plain variable, and when by their own clocks.
struct Accesses {
    Clock writes;
    Clock reads;
};
void on_plain_read(Accesses& accesses);
void on_plain_write(Accesses& accesses);

/// A variable that is no atomic: to touch it unordered with another's write is
/// a failure. Converts like the T it stands for.
template <class T>
class Plain {
public:
    Plain() = default;
    explicit Plain(T value) : value_{value} {}
    Plain(const Plain&) = delete;
    Plain& operator=(const Plain& other) { return *this = static_cast<T>(other); }
    Plain& operator=(T value) {
        on_plain_write(accesses_);
        value_ = value;
        return *this;
    }
    operator T() const {
        on_plain_read(accesses_);
        return value_;
    }

private:
    T value_{};
    mutable Accesses accesses_;
};

// --- what a thread may call ---

/// The broken promise, in one sentence. Does not return when called by a thread.
void require(bool holds, const char* sentence);
/// The caller makes no progress before some other thread wrote something.
void yield();
/// A line in the printed interleaving.
void note(const char* what);
void flush_everybody();

/// Stands for Driver::wait() and wake(), or a futex: sleeps until there is a
/// token, and takes it. Both enter the kernel, so both empty the store buffer.
class WakeToken {
public:
    void wake();
    void wait();
    bool is_set() const noexcept { return cell_.value != 0; }

private:
    Cell cell_;
};

/// The Sync of the structures under test; see base/sync.hpp.
struct Sync {
    template <class T>
    using atomic = Atomic<T>;
    template <class T>
    using plain = Plain<T>;

    static void light_fence() noexcept {}  // the compiler's only, and it sees no model
    static void heavy_fence() { flush_everybody(); }
    static void spin(unsigned) { yield(); }
};

// --- exploring ---

enum class Strategy : std::uint8_t { random, pct, exhaustive };
const char* name_of(Strategy strategy) noexcept;

/// A schedule that breaks a promise. Random and PCT runs follow from the seed;
/// an exhaustive one from its choices.
struct Failure {
    Strategy strategy = Strategy::random;
    std::uint64_t seed = 0;
    unsigned bound = 0;
    std::vector<std::uint16_t> choices;
    std::string sentence;
};

/// A program as the explorer sees it. `begin` builds it anew for every run.
struct Subject {
    unsigned threads = 0;
    bool may_sleep_for_ever = false;
    std::function<const void*()> begin;  // returns where the program lies
    std::function<void(unsigned)> run;
    std::function<void()> check;
};

/// Runs the real thing by all three strategies and prints what was covered.
std::optional<Failure> verify(const char* name, const Subject& subject);
/// Tries the strategies in turn until one of them fails; prints which, at what seed.
std::optional<Failure> hunt(const char* name, const Subject& subject);
/// Runs one schedule again. Returns the sentence, empty if nothing failed.
std::string replay(const Subject& subject, const Failure& failure);
/// The interleaving of a failure, one operation per line.
std::string narrate(const Subject& subject, const Failure& failure);

/// A program is a class with `threads`, `may_sleep_for_ever`, run(thread) and
/// check(); the latter sees the state when nobody can run any more.
template <class Program>
Subject subject_of() {
    auto program = std::make_shared<std::optional<Program>>();
    return Subject{Program::threads, Program::may_sleep_for_ever,
                   [program]() -> const void* { return &program->emplace(); },
                   [program](unsigned thread) { (*program)->run(thread); },
                   [program] { (*program)->check(); }};
}

}  // namespace model
