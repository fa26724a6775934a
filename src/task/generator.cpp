// Generator: the two jumps around an item. Layer: task. Uses: base, context, sched, park.
//
// The body runs on a SideStack, as the party that resumes it: same identity, same
// interrupts. What belongs to a stack and not to a party goes with it:
//   the C++ exception state, so that a body may yield out of a catch block, and be
//    resumed out of another;
//   the Timeouts and Shields opened in the body, which hold while it runs.
// All of that is done on the consumer's side, around the jump into the body, for
// one look at the worker before and one after; the body's side only jumps. The
// jumps themselves are inlined into both (weft/detail/jump.hpp says why).
//
// Invariants
//  1. suspended: the body's stack is at a yield; `body` is where, and nobody runs
//     on it. running: it is side_of() some party, or below the one that is.
//  2. Whoever frees the stack has seen `ended`, or `fresh` and ended it: no frame
//     of the body is left on it.
//  3. A body that unwinds for its end (closing_) is not resumed by anybody else.
//
// Memory: the core, the callable and the result lie at the stack's end, above the
//  body's frames. All stacks come from one pool that is never destroyed, since a
//  generator needs no runtime and may outlive the one it was made in.
#include <weft/generator.hpp>

#include "task/generator.hpp"

#include "base/assert.hpp"
#include "base/sanitizer.hpp"
#include "context/stack.hpp"
#include "context/switch.hpp"
#include "park/interrupt.hpp"
#include "park/thread_party.hpp"
#include "sched/scheduler.hpp"
#include "sched/side_stack.hpp"
#include "sched/worker.hpp"

#include <weft/cancelled.hpp>
#include <weft/this_fiber.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace weft::detail {

namespace {

constexpr std::size_t default_stack_size = 192 << 10;
constexpr int patience_of_drop = 100;

// Who runs here, at this moment.
struct Here {
    Party& party;
    ExceptionState& exceptions;
};

Here here() noexcept {
    Worker* const worker = Worker::current();
    if (worker != nullptr && worker->fiber() != nullptr) {
        return {*worker->fiber(), worker->exceptions()};
    }
    return {ThreadParty::of_this_thread(), *exception_state_of_thread()};
}

}  // namespace

// Never destroyed: generators may be static objects.
StackPool& generator_stacks() {
    static auto* const pool = new StackPool;
    return *pool;
}

class GeneratorCore final : public GeneratorFace, public SideStack {
public:
    GeneratorCore(const Stack& its_stack, const Routine& routine) noexcept;
    GeneratorCore(const GeneratorCore&) = delete;
    GeneratorCore& operator=(const GeneratorCore&) = delete;
    ~GeneratorCore();

    static GeneratorCore& of(GeneratorFace* face) noexcept {
        return static_cast<GeneratorCore&>(*face);
    }
    void* storage() noexcept { return storage_; }
    bool ended() const noexcept { return state == GeneratorState::ended; }

    bool may_enter(void*& word);
    void enter() noexcept;
    void left() noexcept;
    void rethrow();
    void* throw_in(std::exception_ptr error);
    [[noreturn]] void throw_what_was_thrown_in();
    void close();
    void drop() noexcept;
    /// Gives everything back. Requires: no frame, callable or result is there.
    void free() noexcept;
    void* take_result();

    // For the sanitizers, next to the jumps.
    void leaving_consumer(void*& fake_stack) noexcept;
    void back_in_consumer(void* fake_stack) noexcept;
    void leaving_body() noexcept;
    void back_in_body() noexcept;

private:
    static void entry(void* core) noexcept;
    void run_body() noexcept;
    void refuse_if_running() const;
    void end_unrun() noexcept;
    void bring_back(Party& party) noexcept;
    void put_by(Party& party) noexcept;

    // --- fixed after construction ---
    const Routine& routine_;
    void* storage_;

    // --- whoever has the generator ---
    ExceptionState exceptions_;    // the body's, while it does not run
    Timeout* timeouts_ = nullptr;  // those opened in the body, while it does not run
    unsigned shields_ = 0;         // the same
    bool has_result_ = false;
    bool result_taken_ = false;
    bool closing_ = false;
    std::exception_ptr thrown_in_;
    std::exception_ptr error_;  // what left the body

    // --- the party that runs the body ---
    ExceptionState consumer_exceptions_;
    Timeout* consumer_timeouts_ = nullptr;
    unsigned consumer_shields_ = 0;

#if defined(WEFT_ASAN)
    void* fake_stack_ = nullptr;
    const void* consumer_bottom_ = nullptr;
    std::size_t consumer_size_ = 0;
#endif
#if defined(WEFT_TSAN)
    void* consumer_fiber_ = nullptr;
#endif
};

namespace {

// The core above, the storage below it, the frames below that.
std::byte* below(std::byte* end, std::size_t size, std::size_t align) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(end) - size;
    return end - (reinterpret_cast<std::uintptr_t>(end) - (address & ~(std::uintptr_t{align} - 1)));
}

std::byte* place_of_core(const Stack& stack) noexcept {
    return below(stack.top(), sizeof(GeneratorCore), alignof(GeneratorCore));
}

std::byte* place_of_storage(const Stack& stack, const Routine& routine) noexcept {
    return below(place_of_core(stack), routine.size, std::max<std::size_t>(routine.align, 64));
}

[[noreturn]] void give_up_dropping() noexcept {
    std::fputs("weft: the body of a generator that is destroyed goes on yielding\n", stderr);
    std::terminate();
}

void report_lost(std::exception_ptr error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const Cancelled&) {
        return;
    } catch (...) {
    }
    Worker* const worker = Worker::current();
    if (worker == nullptr || worker->fiber() == nullptr) {
        std::fputs("weft: an exception left the body of a generator that is destroyed\n", stderr);
        return;
    }
    const FiberCore& fiber = *worker->fiber();
    fiber.scheduler->setup().unhandled(fiber.id.load(std::memory_order_relaxed), name_of(&fiber),
                                       std::move(error));
}

}  // namespace

GeneratorCore::GeneratorCore(const Stack& its_stack, const Routine& routine) noexcept
    : routine_{routine}, storage_{place_of_storage(its_stack, routine)} {
    stack = its_stack;
    caller = &consumer;
    bottom = stack.bottom();
    size = static_cast<std::size_t>(static_cast<std::byte*>(storage_) - bottom);
    body = make_jump_point(storage_, size, &entry);
#if defined(WEFT_TSAN)
    tsan_fiber = __tsan_create_fiber(0);
#endif
}

GeneratorCore::~GeneratorCore() {
#if defined(WEFT_TSAN)
    __tsan_destroy_fiber(tsan_fiber);
#endif
}

// --- around the jumps ---
//
// Not for TSan: the exception state is the thread's, which takes fibers for threads.

// False: it has ended.
bool GeneratorCore::may_enter(void*& word) {
    if (state == GeneratorState::suspended) return true;
    refuse_if_running();
    if (ended()) return false;
    if (word != nullptr) throw std::logic_error{"weft: send() to a generator that has not begun"};
    word = this;
    return true;
}

WEFT_NO_TSAN void GeneratorCore::enter() noexcept {
    const Here now = here();
    Party& me = now.party;
    SideStack*& side = side_of(me);
    below = side;
    side = this;
    consumer_exceptions_ = now.exceptions;
    now.exceptions = exceptions_;
    consumer_timeouts_ = me.timeouts();
    consumer_shields_ = me.shields();
    state = GeneratorState::running;
    if (timeouts_ != nullptr || shields_ != 0 || consumer_exceptions_.uncaught > 0) bring_back(me);
}

// The same party as before, but perhaps on another worker.
WEFT_NO_TSAN void GeneratorCore::left() noexcept {
    const Here now = here();
    Party& me = now.party;
    exceptions_ = now.exceptions;
    now.exceptions = consumer_exceptions_;
    side_of(me) = below;
    if (me.timeouts() != consumer_timeouts_ || me.shields() != consumer_shields_) put_by(me);
}

// Who unwinds is not interrupted, nor is a body that he runs meanwhile.
void GeneratorCore::bring_back(Party& party) noexcept {
    if (timeouts_ != nullptr) bring_back_timeouts(party, *std::exchange(timeouts_, nullptr));
    if (consumer_exceptions_.uncaught > 0) ++shields_;
    party.set_shields(party.shields() + std::exchange(shields_, 0));
}

void GeneratorCore::put_by(Party& party) noexcept {
    timeouts_ = put_by_timeouts(party, consumer_timeouts_);
    shields_ = party.shields() - consumer_shields_;
    if (consumer_exceptions_.uncaught > 0) --shields_;
    party.set_shields(consumer_shields_);
}

void GeneratorCore::rethrow() {
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
}

void GeneratorCore::leaving_consumer([[maybe_unused]] void*& fake_stack) noexcept {
#if defined(WEFT_ASAN)
    __sanitizer_start_switch_fiber(&fake_stack, stack.bottom(), stack.committable());
#endif
#if defined(WEFT_TSAN)
    consumer_fiber_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_fiber, 0);
#endif
}

void GeneratorCore::back_in_consumer([[maybe_unused]] void* fake_stack) noexcept {
#if defined(WEFT_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void GeneratorCore::leaving_body() noexcept {
#if defined(WEFT_ASAN)
    __sanitizer_start_switch_fiber(ended() ? nullptr : &fake_stack_, consumer_bottom_,
                                   consumer_size_);
#endif
#if defined(WEFT_TSAN)
    __tsan_switch_to_fiber(consumer_fiber_, 0);
#endif
}

void GeneratorCore::back_in_body() noexcept {
#if defined(WEFT_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack_, &consumer_bottom_, &consumer_size_);
#endif
}

WEFT_NO_TSAN void* resume_body_apart(GeneratorFace* face, void* sent) {
    GeneratorCore& core = GeneratorCore::of(face);
    if (!core.may_enter(sent)) return nullptr;
    core.enter();
    void* fake_stack = nullptr;
    core.leaving_consumer(fake_stack);
    void* const item = jump(face->consumer, face->body, sent);
    core.back_in_consumer(fake_stack);
    core.left();
    core.rethrow();
    return item;
}

WEFT_NO_TSAN void* yield_from_body_apart(GeneratorFace* face, void* item) {
    GeneratorCore& core = GeneratorCore::of(face);
    if (!face->runs_here()) throw_stray_yield();
    face->state = GeneratorState::suspended;
    core.leaving_body();
    void* const sent = jump(face->body, face->consumer, item);
    core.back_in_body();
    if (face->has_thrown_in) core.throw_what_was_thrown_in();
    return sent;
}

// --- the body's life ---

WEFT_NO_TSAN void GeneratorCore::entry(void* core) noexcept {
    auto& self = *static_cast<GeneratorCore*>(core);
    self.back_in_body();
    self.run_body();
    self.state = GeneratorState::ended;
    self.leaving_body();
    jump(self.body, self.consumer, nullptr);
    __builtin_unreachable();
}

[[gnu::noinline]] void GeneratorCore::run_body() noexcept {
    try {
        routine_.run(storage_);
        has_result_ = true;
    } catch (const GeneratorExit&) {
        if (!closing_) error_ = std::current_exception();
    } catch (...) {
        error_ = std::current_exception();
    }
    routine_.discard_callable(storage_);
}

void GeneratorCore::throw_what_was_thrown_in() {
    has_thrown_in = false;
    std::rethrow_exception(std::exchange(thrown_in_, nullptr));
}

void GeneratorCore::refuse_if_running() const {
    if (state == GeneratorState::running) {
        throw std::logic_error{"weft: generator already executing"};
    }
}

void GeneratorCore::end_unrun() noexcept {
    state = GeneratorState::ended;
    routine_.discard_callable(storage_);
}

void* GeneratorCore::throw_in(std::exception_ptr error) {
    if (error == nullptr) throw std::invalid_argument{"weft: throw_in() of no exception"};
    refuse_if_running();
    if (state == GeneratorState::fresh) end_unrun();
    if (ended()) std::rethrow_exception(std::move(error));
    thrown_in_ = std::move(error);
    has_thrown_in = true;
    return resume_body(this, nullptr);
}

void GeneratorCore::close() {
    refuse_if_running();
    if (state == GeneratorState::fresh) return end_unrun();
    if (ended()) return;
    closing_ = true;
    void* const item = throw_in(std::make_exception_ptr(GeneratorExit{}));
    closing_ = false;
    if (item != nullptr) {
        throw std::logic_error{"weft: a generator that is closed goes on yielding"};
    }
}

void GeneratorCore::drop() noexcept {
    if (state == GeneratorState::running) {
        WEFT_ASSERT(Scheduler::any_halted());
        return;  // in exit(): its fiber lies where it stopped
    }
    const this_fiber::Shield shield;
    for (int patience = patience_of_drop; !ended(); --patience) {
        if (patience == 0) give_up_dropping();
        try {
            close();
        } catch (...) {
            if (ended()) report_lost(std::current_exception());
        }
    }
    if (has_result_) routine_.discard_result(storage_);
    free();
}

void GeneratorCore::free() noexcept {
    const Stack its_stack = stack;
    this->~GeneratorCore();
    forget_frames(its_stack);
    generator_stacks().release(&its_stack, 1);
    generator_stacks().unreserve(its_stack.shift, 1);
    generator_stacks().trim();
}

void* GeneratorCore::take_result() {
    if (!has_result_ || std::exchange(result_taken_, true)) {
        throw std::logic_error{"weft: the body of this generator has no result"};
    }
    return storage_;
}

// --- for the header ---

GeneratorFace* create_generator(const GeneratorOptions& options, const Routine& routine) {
    const std::size_t usable = options.stack_size == 0 ? default_stack_size : options.stack_size;
    // A stack is not made a size larger for what is little beside it.
    const std::size_t large = routine.size > 1024 ? routine.size + routine.align : 0;
    const std::uint8_t shift = StackPool::shift_for(usable + large);
    generator_stacks().reserve(shift, 1);
    Stack stack;
    generator_stacks().acquire(shift, &stack, 1);
    return ::new (static_cast<void*>(place_of_core(stack))) GeneratorCore{stack, routine};
}

void* storage_of(GeneratorFace* face) noexcept { return GeneratorCore::of(face).storage(); }
void abandon_generator(GeneratorFace* face) noexcept { GeneratorCore::of(face).free(); }
void drop_generator(GeneratorFace* face) noexcept { GeneratorCore::of(face).drop(); }

bool enter_body(GeneratorFace* face, void*& word) {
    GeneratorCore& core = GeneratorCore::of(face);
    if (!core.may_enter(word)) return false;
    core.enter();
    return true;
}

void left_body(GeneratorFace* face) {
    GeneratorCore& core = GeneratorCore::of(face);
    core.left();
    core.rethrow();
}

void throw_stray_yield() {
    throw std::logic_error{"weft: a yield outside of its generator's body"};
}

void throw_what_was_thrown_in(GeneratorFace* face) {
    GeneratorCore::of(face).throw_what_was_thrown_in();
}

void* throw_into_generator(GeneratorFace* face, std::exception_ptr error) {
    return GeneratorCore::of(face).throw_in(std::move(error));
}
void close_generator(GeneratorFace* face) { GeneratorCore::of(face).close(); }
bool is_ended(const GeneratorFace* face) noexcept { return face->state == GeneratorState::ended; }
void* take_generator_result(GeneratorFace* face) { return GeneratorCore::of(face).take_result(); }

void yield_all(GeneratorFace* face, GeneratorFace* inner) {
    void* item = resume_body(inner, nullptr);
    while (item != nullptr) {
        void* sent = nullptr;
        std::exception_ptr thrown_in;
        try {
            sent = yield_from_body(face, item);
        } catch (const GeneratorExit&) {
            close_generator(inner);
            throw;
        } catch (...) {
            thrown_in = std::current_exception();
        }
        item = thrown_in == nullptr ? resume_body(inner, sent)
                                    : throw_into_generator(inner, std::move(thrown_in));
    }
}

}  // namespace weft::detail
