#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/watch.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace weft {

/// What wait() waits for.
enum class Until : std::uint8_t {
    first_completed,
    first_exception,  ///< or all done; being cancelled is no exception
    all_completed,
};

/// What wait() found: those that are done, and those that are not, each in the order
/// in which they were given.
/// Lifetime: what it points to is the caller's, where it lies.
template <class T>
class Waited {
public:
    class Iterator {
    public:
        using value_type = T;
        using difference_type = std::ptrdiff_t;
        Iterator() noexcept = default;
        explicit Iterator(T** at) noexcept : at_{at} {}
        T& operator*() const noexcept { return **at_; }
        T* operator->() const noexcept { return *at_; }
        Iterator& operator++() noexcept {
            ++at_;
            return *this;
        }
        Iterator operator++(int) noexcept { return Iterator{at_++}; }
        friend bool operator==(const Iterator&, const Iterator&) noexcept = default;

    private:
        T** at_ = nullptr;
    };

    class List {
    public:
        List(T** first, std::size_t size) noexcept : first_{first}, size_{size} {}
        Iterator begin() const noexcept { return Iterator{first_}; }
        Iterator end() const noexcept { return Iterator{first_ + size_}; }
        std::size_t size() const noexcept { return size_; }
        bool empty() const noexcept { return size_ == 0; }
        T& operator[](std::size_t index) const noexcept { return *first_[index]; }

    private:
        T** first_;
        std::size_t size_;
    };

    /// Throws std::bad_alloc.
    explicit Waited(std::span<T> all) : pointers_{new T*[all.size()]}, size_{all.size()} {
        for (T& one : all) {
            if (detail::is_done(detail::followed(one))) pointers_[done_++] = &one;
        }
        // Whoever came to its end since is among the others still.
        std::size_t at = done_;
        std::size_t next_done = 0;
        for (T& one : all) {
            if (next_done < done_ && pointers_[next_done] == &one) {
                ++next_done;
            } else {
                pointers_[at++] = &one;
            }
        }
    }

    List done() const noexcept { return {pointers_.get(), done_}; }
    List not_done() const noexcept { return {pointers_.get() + done_, size_ - done_}; }

private:
    std::unique_ptr<T*[]> pointers_;
    std::size_t size_;
    std::size_t done_ = 0;
};

/// Waits for Futures, Fiber<R>s or FiberRefs that lie side by side. With FiberRefs
/// nothing is known of exceptions. (concurrent.futures.wait, gevent.joinall, gevent.wait.)
///
/// Blocks: as `until` says, or until `deadline`. Cancellation point; those are unharmed.
/// Throws Cancelled, std::bad_alloc; nothing of theirs.
template <class T>
Waited<T> wait(std::span<T> all, Until until = Until::all_completed,
               Deadline deadline = Deadline::never()) {
    {
        detail::WatchOf watch{all};
        for (;;) {
            const std::size_t index = watch.next(deadline);
            if (index == detail::nothing_done || until == Until::first_completed) break;
            if (until == Until::first_exception && detail::has_failed(detail::followed(all[index])))
                break;
        }
    }
    return Waited<T>{all};
}
template <class Futures>
requires requires(Futures& all) { std::span{all}; }
auto wait(Futures& all, Until until = Until::all_completed, Deadline deadline = Deadline::never()) {
    return weft::wait(detail::span_of(all), until, deadline);
}

}  // namespace weft
