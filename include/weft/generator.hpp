#pragma once

#include <weft/detail/export.hpp>
#include <weft/detail/jump.hpp>
#include <weft/detail/routine.hpp>
#include <weft/generator_exit.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

/// How to make a Generator.
struct GeneratorOptions {
    std::size_t stack_size = 0;  ///< of its body, usable but for some hundred bytes; 0: 192 KiB
};

template <class Y, class S, class R>
class Generator;

namespace detail {

struct GeneratorFace;

/// On a stack of its own. Throws std::system_error; then nothing leaks.
WEFT_API GeneratorFace* create_generator(const GeneratorOptions& options, const Routine& routine);
WEFT_API void* storage_of(GeneratorFace*) noexcept;
/// Of one whose callable was never made.
WEFT_API void abandon_generator(GeneratorFace*) noexcept;
/// Closes it, at any rate, and gives everything back.
WEFT_API void drop_generator(GeneratorFace*) noexcept;

enum class GeneratorState : std::uint8_t { fresh, suspended, running, ended };

/// What the code around a jump looks at.
struct GeneratorFace {
    JumpPoint body;
    JumpPoint consumer;
    GeneratorState state = GeneratorState::fresh;
    bool has_thrown_in = false;         // for the yield where the body stopped
    const std::byte* bottom = nullptr;  // of the body's stack
    std::size_t size = 0;

    bool runs_here() const noexcept {
        return static_cast<std::size_t>(stack_pointer() - bottom) < size;
    }
};

/// Before a jump into the body: what is to be handed over comes in `word` and goes there.
/// False: the body has ended.
WEFT_API bool enter_body(GeneratorFace*, void*& word);
/// After it; throws what left the body.
WEFT_API void left_body(GeneratorFace*);
[[noreturn]] WEFT_API void throw_stray_yield();
[[noreturn]] WEFT_API void throw_what_was_thrown_in(GeneratorFace*);

/// The two below, in the library. For code that jumps are not inlined into.
WEFT_API void* resume_body_apart(GeneratorFace*, void* sent);
WEFT_API void* yield_from_body_apart(GeneratorFace*, void* item);

/// Runs the body up to its next yield; what `sent` points to is that yield's to take.
/// Returns what it yielded, on the body's stack; null when the body has ended.
[[gnu::always_inline]] inline void* resume_body(GeneratorFace* face, void* sent) {
#if WEFT_JUMPS_INLINE
    if (!enter_body(face, sent)) return nullptr;
    void* const item = jump(face->consumer, face->body, sent);
    left_body(face);
    return item;
#else
    return resume_body_apart(face, sent);
#endif
}

/// In the body: stops it, and returns what is sent, or null, when it goes on.
[[gnu::always_inline]] inline void* yield_from_body(GeneratorFace* face, void* item) {
#if WEFT_JUMPS_INLINE
    if (!face->runs_here()) throw_stray_yield();
    face->state = GeneratorState::suspended;
    void* const sent = jump(face->body, face->consumer, item);
    if (face->has_thrown_in) throw_what_was_thrown_in(face);
    return sent;
#else
    return yield_from_body_apart(face, item);
#endif
}

WEFT_API void* throw_into_generator(GeneratorFace*, std::exception_ptr error);
WEFT_API void close_generator(GeneratorFace*);
WEFT_API bool is_ended(const GeneratorFace*) noexcept;
/// Throws std::logic_error when there is none, or it was taken.
WEFT_API void* take_generator_result(GeneratorFace*);

/// yield_from_body() of each item of `inner`, which gets what is sent and thrown in.
WEFT_API void yield_all(GeneratorFace*, GeneratorFace* inner);

}  // namespace detail

/// What the body of a Generator yields by. Only in that body, not in another fiber,
/// nor in the body of another Generator.
template <class Y, class S = void>
class Yield {
public:
    explicit Yield(detail::GeneratorFace* face) noexcept : face_{face} {}
    Yield(const Yield&) = delete;
    Yield& operator=(const Yield&) = delete;

    /// Hands `item` to whoever resumed the body, and stops it until it is resumed.
    /// Returns what was sent; S{} after next().
    ///
    /// Throws what is thrown in: GeneratorExit when it is to end. Throws
    /// std::logic_error outside of the body. Not a cancellation point.
    [[gnu::always_inline]] S operator()(Y item) {
        void* const sent = detail::yield_from_body(face_, std::addressof(item));
        if constexpr (!std::is_void_v<S>) {
            return sent == nullptr ? S{} : std::move(*static_cast<S*>(sent));
        }
    }

    /// Yields all of `inner`, as if its body stood here: what is sent or thrown in is so
    /// to `inner`, and closing the outer one closes it. Returns its result.
    /// (Python's `yield from`.)
    template <class R>
    R from(Generator<Y, S, R>& inner);
    template <class R>
    R from(Generator<Y, S, R>&& inner) {
        return from(inner);
    }

    /// Yields each element; what is sent is dropped.
    template <class Range>
    void from(Range&& range) {
        for (auto&& item : range) (*this)(std::forward<decltype(item)>(item));
    }

private:
    detail::GeneratorFace* const face_;
};

/// A sequence made by a function that yields one item after the other, and is stopped
/// in between. (Python's generators.)
///
///     Generator<int> squares{[](auto& yield) { for (int i = 0;; ++i) yield(i * i); }};
///     for (int n : squares) if (n > 100) break;
///
/// `S` is what may be sent to it, `R` what its body returns. The body runs when an item
/// is asked for, on a stack of its own and as part of the fiber (or thread) that asks:
/// if it sleeps, locks or reads a socket, that fiber waits, and is what is cancelled,
/// timed out, and shown in dumps. Open Timeouts and Shields of the body's own
/// hold while it runs, and locks are held by the fiber that took them. Another
/// fiber may ask for the next item, but what the body has pinned must be unpinned before.
///
/// Move-only. Destroying it half way unwinds the body; what that throws then is
/// reported, not thrown, and its waits are not interrupted.
///
/// Thread safety: one object is to be used by one fiber or thread at a time, any.
/// Lifetime: needs no runtime. Not to be destroyed while its body runs.
template <class Y, class S = void, class R = void>
class Generator {
    static_assert(std::is_object_v<Y>, "yield a value, or a pointer to it");
    static_assert(std::is_void_v<S> || std::is_default_constructible_v<S>, "next() sends S{}");

    /// What runs: the function, with its Yield.
    template <class F>
    struct Body {
        template <class From>
        Body(From&& from, detail::GeneratorFace* its_face)
            : function(std::forward<From>(from)), face{its_face} {}
        R operator()() {
            Yield<Y, S> yield{face};
            if constexpr (std::is_void_v<R>) {
                function(yield);
            } else {
                return function(yield);
            }
        }
        F function;
        detail::GeneratorFace* const face;
    };

public:
    /// Copies or moves `body`, to be called with a `Yield<Y, S>&`; it does not run yet.
    /// Never blocks. Throws std::system_error when there is no memory for its stack, and
    /// what making the copy throws; then nothing was made.
    template <class F>
    requires(std::is_invocable_v<std::decay_t<F>&, Yield<Y, S>&>) explicit Generator(F&& body)
        : Generator{GeneratorOptions{}, std::forward<F>(body)} {}
    template <class F>
    Generator(const GeneratorOptions& options, F&& body) {
        using Callable = Body<std::decay_t<F>>;
        using Frame = detail::Frame<Callable, R>;
        face_ = detail::create_generator(options, Frame::routine);
        try {
            auto* const frame = static_cast<Frame*>(detail::storage_of(face_));
            ::new (static_cast<void*>(&frame->callable.value))
                Callable(std::forward<F>(body), face_);
        } catch (...) {
            detail::abandon_generator(face_);
            throw;
        }
    }
    Generator(Generator&& other) noexcept : face_{std::exchange(other.face_, nullptr)} {}
    Generator& operator=(Generator other) noexcept {
        std::swap(face_, other.face_);
        return *this;
    }
    ~Generator() {
        if (face_ != nullptr) detail::drop_generator(face_);
    }

    /// Runs the body up to its next item. Returns that, moved; nothing when the body
    /// has ended.
    ///
    /// Blocks: as the body does. Cancellation point if the body has one.
    /// Throws what leaves the body, which has ended then; std::logic_error when it is
    /// running already, because it asks itself, or waits and another fiber asks.
    [[gnu::always_inline]] std::optional<Y> next() { return moved(advance(nullptr)); }

    /// The same, with what the yield where the body stopped returns. Throws
    /// std::logic_error also when the body has not begun: it is not at a yield.
    template <class T = S>
    [[gnu::always_inline]] std::optional<Y> send(std::type_identity_t<T> value) {
        return moved(advance(std::addressof(value)));
    }

    /// The same with an exception, thrown out of that yield; an object, or a
    /// std::exception_ptr, for which, when it holds nothing, this throws
    /// std::invalid_argument. A body that has not begun, or has ended, throws it at once.
    template <class E>
    std::optional<Y> throw_in(E&& error) {
        if constexpr (std::is_same_v<std::remove_cvref_t<E>, std::exception_ptr>) {
            return moved(
                static_cast<Y*>(detail::throw_into_generator(face_, std::forward<E>(error))));
        } else {
            return throw_in(std::make_exception_ptr(std::forward<E>(error)));
        }
    }

    /// Ends the body: GeneratorExit is thrown out of the yield where it stopped.
    /// Nothing if it has ended; one that has not begun never runs.
    ///
    /// Blocks: as the body does. Throws what else leaves the body; std::logic_error
    /// when it yields again, or is running.
    void close() { detail::close_generator(face_); }

    /// Whether the body has ended. Never blocks.
    bool done() const noexcept { return detail::is_ended(face_); }

    /// What the body returned, moved out. Throws std::logic_error when it has not
    /// returned, or this was called before.
    R result() requires(!std::is_void_v<R>) {
        return detail::moved_out<R>(detail::take_generator_result(face_));
    }

    struct End {};

    /// One pass: each step runs the body. The item lies in the body, until the next.
    class Iterator {
    public:
        using value_type = Y;
        using difference_type = std::ptrdiff_t;
        explicit Iterator(Generator& generator)
            : generator_{&generator}, item_{generator.advance(nullptr)} {}
        Y& operator*() const noexcept { return *item_; }
        Y* operator->() const noexcept { return item_; }
        [[gnu::always_inline]] Iterator& operator++() {
            item_ = generator_->advance(nullptr);
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const Iterator& i, End) noexcept { return i.item_ == nullptr; }

    private:
        Generator* generator_;
        Y* item_;
    };

    /// next() until the end.
    Iterator begin() { return Iterator{*this}; }
    End end() const noexcept { return {}; }

private:
    friend class Yield<Y, S>;

    [[gnu::always_inline]] Y* advance(void* sent) {
        return static_cast<Y*>(detail::resume_body(face_, sent));
    }
    static std::optional<Y> moved(Y* item) {
        return item == nullptr ? std::optional<Y>{} : std::optional<Y>{std::move(*item)};
    }

    detail::GeneratorFace* face_ = nullptr;
};

template <class Y, class S>
template <class R>
R Yield<Y, S>::from(Generator<Y, S, R>& inner) {
    detail::yield_all(face_, inner.face_);
    if constexpr (!std::is_void_v<R>) return inner.result();
}

}  // namespace weft
