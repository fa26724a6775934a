#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/watch.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace weft {

/// Futures or fibers in the order in which they are done. From as_completed().
///
/// Thread safety: one object is to be used by one fiber or thread at a time.
/// Lifetime: what it iterates over must outlive it, where it lies.
template <class T>
class AsCompleted {
public:
    AsCompleted(std::span<T> all, Deadline deadline)
        : all_{all}, deadline_{deadline}, watch_{all} {}

    /// The next one that is done; null when its time ran out, or there are no more.
    ///
    /// Blocks: until another one is done. Cancellation point. Throws Cancelled.
    T* next() {
        const std::size_t index = watch_.next(deadline_);
        if (index == detail::nothing_done) return nullptr;
        ++taken_;
        return &all_[index];
    }

    /// Whether each of them was there.
    bool complete() const noexcept { return taken_ == all_.size(); }

    struct End {};
    class Iterator {
    public:
        using value_type = T;
        using difference_type = std::ptrdiff_t;
        explicit Iterator(AsCompleted& from) : from_{&from}, item_{from.next()} {}
        T& operator*() const noexcept { return *item_; }
        T* operator->() const noexcept { return item_; }
        Iterator& operator++() {
            item_ = from_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const Iterator& i, End) noexcept { return i.item_ == nullptr; }

    private:
        AsCompleted* from_;
        T* item_;
    };

    /// next() until there are no more, or the time ran out.
    Iterator begin() { return Iterator{*this}; }
    End end() const noexcept { return {}; }

private:
    std::span<T> all_;
    Deadline deadline_;
    detail::WatchOf watch_;
    std::size_t taken_ = 0;
};

/// `for (auto& future : as_completed(futures)) use(future.get());`: those that are done
/// come at once, each of the others when it is. Future<T>, Fiber<R> or FiberRef, in
/// whatever lies side by side. (concurrent.futures.as_completed, gevent.iwait.)
///
/// The loop ends early at `deadline`; AsCompleted::complete() tells. Those left are unharmed.
/// Throws std::bad_alloc. Blocks as AsCompleted::next().
template <class T>
auto as_completed(std::span<T> all, Deadline deadline = Deadline::never()) {
    return AsCompleted<T>{all, deadline};
}
template <class Futures>
requires requires(Futures& all) { std::span{all}; }
auto as_completed(Futures& all, Deadline deadline = Deadline::never()) {
    return weft::as_completed(detail::span_of(all), deadline);
}

/// The first one that is done; null when none is at `deadline`, or there are none.
///
/// Blocks: until one is. Cancellation point. Throws Cancelled, std::bad_alloc.
template <class Futures>
auto* wait_any(Futures&& all, Deadline deadline = Deadline::never()) {
    return as_completed(all, deadline).next();
}

}  // namespace weft
