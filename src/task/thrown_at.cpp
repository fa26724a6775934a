// Where what a pool's task throws was thrown. Layer: task. Uses: base, sched.
//
// When a catch clause is reached the stack below it is gone. But whoever throws first
// looks for a handler, with the stack as it was, and asks each catch clause on the way
// whether it is the one; that is asked of the type it catches. ThrowSpy's type, written
// by hand below, notes the stack and says no.
//
// Notes are found again by the exception's address, for what unwinds in between may wait,
// and go on in another thread.
#include <weft/detail/outcome.hpp>

#include "base/assert.hpp"
#include "sched/stack_trace.hpp"

#include <weft/detail/wait_queue.hpp>

#include <cxxabi.h>
#include <unwind.h>
#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <typeinfo>
#include <utility>

namespace weft::detail {

/// Nobody throws one.
struct ThrowSpy {
    virtual ~ThrowSpy();  // nowhere defined, so nor is its type_info, by the compiler
};

namespace {

struct Note {
    const void* exception;
    StackTrace stack;
    Note* next;
};

SpinLock notes_lock;
Note* notes = nullptr;  // guarded by notes_lock; of exceptions that are on their way

void note_down(const void* exception) noexcept {
    auto* const note = new (std::nothrow) Note{exception, stack_here(), nullptr};
    if (note == nullptr) return;
    const std::lock_guard hold{notes_lock};
    note->next = std::exchange(notes, note);
}

std::unique_ptr<Note> take_note(const void* exception) noexcept {
    const std::lock_guard hold{notes_lock};
    for (Note** at = &notes; *at != nullptr; at = &(*at)->next) {
        if ((*at)->exception != exception) continue;
        Note* const found = *at;
        *at = found->next;
        return std::unique_ptr<Note>{found};
    }
    return nullptr;
}

// How many frames are those of throwing itself.
int frames_of_throw(const StackTrace& stack) noexcept {
    constexpr int most = 12;
    const auto is_throw = [](void* frame) {
        void* const function = _Unwind_FindEnclosingFunction(static_cast<std::byte*>(frame) - 1);
        return function == reinterpret_cast<void*>(&abi::__cxa_throw) ||
               function == reinterpret_cast<void*>(&abi::__cxa_rethrow) ||
               function == reinterpret_cast<void*>(&std::rethrow_exception);
    };
    for (int i = std::min(stack.count, most) - 1; i >= 0; --i) {
        if (is_throw(stack.frames[i])) return i + 1;
    }
    return 0;
}

// libstdc++'s exception_ptr is a pointer to the exception.
const void* address_of(const std::exception_ptr& error) noexcept {
    static_assert(sizeof error == sizeof(void*));
    return *reinterpret_cast<const void* const*>(&error);
}

}  // namespace

class TypeOfThrowSpy final : public std::type_info {
public:
    TypeOfThrowSpy() noexcept : std::type_info{"N4weft6detail8ThrowSpyE"} {}
    // Of a pointer that is thrown this is not told the exception's own address.
    bool __do_catch(const std::type_info* thrown, void** exception, unsigned) const override {
        if (!thrown->__is_pointer_p()) note_down(*exception);
        return false;
    }
};
extern const TypeOfThrowSpy type_of_throw_spy asm("_ZTIN4weft6detail8ThrowSpyE");
const TypeOfThrowSpy type_of_throw_spy;

void Outcome::run(void (*call)(void*), void* what) noexcept {
    try {
        try {
            call(what);
        } catch (const ThrowSpy&) {
            WEFT_ASSERT(false);
        }
    } catch (...) {
        auto error = std::current_exception();
        if (const auto note = take_note(address_of(error))) {
            const int first = frames_of_throw(note->stack);
            const auto count = static_cast<std::size_t>(note->stack.count - first);
            stack_.reset(new (std::nothrow) void*[count]);
            if (stack_ != nullptr) {
                std::copy_n(note->stack.frames + first, count, stack_.get());
                stack_size_ = count;
            }
        }
        set_error(std::move(error));
    }
}

}  // namespace weft::detail
