#pragma once

#include <weft/detail/local_key.hpp>

#include <type_traits>
#include <utility>

namespace weft {

/// A variable of which every fiber has its own, as every thread has of a
/// thread_local. (Python's threading.local.) A plain thread has one, too.
///
/// A fiber's value is made when it first asks for it, and destroyed by the
/// fiber: after its exception was reported, if nobody can take it any more, and
/// before its joiners are told. The destructor may use FiberLocals, also ones
/// that have no value any more; after four rounds of that the rest leaks. It may
/// wait, shielded from cancellation. A thread's value is destroyed with the
/// thread's thread_locals.
///
/// A lookup takes 3 ns in a fiber and 5 ns in a plain thread, the first one a few
/// allocations. A fiber that asks for none pays for none; one that does has 24
/// bytes for each FiberLocal there is.
///
/// Thread safety: every member, from any fiber or plain thread; a value is its
/// fiber's alone.
/// Lifetime: may be destroyed while fibers have values of it. Those are
/// destroyed with their fibers as ever, or before by a later FiberLocal.
template <class T>
class FiberLocal {
public:
    /// Values are value-initialised: an int begins with 0. At most 65536 exist:
    /// Throws std::system_error(resource_unavailable_try_again); std::bad_alloc.
    FiberLocal() requires std::is_default_constructible_v<T> : FiberLocal{values} {}

    /// Values begin as what `init()` returns. It is called by any number of
    /// fibers at once, and may wait. Throws as the other, and what moving it does.
    template <class Init>
    requires std::is_invocable_v<Init&>
    explicit FiberLocal(Init init) : FiberLocal{values, std::move(init)} {}

    FiberLocal(const FiberLocal&) = delete;
    FiberLocal& operator=(const FiberLocal&) = delete;
    ~FiberLocal() {
        if (init_ != nullptr) drop_init_(init_);
    }

    /// The caller's value, made now if there is none. Blocks: if making it does.
    /// Throws what making it throws, std::bad_alloc, or std::logic_error when making it
    /// asks for it; then there is none still.
    T& get() {
        if (void* const value = detail::find_local(key_)) return *static_cast<T*>(value);
        return make();
    }
    T& operator*() { return get(); }
    T* operator->() { return &get(); }

    /// Whether the caller has a value.
    bool has_value() const noexcept { return detail::find_local(key_) != nullptr; }

    /// Destroys the caller's value, if there is one; the next get() makes another.
    void reset() noexcept { detail::reset_local(key_); }

protected:
    static void destroy(void* value) noexcept { delete static_cast<T*>(value); }
    static constexpr detail::LocalType values{&destroy, nullptr};

    explicit FiberLocal(const detail::LocalType& type) : key_{type}, make_{&make_default} {}

    template <class Init>
    FiberLocal(const detail::LocalType& type, Init init)
        : key_{type},
          init_{new Init(std::move(init))},
          drop_init_{[](void* made) { delete static_cast<Init*>(made); }},
          make_{[](void* made) { return new T((*static_cast<Init*>(made))()); }} {}

private:
    static T* make_default(void*) {
        if constexpr (std::is_default_constructible_v<T>) return new T();
        return nullptr;
    }

    T& make() {
        struct Making {
            const detail::LocalKey& key;
            T* value;
            ~Making() { detail::put_local(key, value); }
        };
        detail::begin_local(key_);
        Making making{key_, nullptr};
        making.value = make_(init_);
        return *making.value;
    }

    // --- fixed after construction ---
    detail::LocalKey key_;
    void* init_ = nullptr;
    void (*drop_init_)(void*) = nullptr;
    T* (*make_)(void*);
};

/// A FiberLocal whose value a spawned fiber begins with a copy of: of the
/// spawner's at the spawn, made by the spawner. Without one there, the fiber
/// makes its own. spawn() throws what the copy throws; then nothing was spawned.
template <class T>
requires std::is_copy_constructible_v<T>
class InheritableFiberLocal : public FiberLocal<T> {
public:
    InheritableFiberLocal() requires std::is_default_constructible_v<T> : FiberLocal<T>{copied} {}

    template <class Init>
    requires std::is_invocable_v<Init&>
    explicit InheritableFiberLocal(Init init) : FiberLocal<T>{copied, std::move(init)} {}

private:
    static void* copy(const void* value) { return new T(*static_cast<const T*>(value)); }
    static constexpr detail::LocalType copied{&FiberLocal<T>::destroy, &copy};
};

}  // namespace weft
