// Layer: tests. Uses: boost fcontext.
//
// Invariants
//  1. One run at a time; `current` is the thread that runs, or nobody while the
//     program is built and checked: then operations take effect at once.
//  2. Everything that differs from run to run comes from decide() and random(),
//     so a seed, or a list of choices, is the whole schedule.
#include "model/model.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace model {
namespace {

namespace context = boost::context::detail;

constexpr unsigned nobody = max_threads;
constexpr std::size_t stack_size = 128 * 1024;
constexpr unsigned step_limit = 5000;
constexpr unsigned most_priority_changes = 5;
constexpr unsigned most_preemptions = 4;  // of an exhaustive search, while the budget lasts

enum class Status : std::uint8_t { ready, yielding, asleep, done };

struct BufferedStore {
    Cell* cell;
    std::uint64_t value;
    Clock released;
};

struct Thread {
    context::fcontext_t where = nullptr;
    std::unique_ptr<char[]> stack;
    void* fake_stack = nullptr;  // AddressSanitizer's
    Status status = Status::done;
    const WakeToken* awaits = nullptr;
    std::deque<BufferedStore> buffer;
    Clock clock;
    std::int64_t priority = 0;
};

// One of several ways to go on, at a point of an exhaustive search.
struct Choice {
    std::uint16_t taken;
    std::uint16_t options;
};

struct Run {
    const Subject* subject = nullptr;
    const char* program = nullptr;
    Strategy strategy = Strategy::random;
    std::array<Thread, max_threads> threads;
    Thread outside;  // the explorer's own context
    unsigned current = nobody;
    unsigned steps = 0;
    std::string sentence;  // what failed, or empty
    // --- random and pct ---
    std::uint64_t random_state = 1;
    unsigned stickiness = 0;  // in eighths: how often a thread simply goes on
    unsigned staleness = 0;   // in eighths: how often a buffered store stays unseen
    unsigned usual_steps = 1;
    std::array<unsigned, most_priority_changes> changes{};  // at which steps; 0: never
    std::int64_t lowest_priority = 0;
    // --- exhaustive ---
    std::vector<Choice> path;
    std::size_t position = 0;
    unsigned bound = 0;
    unsigned preemptions = 0;
    unsigned stale_looks = 0;
    // --- narrating ---
    std::string* story = nullptr;
};

Run run;

// --- randomness and choices ---

std::uint64_t random() noexcept {
    run.random_state += 0x9e3779b97f4a7c15u;
    std::uint64_t z = run.random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

unsigned random_below(unsigned limit) noexcept { return static_cast<unsigned>(random() % limit); }

// The exhaustive search's next choice: as before, or the first.
unsigned decide(unsigned options) {
    if (run.position == run.path.size()) {
        run.path.push_back(Choice{0, static_cast<std::uint16_t>(options)});
    }
    return run.path[run.position++].taken;
}

// Steps to the next path in depth-first order. False after the last.
bool next_path() {
    while (!run.path.empty()) {
        if (++run.path.back().taken < run.path.back().options) return true;
        run.path.pop_back();
    }
    return false;
}

// --- the story ---

void tell(const char* operation, const void* place, std::uint64_t value) {
    if (run.story == nullptr) return;
    char line[128];
    const long offset = static_cast<long>(static_cast<const char*>(place) - run.program);
    std::snprintf(line, sizeof line, "  %u  %-20s +%-5ld %llx\n", run.current, operation, offset,
                  static_cast<unsigned long long>(value));
    *run.story += line;
}

// --- switching ---

void leave_stack(Thread& from, const Thread& to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from.fake_stack, to.stack.get(), stack_size);
#else
    (void)from, (void)to;
#endif
}

void enter_stack(Thread& self) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(self.fake_stack, nullptr, nullptr);
#else
    (void)self;
#endif
}

Thread& current_thread() { return run.current == nobody ? run.outside : run.threads[run.current]; }

void switch_to(unsigned next) {
    Thread& from = current_thread();
    run.current = next;
    Thread& to = current_thread();
    leave_stack(from, to);
    // Whoever arrives stores where we are.
    const context::transfer_t arrival = context::jump_fcontext(to.where, &from.where);
    *static_cast<context::fcontext_t*>(arrival.data) = arrival.fctx;
    enter_stack(from);
}

// Who spins may look again, now that something was written.
void awaken_yielders() {
    for (Thread& thread : run.threads) {
        if (thread.status == Status::yielding) thread.status = Status::ready;
    }
}

// --- store buffers ---

void commit_oldest(Thread& thread) {
    const BufferedStore& oldest = thread.buffer.front();
    oldest.cell->value = oldest.value;
    oldest.cell->released = oldest.released;
    thread.buffer.pop_front();
}

void flush(Thread& thread) {
    while (!thread.buffer.empty()) commit_oldest(thread);
}

void flush_all() {
    for (Thread& thread : run.threads) flush(thread);
}

// How many of the `pending` stores to a place stay unseen by the one who looks.
unsigned unseen_of(unsigned pending) {
    if (run.strategy != Strategy::exhaustive) {
        unsigned unseen = 0;
        while (unseen < pending && random_below(8) < run.staleness) ++unseen;
        return unseen;
    }
    if (run.stale_looks == run.bound) return 0;
    const unsigned unseen = decide(pending + 1);
    if (unseen > 0) ++run.stale_looks;
    return unseen;
}

// Before the current thread looks at `cell`: which of the others' stores count?
void let_others_in(const Cell& cell) {
    for (unsigned i = 0; i < run.subject->threads; ++i) {
        if (i == run.current) continue;
        auto& buffer = run.threads[i].buffer;
        auto here = [&](const BufferedStore& store) { return store.cell == &cell; };
        const auto pending =
            static_cast<unsigned>(std::count_if(buffer.begin(), buffer.end(), here));
        if (pending == 0) continue;
        for (unsigned seen = pending - unseen_of(pending); seen > 0;) {
            if (here(buffer.front())) --seen;
            commit_oldest(run.threads[i]);
        }
    }
}

// --- clocks ---

bool acquires(std::memory_order order) {
    return order != std::memory_order_relaxed && order != std::memory_order_release;
}

bool releases(std::memory_order order) {
    return order != std::memory_order_relaxed && order != std::memory_order_acquire &&
           order != std::memory_order_consume;
}

// What a store of this order publishes; its thread's time goes on.
Clock publish(Thread& thread, std::memory_order order) {
    if (!releases(order)) return Clock{};
    const Clock now = thread.clock;
    ++thread.clock.at[run.current];
    return now;
}

// --- scheduling ---

struct Candidates {
    std::array<unsigned, max_threads> thread;
    unsigned count = 0;
    bool current_first = false;
};

bool can_run(const Thread& thread) {
    if (thread.status == Status::asleep) return thread.awaits->is_set();
    return thread.status == Status::ready;
}

Candidates candidates() {
    Candidates found;
    if (run.current != nobody && can_run(run.threads[run.current])) {
        found.thread[found.count++] = run.current;
        found.current_first = true;
    }
    for (unsigned i = 0; i < run.subject->threads; ++i) {
        if (i != run.current && can_run(run.threads[i])) found.thread[found.count++] = i;
    }
    return found;
}

unsigned pick_random(const Candidates& found) {
    if (found.current_first && random_below(8) < run.stickiness) return run.current;
    return found.thread[random_below(found.count)];
}

void demote(Thread& thread) { thread.priority = --run.lowest_priority; }

// Probabilistic concurrency testing: the highest priority runs, and at a few
// random steps the one that runs falls to the bottom.
unsigned pick_by_priority(const Candidates& found) {
    const auto& changes = run.changes;
    const bool change = std::find(changes.begin(), changes.end(), run.steps) != changes.end();
    if (change && run.current != nobody) demote(run.threads[run.current]);
    return *std::max_element(
        found.thread.begin(), found.thread.begin() + found.count,
        [](unsigned a, unsigned b) { return run.threads[a].priority < run.threads[b].priority; });
}

unsigned pick_exhaustively(const Candidates& found) {
    if (found.count == 1) return found.thread[0];
    if (found.current_first && run.preemptions == run.bound) return run.current;
    const unsigned next = found.thread[decide(found.count)];
    if (found.current_first && next != run.current) ++run.preemptions;
    return next;
}

unsigned pick(const Candidates& found) {
    switch (run.strategy) {
        case Strategy::random: return pick_random(found);
        case Strategy::pct: return pick_by_priority(found);
        case Strategy::exhaustive: return pick_exhaustively(found);
    }
    std::abort();
}

void check_who_sleeps() {
    if (run.subject->may_sleep_for_ever) return;
    for (unsigned i = 0; i < run.subject->threads; ++i) {
        if (run.threads[i].status == Status::asleep) {
            run.sentence = "lost wake-up: a thread sleeps for ever";
            return;
        }
    }
}

// Who makes the next step; nobody when the program is over.
unsigned choose_next() {
    if (++run.steps > step_limit) {
        run.sentence = "live-lock: no end within the step limit";
        return nobody;
    }
    Candidates found = candidates();
    if (found.count == 0) {
        // Stores do not stay in a buffer for ever, so spinners see them at last.
        flush_all();
        awaken_yielders();
        found = candidates();
    }
    if (found.count == 0) {
        check_who_sleeps();
        return nobody;
    }
    const unsigned next = pick(found);
    run.threads[next].status = Status::ready;
    return next;
}

// A scheduling point. Returns when the caller makes its next step.
void point() {
    const unsigned next = choose_next();
    if (next != run.current) switch_to(next);
}

[[noreturn]] void give_up() {
    switch_to(nobody);
    std::abort();  // a run that failed is not gone on with
}

void thread_main(context::transfer_t arrival) {
    *static_cast<context::fcontext_t*>(arrival.data) = arrival.fctx;
    Thread& self = current_thread();
    enter_stack(self);
    run.subject->run(run.current);
    self.status = Status::done;
    point();
    std::abort();  // nobody resumes a thread that is done
}

void prepare(unsigned index) {
    Thread& thread = run.threads[index];
    if (!thread.stack) thread.stack = std::make_unique<char[]>(stack_size);
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(thread.stack.get(), stack_size);
    thread.fake_stack = nullptr;
#endif
    thread.where = context::make_fcontext(thread.stack.get() + stack_size, stack_size, thread_main);
    thread.status = Status::ready;
    thread.awaits = nullptr;
    thread.buffer.clear();
    thread.clock = Clock{};
    thread.clock.at[index] = 1;
    thread.priority = static_cast<std::int64_t>(random() >> 1);
}

void draw_habits() {
    static constexpr unsigned eighths[] = {0, 4, 6, 7};
    run.stickiness = eighths[random_below(4)];
    run.staleness = eighths[random_below(4)];
    const unsigned changes = 1 + random_below(most_priority_changes);
    run.changes.fill(0);
    for (unsigned i = 0; i < changes; ++i) run.changes[i] = 1 + random_below(run.usual_steps);
}

// One run from start to end. Returns whether nothing failed.
bool run_once(const Subject& subject) {
    run.subject = &subject;
    run.current = nobody;
    run.program = static_cast<const char*>(subject.begin());
    run.sentence.clear();
    run.steps = run.preemptions = run.stale_looks = 0;
    run.lowest_priority = 0;
    run.position = 0;
    for (unsigned i = 0; i < subject.threads; ++i) prepare(i);
    if (run.strategy != Strategy::exhaustive) draw_habits();
    switch_to(choose_next());
    flush_all();
    if (run.sentence.empty()) subject.check();
    return run.sentence.empty();
}

bool run_seed(const Subject& subject, Strategy strategy, std::uint64_t seed) {
    run.strategy = strategy;
    run.random_state = seed * 0xd1342543de82ef95u;
    return run_once(subject);
}

// --- strategies ---

// How long the program takes undisturbed: where PCT puts its changes.
void measure(const Subject& subject) {
    run.strategy = Strategy::exhaustive;
    run.bound = 0;
    run.path.clear();
    run_once(subject);
    run.path.clear();
    run.usual_steps = run.steps;
}

double setting(const char* variable, double otherwise) {
    const char* text = std::getenv(variable);
    const double value = text == nullptr ? 0 : std::atof(text);
    return value > 0 ? value : otherwise;
}

// How many schedules each strategy may try.
std::uint64_t budget() {
    return static_cast<std::uint64_t>(100'000 * setting("WEFT_MODEL_BUDGET", 1));
}

struct Coverage {
    std::uint64_t schedules = 0;
    double seconds = 0;
    std::string extent;  // what an exhaustive search reached
    std::optional<Failure> failure;
};

Failure failure_of(std::uint64_t seed) {
    Failure failure{run.strategy, seed, run.bound, {}, run.sentence};
    if (run.strategy == Strategy::exhaustive) {
        for (const Choice& choice : run.path) failure.choices.push_back(choice.taken);
    }
    return failure;
}

void sample(const Subject& subject, Strategy strategy, std::uint64_t most, Coverage& coverage) {
    for (std::uint64_t seed = 1; seed <= most; ++seed) {
        ++coverage.schedules;
        if (run_seed(subject, strategy, seed)) continue;
        coverage.failure = failure_of(seed);
        return;
    }
}

// All schedules of at most `bound` preemptions and as many stale looks. False
// when `most` was reached first.
bool search_bounded(const Subject& subject, unsigned bound, std::uint64_t most,
                    Coverage& coverage) {
    run.strategy = Strategy::exhaustive;
    run.bound = bound;
    run.path.clear();
    for (std::uint64_t count = 1; count <= most; ++count) {
        ++coverage.schedules;
        if (!run_once(subject)) {
            coverage.failure = failure_of(count);
            return true;
        }
        if (!next_path()) return true;
    }
    return false;
}

void search(const Subject& subject, std::uint64_t most, Coverage& coverage) {
    for (unsigned bound = 0; bound <= most_preemptions; ++bound) {
        const bool whole = search_bounded(subject, bound, most, coverage);
        if (coverage.failure) return;
        if (!whole) {
            coverage.extent += ", capped at <=" + std::to_string(bound);
            return;
        }
        coverage.extent = "all with <=" + std::to_string(bound) + " preemptions";
    }
}

Coverage cover(const Subject& subject, Strategy strategy, std::uint64_t most) {
    Coverage coverage;
    measure(subject);
    const auto begin = std::chrono::steady_clock::now();
    if (strategy == Strategy::exhaustive) {
        search(subject, most, coverage);
    } else {
        sample(subject, strategy, most, coverage);
    }
    coverage.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return coverage;
}

void print(const char* name, Strategy strategy, const Coverage& coverage) {
    std::printf("  %-44s %-10s ", name, name_of(strategy));
    if (coverage.failure) {
        std::printf("found at seed %llu after %llu: %s\n",
                    static_cast<unsigned long long>(coverage.failure->seed),
                    static_cast<unsigned long long>(coverage.schedules),
                    coverage.failure->sentence.c_str());
    } else {
        std::printf(
            "%llu schedules, %.0f/s %s\n", static_cast<unsigned long long>(coverage.schedules),
            static_cast<double>(coverage.schedules) / coverage.seconds, coverage.extent.c_str());
    }
    std::fflush(stdout);
}

void run_again(const Subject& subject, const Failure& failure) {
    if (failure.strategy != Strategy::exhaustive) {
        run_seed(subject, failure.strategy, failure.seed);
        return;
    }
    run.strategy = failure.strategy;
    run.bound = failure.bound;
    run.path.clear();
    for (const std::uint16_t taken : failure.choices) run.path.push_back(Choice{taken, 0});
    run_once(subject);
}

constexpr std::array strategies{Strategy::random, Strategy::pct, Strategy::exhaustive};

}  // namespace

// --- clocks and plain memory ---

void Clock::join(const Clock& other) noexcept {
    for (unsigned i = 0; i < max_threads; ++i) at[i] = std::max(at[i], other.at[i]);
}

bool Clock::covers(const Clock& other) const noexcept {
    for (unsigned i = 0; i < max_threads; ++i) {
        if (at[i] < other.at[i]) return false;
    }
    return true;
}

void on_plain_read(Accesses& accesses) {
    if (run.current == nobody) return;
    const Clock& now = current_thread().clock;
    require(now.covers(accesses.writes), "data race: a read not ordered after a write");
    accesses.reads.at[run.current] = now.at[run.current];
}

void on_plain_write(Accesses& accesses) {
    if (run.current == nobody) return;
    const Clock& now = current_thread().clock;
    require(now.covers(accesses.writes), "data race: a write not ordered after a write");
    require(now.covers(accesses.reads), "data race: a write not ordered after a read");
    accesses.writes.at[run.current] = now.at[run.current];
}

// --- atomics ---

std::uint64_t load(const Cell& cell, std::memory_order order) {
    if (run.current == nobody) return cell.value;
    point();
    Thread& self = current_thread();
    const auto own = std::find_if(self.buffer.rbegin(), self.buffer.rend(),
                                  [&](const BufferedStore& store) { return store.cell == &cell; });
    if (own != self.buffer.rend()) {
        tell("load (own buffer)", &cell, own->value);
        return own->value;
    }
    let_others_in(cell);
    if (acquires(order)) self.clock.join(cell.released);
    tell("load", &cell, cell.value);
    return cell.value;
}

void store(Cell& cell, std::uint64_t value, std::memory_order order) {
    if (run.current == nobody) {
        cell.value = value;
        return;
    }
    if (order == std::memory_order_seq_cst) {
        begin_modify(cell);
        awaken_yielders();
        cell.value = value;
        // A store begins a release sequence; it continues none.
        cell.released = publish(current_thread(), order);
        tell("store seq_cst", &cell, value);
        return;
    }
    Thread& self = current_thread();
    awaken_yielders();
    self.buffer.push_back(BufferedStore{&cell, value, publish(self, order)});
    tell("store to buffer", &cell, value);
}

std::uint64_t begin_modify(Cell& cell) {
    if (run.current == nobody) return cell.value;
    point();
    flush(current_thread());
    let_others_in(cell);
    return cell.value;
}

void end_modify(Cell& cell, std::uint64_t value, std::memory_order order) {
    const std::uint64_t before = cell.value;
    cell.value = value;
    if (run.current == nobody) return;
    if (value != before) awaken_yielders();
    Thread& self = current_thread();
    if (acquires(order)) self.clock.join(cell.released);
    cell.released.join(publish(self, order));
    tell("modify, was", &cell, before);
    tell("        is", &cell, value);
}

void abandon_modify(Cell& cell, std::memory_order order) {
    if (run.current == nobody) return;
    if (acquires(order)) current_thread().clock.join(cell.released);
    tell("compare failed", &cell, cell.value);
}

// --- what a thread may call ---

void require(bool holds, const char* sentence) {
    if (holds) return;
    if (run.sentence.empty()) run.sentence = sentence;
    if (run.current != nobody) give_up();
}

void yield() {
    if (run.current == nobody) return;
    Thread& self = current_thread();
    self.status = Status::yielding;
    // Two that spin must not starve, by their rank, the one that they wait for.
    demote(self);
    point();
}

void note(const char* what) {
    if (run.story != nullptr)
        *run.story += "  " + std::to_string(run.current) + "  - " + what + "\n";
}

void flush_everybody() {
    if (run.current == nobody) return;
    point();
    flush_all();
    note("heavy fence");
}

void WakeToken::wake() {
    begin_modify(cell_);
    end_modify(cell_, 1, std::memory_order_acq_rel);
}

void WakeToken::wait() {
    begin_modify(cell_);
    if (cell_.value == 0) {
        Thread& self = current_thread();
        note("sleeps");
        self.status = Status::asleep;
        self.awaits = this;
        point();
    }
    end_modify(cell_, 0, std::memory_order_acq_rel);
}

// --- exploring ---

const char* name_of(Strategy strategy) noexcept {
    switch (strategy) {
        case Strategy::random: return "random";
        case Strategy::pct: return "PCT";
        case Strategy::exhaustive: return "exhaustive";
    }
    return "?";
}

std::optional<Failure> verify(const char* name, const Subject& subject) {
    for (const Strategy strategy : strategies) {
        const Coverage coverage = cover(subject, strategy, budget());
        print(name, strategy, coverage);
        if (coverage.failure) return coverage.failure;
    }
    return std::nullopt;
}

std::optional<Failure> hunt(const char* name, const Subject& subject) {
    std::optional<Failure> first;
    for (const Strategy strategy : strategies) {
        const Coverage coverage = cover(subject, strategy, budget());
        print(name, strategy, coverage);
        if (coverage.failure && !first) first = coverage.failure;
    }
    return first;
}

std::string replay(const Subject& subject, const Failure& failure) {
    measure(subject);
    run_again(subject, failure);
    return run.sentence;
}

std::string narrate(const Subject& subject, const Failure& failure) {
    measure(subject);
    std::string story;
    run.story = &story;
    run_again(subject, failure);
    run.story = nullptr;
    return story;
}

}  // namespace model
