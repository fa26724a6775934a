// Waiting for the first of many futures and fibers, again and again, seen from the
// header's side.
#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/export.hpp>
#include <weft/fiber.hpp>
#include <weft/future.hpp>

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

namespace weft::detail {

class Watch;

/// One of the two, and what it can be asked.
struct Followed {
    Outcome* outcome = nullptr;
    FiberCore* fiber = nullptr;
    bool keeps_error = true;  // so that it can be asked whether it failed
};

template <class T>
Followed followed(const Future<T>& future) noexcept {
    return {outcome_of(future), nullptr};
}
template <class R>
Followed followed(const Fiber<R>& fiber) noexcept {
    return {nullptr, core_of(FiberRef{fiber})};
}
inline Followed followed(const FiberRef& fiber) noexcept {
    return {nullptr, core_of(fiber), false};
}

inline constexpr std::size_t nothing_done = static_cast<std::size_t>(-1);

/// For so many. Throws std::bad_alloc.
WEFT_API Watch* make_watch(std::size_t count);
WEFT_API void drop_watch(Watch*) noexcept;
/// Once for each index. Throws std::bad_alloc.
WEFT_API void follow(Watch*, std::size_t index, const Followed& what);
/// The index of the next one that is done, each once, in the order of their ends;
/// nothing_done at `deadline`, or when there are no more.
WEFT_API std::size_t next_done(Watch*, Deadline deadline);

WEFT_API bool is_done(const Followed& what) noexcept;
WEFT_API bool has_failed(const Followed& what) noexcept;

/// What lies side by side, however many.
template <class Container>
auto span_of(Container& all) {
    return std::span<std::remove_pointer_t<decltype(std::span{all}.data())>>{all};
}

/// Of what lies side by side, by its index.
class WatchOf {
public:
    template <class T>
    explicit WatchOf(std::span<T> all) : watch_{make_watch(all.size())} {
        try {
            for (std::size_t i = 0; i < all.size(); ++i) follow(watch_, i, followed(all[i]));
        } catch (...) {
            drop_watch(watch_);
            throw;
        }
    }
    WatchOf(WatchOf&& other) noexcept : watch_{std::exchange(other.watch_, nullptr)} {}
    WatchOf& operator=(WatchOf&&) = delete;
    ~WatchOf() {
        if (watch_ != nullptr) drop_watch(watch_);
    }

    std::size_t next(Deadline deadline) { return next_done(watch_, deadline); }

private:
    Watch* watch_;
};

}  // namespace weft::detail
