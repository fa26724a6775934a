// What a FiberLocal<T> needs of the library, without knowing T.
#pragma once

#include <weft/detail/export.hpp>

#include <cstdint>

namespace weft::detail {

/// How the values of one FiberLocal end and multiply.
struct LocalType {
    void (*destroy)(void* value) noexcept;
    void* (*copy)(const void* value);  // for a spawned fiber; null: it inherits none
};

/// One FiberLocal's place in the map of every fiber. See src/sched/local_map.hpp.
class WEFT_API LocalKey {
public:
    /// Throws std::bad_alloc; std::system_error(resource_unavailable_try_again)
    /// when 65536 keys exist.
    explicit LocalKey(const LocalType& type);
    LocalKey(const LocalKey&) = delete;
    LocalKey& operator=(const LocalKey&) = delete;
    ~LocalKey();

    const LocalType& type() const noexcept { return type_; }
    std::uint32_t index() const noexcept { return index_; }
    std::uint64_t serial() const noexcept { return serial_; }

private:
    const LocalType& type_;
    std::uint32_t index_ = 0;   // given to another key after this one
    std::uint64_t serial_ = 0;  // never given again
};

/// The caller's value, or null.
WEFT_API void* find_local(const LocalKey& key) noexcept;
/// The caller is going to make its value. Throws std::bad_alloc; std::logic_error
/// when it is at it already.
WEFT_API void begin_local(const LocalKey& key);
/// Hands the caller's value over, or null: it came to nothing. Requires:
/// begin_local(key) by the same caller.
WEFT_API void put_local(const LocalKey& key, void* value) noexcept;
/// Destroys the caller's value, if there is one.
WEFT_API void reset_local(const LocalKey& key) noexcept;

}  // namespace weft::detail
